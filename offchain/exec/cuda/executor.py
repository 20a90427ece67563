"""The fused executor on CUDA: a planned graph, run by Triton's kernels and torch's matrix products."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from threading import Lock
from typing import Any, Final

import torch

from offchain.errors import OffchainError
from offchain.exec.base import DEFAULT, Setting, Tensors
from offchain.exec.cuda.elementwise import TYPES
from offchain.exec.cuda.graphs import Graphs
from offchain.exec.cuda.kernel import Launch, TritonKernel, prepare, require_triton
from offchain.exec.cuda.planner import CudaPlanner
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.plan.memory import Held, arena, memory_for
from offchain.exec.plan.planning import ALIGN, STEP, Buffer, Call, Given, Join, Within
from offchain.exec.plan.shards import share, whole
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source, TensorSpec

State = list[Held]
_CHECKED: Final = 2  # step of an executor whose graphs are compared with its launches: all kernels have run before


class CudaExecutor:
    """A state is a list of flat tensors on `device`, in slot order, which nobody writes to while somebody holds it.

    On device cpu the kernels run in Triton's interpreter, for tests. `tuner` chooses the engines of products. The
    processes share each step, and each holds the whole state after it. Raises BadInput without Triton.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        setting: Setting = DEFAULT,
        tuner: Tuner | None = None,
    ) -> None:
        self.graph, self.device, self._processes = graph, torch.device(setting.device), setting.processes
        processes, limits, watch = setting.processes, setting.limits, setting.watch
        require_triton(self.device)
        self._tensors = Tensors(graph, constants, datasets)
        self._given = {STEP: torch.zeros(1, dtype=torch.int32, device=self.device)}
        self._upload(Source.CONST, "constant", graph.constants, self._tensors.constants)
        self._upload(Source.DATA, "dataset", graph.datasets, self._tensors.datasets)
        part = whole(graph) if processes is None else share(graph, processes.size, processes.rank)
        self._slots = part.graph.slots
        with self._current():
            self._plan = CudaPlanner(part, tuner or Tuner(self.device)).make()
            self._arena = arena(part.graph, self._plan, limits.memory, self.device)
            calls = [call for call in self._plan.calls if isinstance(call, Call)]
            kernels = [call.kernel for call in calls if isinstance(call.kernel, TritonKernel)]
            limits.require_kernels(len({kernel.name for kernel in kernels}))
            prepare(kernels, watch)
        self._arguments = [self._bound(call) for call in self._plan.calls]
        given = {item for call in calls for item in call.tensors if isinstance(item, Given)}
        self._moving = [item for item in given if item.source in (Source.STATE, Source.NODE)]  # from step to step
        self._parts = list(self._between_joins())
        self._pools: list[list[torch.Tensor]] = [[] for _ in self._slots]
        self._graphs = Graphs(self.device)
        self._turn = 0  # of whose step the arena holds
        self._steps = 0
        self._lock = Lock()

    # --- the promises of Executor -------------------------------------------------------------------------------------

    def load(self, state: Sequence[Array]) -> State:
        held = []
        for n, array in enumerate(self._tensors.state(state)):
            held.append(self._hold(n))
            held[-1].tensor.copy_(torch.from_numpy(array))
        return held

    def dump(self, state: State) -> list[Array]:
        return [_download(held.tensor) for held in state]

    def step(self, state: State, t: int) -> State:
        with self._lock:
            return self._stepped(state, t)

    def _stepped(self, state: State, t: int) -> State:
        after = self._begin(state, t)
        given = self._tensors_of(state, after)
        self._steps += 1
        if self._steps < _CHECKED:
            self._step(given)
        elif self._steps == _CHECKED:
            self._check(given, list(after.values()))
        else:
            self._step(given, self._graphs)
        return [after[slot.index] if slot.source is Source.NODE else state[slot.index] for slot in self._slots]

    def outputs(self, state: State, t: int) -> Iterator[Array]:
        if self._processes is not None:  # no process has all of them: each makes them for itself
            alone = CudaExecutor(self.graph, self._tensors.constants, self._tensors.datasets, Setting(str(self.device)))
            yield from alone.outputs(alone.load(self.dump(state)), t)
            return
        with self._lock:
            given, at = self._tensors_of(state, self._begin(state, t)), 0
            turn = self._turn
        for n, end in enumerate(self._plan.ends):
            with self._lock:
                if turn != self._turn:
                    raise OffchainError("another step began before all outputs of this one were taken")
                self._launch(at, end, given)
                where, node = self._plan.outputs[n], self.graph.nodes[n]
                held = given[where] if isinstance(where, Given) else self._view(where, TYPES[node.dtype])
                output = _download(held[: node.length])
            at = end
            yield output

    # --- one step -----------------------------------------------------------------------------------------------------

    def _begin(self, state: State, t: int) -> dict[int, Held]:
        """Room for what the state after keeps, by node."""
        self._given[STEP].fill_(t)
        self._turn += 1
        return {slot.index: self._hold(n) for n, slot in enumerate(self._slots) if slot.source is Source.NODE}

    def _tensors_of(self, state: State, after: dict[int, Held]) -> dict[Given, torch.Tensor]:
        """Where everything is that lies outside the arena."""
        before = {Given(Source.STATE, n): held.tensor for n, held in enumerate(state)}
        return self._given | before | {Given(Source.NODE, n): held.tensor for n, held in after.items()}

    def _step(self, given: dict[Given, torch.Tensor], graphs: Graphs | None = None) -> None:
        key = tuple(given[item].data_ptr() for item in self._moving)
        for part in self._parts:
            if isinstance(part, Join):
                self._join(part)
                continue
            work = partial(self._launch, part.start, part.stop, given)
            if graphs is None:
                work()
            else:
                with self._current():
                    graphs.do((part.start, *key), work, len(part))

    def _check(self, given: dict[Given, torch.Tensor], after: list[Held]) -> None:
        """A step by launches and again by graphs; these are not used any more where they give other bits.

        The processes come here in the same step, and so join the same.
        """
        self._step(given)
        wanted = [held.tensor.to("cpu", copy=True) for held in after]
        for tensor in (self._arena, *(held.tensor.view(torch.uint8) for held in after)):
            tensor.fill_(255)  # what the launches left must not pass for what graphs made
        self._step(given, self._graphs)
        if not all(torch.equal(_words(held.tensor.cpu()), _words(w)) for held, w in zip(after, wanted, strict=True)):
            self._graphs.stop("CUDA graphs give other bits")
            for held, tensor in zip(after, wanted, strict=True):
                held.tensor.copy_(tensor)

    @torch.no_grad()
    def _launch(self, begin: int, end: int, given: dict[Given, torch.Tensor]) -> None:
        with self._current():
            for call, arguments in zip(self._plan.calls[begin:end], self._arguments[begin:end], strict=True):
                assert isinstance(call, Call)
                call.kernel(*(given[item] if isinstance(item, Given) else item for item in arguments))

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

    def _current(self) -> Any:
        """Triton launches on the current device."""
        return torch.cuda.device(self.device) if self.device.type == "cuda" else nullcontext()

    # --- memory -------------------------------------------------------------------------------------------------------

    def _upload(self, source: Source, what: str, specs: Sequence[TensorSpec], arrays: Sequence[Array]) -> None:
        for n, (spec, array) in enumerate(zip(specs, arrays, strict=True)):
            with memory_for(f"{what} {spec.name!r}", f"on {self.device}", array.nbytes):
                self._given[Given(source, n)] = torch.tensor(array, device=self.device)

    def _hold(self, n: int) -> Held:
        """Room for slot n. Each has a pool of its own, so that the addresses of states come round again."""
        slot = self.graph.slots[n]
        if not self._pools[n]:
            with memory_for(f"slot {slot.spec.name!r}", "in each state", 4 * slot.spec.length):
                room = torch.empty(slot.spec.length, dtype=TYPES[slot.spec.dtype], device=self.device)
                self._pools[n].append(room)
        return Held(self._pools[n].pop(), self._pools[n])

    def _bound(self, call: Call[Launch] | Join) -> list[torch.Tensor | Given]:
        if isinstance(call, Join):
            return []
        return [
            tensor if isinstance(tensor, Given) else self._view(tensor, dtype)
            for tensor, dtype in zip(call.tensors, call.kernel.types, strict=True)
        ]

    def _view(self, tensor: Buffer | Within, dtype: torch.dtype) -> torch.Tensor:
        """From where it lies to the end of its buffer."""
        buffer, offset = (tensor.buffer, tensor.offset) if isinstance(tensor, Within) else (tensor, 0)
        start = -self._arena.data_ptr() % ALIGN + buffer.place
        return self._arena[start + offset : start + buffer.bytes].view(dtype)


def _words(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.view(torch.int32)


def _download(tensor: torch.Tensor) -> Array:
    array: Array = tensor.to("cpu", copy=True).numpy()
    return array
