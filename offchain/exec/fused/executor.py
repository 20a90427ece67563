"""The fused executor: a planned graph, run by native kernels and torch's BLAS."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from threading import Lock
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch

from offchain.errors import BadInput, OffchainError
from offchain.exec.base import UNLIMITED, Limits, Tensors
from offchain.exec.distributed import Group
from offchain.exec.fused.engines import engines
from offchain.exec.fused.jit import CALL_WORDS, compiler
from offchain.exec.fused.kernel import Kernel
from offchain.exec.fused.planner import FusedPlanner
from offchain.exec.memory import Held, arena, memory_for, memory_of
from offchain.exec.planning import ALIGN, STEP, Buffer, Call, Given, Join, Tensor, Within
from offchain.exec.shards import share, whole
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.graph import Graph, Slot, Source
from offchain.ir.primitives import DType
from offchain.progress import Count, unwatched

ENOUGH: Final = 60_000  # element operations that are worth waking another thread for
_ROOM: Final = 1 << 22  # words
_WORDS: Final = {DType.F32: torch.float32, DType.I32: torch.int32}


State = list[Held]


def _array(held: Held) -> Array:
    array: Array = held.tensor.numpy().copy()
    return array


class _Room:
    """Memory for outputs in order, several at a time: large pieces come in large pages, which takes the system less."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self._lengths, self._block, self._begin = lengths, np.empty(0, np.uint32), 0

    def take(self, n: int) -> npt.NDArray[np.uint32]:
        """Words for output n."""
        length = self._lengths[n]
        if self._begin + length > len(self._block):
            self._block, self._begin = np.empty(max(length, min(_ROOM, sum(self._lengths[n:]))), np.uint32), 0
        self._begin += length
        return self._block[self._begin - length : self._begin]


class FusedExecutor:
    """A state is a list of tensors in slot order, which nobody writes to while somebody holds it.

    The processes of a group share each step, and each holds the whole state after it. Threads that share an executor
    take turns.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        device: str = "cpu",
        watch: Count = unwatched,
        group: Group | None = None,
        limits: Limits = UNLIMITED,
    ) -> None:
        if torch.device(device).type != "cpu":
            raise BadInput(f"executor fused has no kernels for {device}: take --executor torch")
        self.graph, self._group = graph, group
        self._tensors = Tensors(graph, constants, datasets)
        self._given = {Source.CONST: self._tensors.constants, Source.DATA: self._tensors.datasets}
        self._engines, self._compiler = engines(), compiler()
        part = whole(graph) if group is None else share(graph, group.size, group.rank)
        self._slots = part.graph.slots
        self._plan = FusedPlanner(part, self._engines).make()
        self._arena = arena(part.graph, self._plan, limits.memory)
        self._base = -(-self._arena.data_ptr() // ALIGN) * ALIGN
        names = {call.kernel.name: call.kernel for call in self._plan.calls if isinstance(call, Call)}
        limits.require_kernels(len(names))
        blas = self._engines.blas
        self._alone = blas.alone if any(blas.is_called(kernel.text) for kernel in names.values()) else nullcontext
        done = iter(range(1, len(names) + 1))
        self._addresses = self._compiler.load(names.values(), lambda: watch(next(done), len(names)))
        self._step = ctypes.c_int32(0)
        self._pools: dict[tuple[DType, int], list[torch.Tensor]] = {}
        self._patches: list[tuple[Any, int, Given]] = []
        self._arguments = [self._pointers(call) for call in self._plan.calls]
        self._threads = 0
        self._turn = 0  # of whose step the arena holds
        self._lock = Lock()  # of arena, arguments and pools: kernels run without the interpreter's
        self._runs: dict[tuple[int, int], list[Any]] = {}

    # --- the promises of Executor -----------------------------------------------------------------------------

    def load(self, state: Sequence[Array]) -> State:
        held = []
        for slot, array in zip(self.graph.slots, self._tensors.state(state), strict=True):
            with self._lock:
                held.append(self._hold(slot))
            np.copyto(held[-1].tensor.numpy(), array)
        return held

    def dump(self, state: State) -> list[Array]:
        return [_array(item) for item in state]

    def step(self, state: State, t: int) -> State:
        with self._lock:
            after = self._begin(state, t)
            self._do(0, len(self._plan.calls))
        return self._after(state, after)

    def outputs(self, state: State, t: int) -> Iterator[Array]:
        if self._group is not None:  # no process has all of them: each makes them for itself
            alone = FusedExecutor(self.graph, self._tensors.constants, self._tensors.datasets)
            yield from alone.outputs(alone.load(self.dump(state)), t)
            return
        with self._lock:
            after, at = self._begin(state, t), 0
            turn = self._turn
        room = _Room([node.length for node in self.graph.nodes])
        for n, end in enumerate(self._plan.ends):
            with self._lock:
                if turn != self._turn:
                    raise OffchainError("another step began before all outputs of this one were taken")
                self._do(at, end)
                output = self._output(n, after, room)
            at = end
            yield output

    def trace(self, state: State, t: int) -> list[Array]:
        return list(self.outputs(state, t))

    # --- one step ---------------------------------------------------------------------------------------------

    def _begin(self, state: State, t: int) -> dict[int, Held]:
        self._step.value = t
        self._turn += 1
        after = {slot.index: self._hold(slot) for slot in self._slots if slot.source is Source.NODE}
        for pointers, position, given in self._patches:
            held = after[given.index] if given.source is Source.NODE else state[given.index]
            pointers[position] = held.address
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._threads = threads
            self._runs.clear()
        return after

    def _after(self, state: State, after: dict[int, Held]) -> State:
        return [after[slot.index] if slot.source is Source.NODE else state[slot.index] for slot in self._slots]

    def _do(self, begin: int, end: int) -> None:
        if (begin, end) not in self._runs:
            self._runs[begin, end] = list(self._parts(begin, end))
        for part in self._runs[begin, end]:
            if isinstance(part, Join):
                self._join(part)
                continue
            with self._alone():
                self._compiler.run(part, len(part) // CALL_WORDS)

    def _parts(self, begin: int, end: int) -> Iterator[Any]:
        """Calls between two joins as one array, and the joins."""
        row: list[int] = []
        for call, arguments in zip(self._plan.calls[begin:end], self._arguments[begin:end], strict=True):
            if isinstance(call, Call):
                kernel = call.kernel
                threads = min(self._threads, kernel.tasks, 1 + kernel.work // ENOUGH)
                row += [self._addresses[kernel.name], ctypes.addressof(arguments), kernel.tasks, threads, 0]
                continue
            yield (ctypes.c_int64 * len(row))(*row)
            yield call
            row = []
        yield (ctypes.c_int64 * len(row))(*row)

    def _join(self, join: Join) -> None:
        start = self._address(join.buffer) - self._arena.data_ptr()
        numbers = self._arena[start : start + join.buffer.bytes].view(join.dtype)
        assert self._group is not None
        if join.greatest:
            self._group.greatest(numbers)
        else:
            self._group.total(numbers)

    def _output(self, n: int, after: dict[int, Held], room: _Room) -> Array:
        node, where = self.graph.nodes[n], self._plan.outputs[n]
        if isinstance(where, Given):
            return _array(after[n])
        with memory_for(*memory_of(n, node)):
            array = room.take(n).view(numpy_dtype(node.dtype))
        ctypes.memmove(array.ctypes.data, self._address(where), array.nbytes)
        return array

    # --- memory -----------------------------------------------------------------------------------------------

    def _hold(self, slot: Slot) -> Held:
        dtype, length = slot.spec.dtype, slot.spec.length
        pool = self._pools.setdefault((dtype, length), [])
        if not pool:
            with memory_for(f"slot {slot.spec.name!r}", "in each state", 4 * length):
                pool.append(torch.empty(length, dtype=_WORDS[dtype]))
        return Held(pool.pop(), pool)

    def _address(self, tensor: Tensor) -> int:
        """0 where it changes from step to step."""
        if isinstance(tensor, Buffer):
            return self._base + tensor.place
        if isinstance(tensor, Within):
            return self._base + tensor.buffer.place + tensor.offset
        if tensor == STEP:
            return ctypes.addressof(self._step)
        if tensor.source in self._given:
            return int(self._given[tensor.source][tensor.index].ctypes.data)
        return 0

    def _pointers(self, call: Call[Kernel] | Join) -> Any:
        if isinstance(call, Join):
            return None
        pointers = (ctypes.c_void_p * len(call.tensors))(*(self._address(tensor) for tensor in call.tensors))
        for position, tensor in enumerate(call.tensors):
            if isinstance(tensor, Given) and not self._address(tensor):
                self._patches.append((pointers, position, tensor))
        return pointers
