"""What every executor with a plan does: states that share memory, turns, joins of processes, outputs.

A backend plans and compiles kernels, launches them, and copies arrays to and from where they run.
"""

from __future__ import annotations

import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from threading import Lock
from typing import Generic, TypeVar

import torch

from offchain.errors import OffchainError, OutOfMemory
from offchain.exec.base import Limits, Setting, Tensors
from offchain.exec.plan.memory import Held, arena, memory_for
from offchain.exec.plan.planning import ALIGN, DTYPES, Buffer, Join, Plan, Within
from offchain.exec.plan.shards import Share, share, whole
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source

K = TypeVar("K")
B = TypeVar("B")

State = list[Held]


class PlannedExecutor(ABC, Generic[K, B]):
    """Runs the calls of a plan, kernels `K`, over one arena. `B` is what the backend binds for a step.

    A state is a list of flat tensors on `device` in slot order. Nobody writes to a tensor while somebody holds it; its
    memory goes to a later state. The processes share each step, and each holds the whole state after it. Threads that
    share an executor take turns. What a plan makes once is made of the very tensors that a state holds, and anew for a
    state that holds others, be they equal or in the same place.
    """

    def __init__(self, graph: Graph, constants: Sequence[Array], datasets: Sequence[Array], setting: Setting) -> None:
        self.graph, self.device = graph, torch.device(setting.device)
        self._setting, self._processes = setting, setting.processes
        self._tensors = self._checked(graph, constants, datasets)
        self._upload_fixed()
        processes = setting.processes
        part = whole(graph) if processes is None else share(graph, processes.size, processes.rank)
        self._share, self._slots = part, part.graph.slots
        with self._current():
            self._plan, self._arena = self._placed(part)
            if self._faster(part):
                self._plan, self._arena = self._placed(part)
            self._prepare(self._plan.kernels)
        self._stretches = list(self._between_joins())
        self._batches = list(self._batched())
        self._pools: list[list[torch.Tensor]] = [[] for _ in self._slots]
        self._turn = 0  # of the step whose values the arena holds
        self._frozen = self._plan.frozen
        self._made_of: list[weakref.ref[Held]] | None = None  # what was made once: the tensors of the slots `_frozen`
        self._lock = Lock()  # of the arena, of what is bound to a step, and of the pools

    # --- the promises of Executor -------------------------------------------------------------------------------------

    def load(self, state: Sequence[Array]) -> State:
        held = []
        for n, array in enumerate(self._tensors.state(state)):
            with self._lock:
                held.append(self._hold(n))
            self._upload(array, held[-1].tensor)
        return held

    def dump(self, state: State) -> list[Array]:
        return self._download([held.tensor for held in state])

    def lend(self, state: State, slots: Sequence[int]) -> list[Array]:
        return self._readable([state[n].tensor for n in slots])

    def step(self, state: State, t: int) -> State:
        with self._lock:
            after, bound = self._begin(state, t)
            self._run(bound, after)
        return [after[slot.index] if slot.source is Source.NODE else state[slot.index] for slot in self._slots]

    def outputs(self, state: State, t: int) -> Iterator[Array]:
        if self._processes is not None:  # none of them has all outputs: each makes all of them for itself
            constants, datasets = self._tensors.constants, self._tensors.datasets
            alone = type(self)(self.graph, constants, datasets, Setting(self._setting.device))
            yield from alone.outputs(alone.load(self.dump(state)), t)
            return
        with self._lock:
            _, bound = self._begin(state, t)
            turn = self._turn
        for nodes in self._batches:
            with self._lock:
                if turn != self._turn:
                    raise OffchainError("another step began before all outputs of this one were taken")
                found = self._outputs_of(nodes, bound)
            yield from found

    @property
    def alone(self) -> bool:
        """Whether no other process shares its steps."""
        return self._processes is None

    @property
    def left(self) -> Limits:
        """What this executor leaves of its limits."""
        limits = self._setting.limits
        return replace(limits, memory=limits.memory - self._plan.arena)

    # --- one step -----------------------------------------------------------------------------------------------------

    def _begin(self, state: State, t: int) -> tuple[dict[int, Held], B]:
        """Room for what the next state keeps, by node; and the step as the backend binds it."""
        self._turn += 1
        after = {slot.index: self._hold(n) for n, slot in enumerate(self._slots) if slot.source is Source.NODE}
        bound = self._bind(state, after, t)
        self._make_once(state)
        return after, bound

    def _make_once(self, state: State) -> None:
        """Runs the calls that a step need not repeat, unless the arena holds what they make of this state's tensors."""
        of = [state[n] for n in self._frozen]
        if self._made_of is not None and all(ref() is held for ref, held in zip(self._made_of, of, strict=True)):
            return
        self._made_of = None  # should it fail on the way
        if self._plan.once:
            self._launch_once(state)
        self._made_of = [weakref.ref(held) for held in of]

    def _run(self, bound: B, after: dict[int, Held]) -> None:
        """All of a step. `after` is what it writes of the next state."""
        self._walk(lambda calls: self._launch(calls, bound))

    def _walk(self, launch: Callable[[range], object]) -> None:
        """Launches the calls between two joins, by their numbers, and joins."""
        for stretch in self._stretches:
            if isinstance(stretch, Join):
                self._join(stretch)
            else:
                launch(stretch)

    def _join(self, join: Join) -> None:
        """On the device, in the order of its stream: NCCL makes what follows wait, not the host."""
        numbers = self._view(join.buffer, join.dtype)
        assert self._processes is not None
        with self._current():
            if join.greatest:
                self._processes.greatest(numbers)
            else:
                self._processes.total(numbers)

    def _between_joins(self) -> Iterator[range | Join]:
        start = 0
        for n, call in enumerate(self._plan.calls):
            if isinstance(call, Join):
                yield from ([range(start, n)] if n > start else [])
                yield call
                start = n + 1
        yield range(start, len(self._plan.calls))

    def _calls_of(self, nodes: range) -> range:
        """The numbers of the calls that make these consecutive nodes."""
        ends = [0, *self._plan.ends]
        return range(ends[nodes.start], ends[nodes.stop])

    # --- memory -------------------------------------------------------------------------------------------------------

    def _placed(self, part: Share) -> tuple[Plan[K], torch.Tensor]:
        """A plan, and its arena. What depends on no step is made once only where there is memory for it."""
        limits = self._setting.limits
        plan = self._planned(part, min(limits.prepared, limits.memory))
        if plan.once:
            with suppress(OutOfMemory):
                return plan, arena(part.graph, plan, limits.memory, self._room)
            plan = self._planned(part, 0)
        return plan, arena(part.graph, plan, limits.memory, self._room)

    def _room(self, length: int, dtype: torch.dtype) -> torch.Tensor:
        """All memory that this executor takes comes from here: the arena, and what states hold."""
        return torch.empty(length, dtype=dtype, device=self.device)

    def _hold(self, n: int) -> Held:
        """Room for slot n. Each slot has a pool of its own, so that the addresses of states come round again."""
        spec, pool = self.graph.slots[n].spec, self._pools[n]
        if not pool:
            with memory_for(f"slot {spec.name!r}", "in each state", 4 * spec.length):
                pool.append(self._room(spec.length, DTYPES[spec.dtype]))
        return Held(pool.pop(), pool)

    def _view(self, tensor: Buffer | Within, dtype: torch.dtype) -> torch.Tensor:
        """The arena from where a tensor lies to the end of its buffer."""
        buffer, offset = (tensor.buffer, tensor.offset) if isinstance(tensor, Within) else (tensor, 0)
        start = -self._arena.data_ptr() % ALIGN + buffer.place
        return self._arena[start + offset : start + buffer.bytes].view(dtype)

    # --- what a backend supplies --------------------------------------------------------------------------------------

    def _current(self) -> AbstractContextManager[object]:
        """The context in which kernels are compiled and launched, and processes join."""
        return nullcontext()

    def _checked(self, graph: Graph, constants: Sequence[Array], datasets: Sequence[Array]) -> Tensors:
        return Tensors(graph, constants, datasets)

    def _upload_fixed(self) -> None:
        """Puts constants and datasets where kernels read them, where they do not read `_tensors`."""
        return

    @abstractmethod
    def _planned(self, part: Share, prepared: int) -> Plan[K]:
        """The plan of this process's part of a step, which may keep `prepared` bytes from step to step."""

    def _faster(self, part: Share) -> bool:
        """Whether there is a better plan, sought once the first was seen to fit: to find it takes trials."""
        return False

    @abstractmethod
    def _prepare(self, kernels: Sequence[K]) -> None:
        """Compiles the kernels of all calls. Raises BadInput, before it compiles, where they exceed the limits."""

    @abstractmethod
    def _batched(self) -> Iterable[range]:
        """Consecutive nodes whose outputs `_outputs_of` makes at once; all nodes in order."""

    @abstractmethod
    def _bind(self, state: State, after: dict[int, Held], t: int) -> B:
        """Binds the tensors of one step, which lie outside the arena, to the calls."""

    @abstractmethod
    def _launch(self, calls: range, bound: B) -> None:
        """Runs consecutive calls, none of which is a join."""

    @abstractmethod
    def _launch_once(self, state: State) -> None:
        """Runs the calls `once`."""

    @abstractmethod
    def _outputs_of(self, nodes: range, bound: B) -> list[Array]:
        """Runs the calls of a batch of nodes and downloads their outputs."""

    @abstractmethod
    def _upload(self, array: Array, tensor: torch.Tensor) -> None:
        """Copies a flat array to a tensor of its length and dtype."""

    def _readable(self, tensors: Sequence[torch.Tensor]) -> list[Array]:
        """Flat tensors as arrays that nobody writes to; copies where kernels run elsewhere."""
        return self._download(tensors)

    @abstractmethod
    def _download(self, tensors: Sequence[torch.Tensor]) -> list[Array]:
        """Copies of flat tensors, which the caller owns."""
