"""The fused executor: a planned graph, run by native kernels and torch's BLAS."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from threading import Lock
from typing import Any, Final

import numpy as np
import torch

from offchain.errors import BadInput, OffchainError
from offchain.exec.base import DEFAULT, Setting, Tensors
from offchain.exec.fused.engines import engines
from offchain.exec.fused.outputs import COPY, Batch, batches, copying
from offchain.exec.fused.planner import FusedPlanner
from offchain.exec.plan.memory import Held, arena, memory_for
from offchain.exec.plan.planning import ALIGN, STEP, Buffer, Call, Given, Join, Tensor, Within
from offchain.exec.plan.shards import share, whole
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Slot, Source
from offchain.ir.primitives import DType
from offchain.native.jit import CALL_WORDS, call, compiler
from offchain.native.kernel import NativeKernel

ENOUGH: Final = 60_000  # element operations that are worth waking another thread for
_WORDS: Final = {DType.F32: torch.float32, DType.I32: torch.int32}


State = list[Held]


def _array(held: Held) -> Array:
    array: Array = held.tensor.numpy().copy()
    return array


class FusedExecutor:
    """A state is a list of tensors in slot order, which nobody writes to while somebody holds it.

    The processes share each step, and each holds the whole state after it. Threads that share an executor
    take turns.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        setting: Setting = DEFAULT,
    ) -> None:
        if setting.device_type != "cpu":
            raise BadInput(f"executor fused has no kernels for {setting.device}: take --executor torch")
        self.graph, self._processes = graph, setting.processes
        processes, limits, watch = setting.processes, setting.limits, setting.watch
        self._tensors = Tensors(graph, constants, datasets)
        self._given = {Source.CONST: self._tensors.constants, Source.DATA: self._tensors.datasets}
        self._engines, self._compiler = engines(), compiler()
        part = whole(graph) if processes is None else share(graph, processes.size, processes.rank)
        self._slots = part.graph.slots
        self._plan = FusedPlanner(part, self._engines).make()
        self._arena = arena(part.graph, self._plan, limits.memory)
        self._base = -(-self._arena.data_ptr() // ALIGN) * ALIGN
        names = {call.kernel.name: call.kernel for call in self._plan.calls if isinstance(call, Call)}
        limits.require_kernels(len(names))
        names[COPY.name] = COPY
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
        self._batches = list(batches(graph.nodes))
        self._runs: dict[Batch | None, list[Any]] = {}

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
            self._do()
        return self._after(state, after)

    def outputs(self, state: State, t: int) -> Iterator[Array]:
        if self._processes is not None:  # no process has all of them: each makes them for itself
            alone = FusedExecutor(self.graph, self._tensors.constants, self._tensors.datasets)
            yield from alone.outputs(alone.load(self.dump(state)), t)
            return
        with self._lock:
            after = self._begin(state, t)
            turn = self._turn
        for batch in self._batches:
            with self._lock:
                if turn != self._turn:
                    raise OffchainError("another step began before all outputs of this one were taken")
                found = self._outputs(batch, after)
            yield from found

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

    def _do(self, batch: Batch | None = None) -> None:
        """All calls, or those of a batch with its copies."""
        if batch not in self._runs:
            self._runs[batch] = list(self._parts(batch))
        for part in self._runs[batch]:
            if isinstance(part, Join):
                self._join(part)
                continue
            with self._alone():
                self._compiler.run(part, len(part) // CALL_WORDS)

    def _parts(self, batch: Batch | None) -> Iterator[Any]:
        """Calls between two joins as one array, and the joins."""
        row: list[int] = []
        for words in self._calls(0, len(self._plan.calls)) if batch is None else self._copied(batch):
            if not isinstance(words, Join):
                row += words
                continue
            yield (ctypes.c_int64 * len(row))(*row)
            yield words
            row = []
        yield (ctypes.c_int64 * len(row))(*row)

    def _calls(self, begin: int, end: int) -> Iterator[list[int] | Join]:
        for item, arguments in zip(self._plan.calls[begin:end], self._arguments[begin:end], strict=True):
            if isinstance(item, Call):
                yield self._words(item.kernel, ctypes.addressof(arguments))
            else:
                yield item

    def _copied(self, batch: Batch) -> Iterator[list[int] | Join]:
        ends = [0, *self._plan.ends]
        for n, (node, copy) in enumerate(zip(batch.nodes, batch.copies, strict=True), batch.first):
            yield from self._calls(ends[n], ends[n + 1])
            yield self._words(copying(node), copy.ctypes.data)

    def _words(self, kernel: NativeKernel, arguments: int) -> list[int]:
        threads = min(self._threads, kernel.tasks, 1 + kernel.work // ENOUGH)
        return call(self._addresses[kernel.name], arguments, kernel.tasks, threads)

    def _join(self, join: Join) -> None:
        start = self._address(join.buffer) - self._arena.data_ptr()
        numbers = self._arena[start : start + join.buffer.bytes].view(join.dtype)
        assert self._processes is not None
        if join.greatest:
            self._processes.greatest(numbers)
        else:
            self._processes.total(numbers)

    def _outputs(self, batch: Batch, after: dict[int, Held]) -> list[Array]:
        found = batch.outputs()
        for n, copy in enumerate(batch.copies, batch.first):
            where = self._plan.outputs[n]
            copy[1] = after[n].address if isinstance(where, Given) else self._address(where)
        self._do(batch)
        return found

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

    def _pointers(self, call: Call[NativeKernel] | Join) -> Any:
        if isinstance(call, Join):
            return None
        pointers = (ctypes.c_void_p * len(call.tensors))(*(self._address(tensor) for tensor in call.tensors))
        for position, tensor in enumerate(call.tensors):
            if isinstance(tensor, Given) and not self._address(tensor):
                self._patches.append((pointers, position, tensor))
        return pointers
