"""The fused executor: a planned graph, run by native kernels and torch's BLAS."""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch

from offchain.errors import BadInput
from offchain.exec.base import Tensors
from offchain.exec.fused.jit import compiler
from offchain.exec.fused.plan import STEP, Buffer, Call, Given, Multiply, Planner, Tensor
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.graph import Graph, Source
from offchain.ir.primitives import DType

ENOUGH: Final = 60_000  # element operations that are worth waking another thread for
_TYPES: Final = {"float": torch.float32, "double": torch.float64}
_WORDS: Final = {DType.F32: torch.float32, DType.I32: torch.int32}


class Held:
    """A tensor of a state. When nothing holds it any more its memory goes to a later state."""

    def __init__(self, tensor: torch.Tensor, pool: list[torch.Tensor]) -> None:
        self.tensor = tensor
        self.address = tensor.data_ptr()
        weakref.finalize(self, pool.append, tensor).atexit = False


State = list[Held]
Segment = tuple[Any, int]  # calls in a row, and how many


class FusedExecutor:
    """A state is a list of tensors in slot order, which nobody writes to while somebody holds it."""

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        device: str = "cpu",
        progress: Callable[[int, int], None] = lambda done, of: None,
    ) -> None:
        if torch.device(device).type != "cpu":
            raise BadInput(f"executor fused has no kernels for {device}: take --executor torch")
        self.graph = graph
        self._tensors = Tensors(graph, constants, datasets)
        self._given = {Source.CONST: self._tensors.constants, Source.DATA: self._tensors.datasets}
        self._plan = Planner(graph).make()
        calls = [call for call in self._plan.calls if isinstance(call, Call)]
        names = {call.kernel.name: call.kernel for call in calls}
        done = iter(range(1, len(names) + 1))
        self._addresses = compiler().load(names.values(), lambda: progress(next(done), len(names)))
        self._arena = torch.empty(self._plan.arena + 64, dtype=torch.uint8)
        self._base = -(-self._arena.data_ptr() // 64) * 64
        self._step = ctypes.c_int32(0)
        self._pools: dict[tuple[DType, int], list[torch.Tensor]] = {}
        self._arguments: list[Any] = []
        self._patches: list[tuple[Any, int, Given]] = []
        self._multiplies = {n: self._multiply(call) for n, call in enumerate(self._plan.calls) if isinstance(call, Multiply)}
        for call in self._plan.calls:
            self._arguments.append(self._pointers(call) if isinstance(call, Call) else None)
        self._threads = 0
        self._runs: dict[tuple[int, int], list[Segment | Callable[[], None]]] = {}

    # --- the promises of Executor -----------------------------------------------------------------------------

    def load(self, state: Sequence[Array]) -> State:
        held = []
        for slot, array in zip(self.graph.slots, self._tensors.state(state), strict=True):
            target = self._hold(slot.spec.dtype, slot.spec.length)
            target.tensor.copy_(torch.from_numpy(array))
            held.append(target)
        return held

    def dump(self, state: State) -> list[Array]:
        return [item.tensor.numpy().copy() for item in state]

    def step(self, state: State, t: int) -> State:
        after = self._begin(state, t)
        self._do(0, len(self._plan.calls))
        return self._after(state, after)

    def outputs(self, state: State, t: int) -> Iterator[Array]:
        after = self._begin(state, t)
        at = 0
        for n, end in enumerate(self._plan.ends):
            self._do(at, end)
            at = end
            yield self._output(n, after)

    def trace(self, state: State, t: int) -> list[Array]:
        return list(self.outputs(state, t))

    # --- one step ---------------------------------------------------------------------------------------------

    def _begin(self, state: State, t: int) -> dict[int, Held]:
        self._step.value = t
        after = {
            slot.index: self._hold(slot.spec.dtype, slot.spec.length)
            for slot in self.graph.slots
            if slot.source is Source.NODE
        }
        for pointers, position, given in self._patches:
            held = after[given.index] if given.source is Source.NODE else state[given.index]
            pointers[position] = held.address
        threads = torch.get_num_threads()
        if threads != self._threads:
            self._threads = threads
            self._runs.clear()
        return after

    def _after(self, state: State, after: dict[int, Held]) -> State:
        return [
            after[slot.index] if slot.source is Source.NODE else state[slot.index] for slot in self.graph.slots
        ]

    def _do(self, begin: int, end: int) -> None:
        run = compiler().run
        for part in self._segments(begin, end):
            if isinstance(part, tuple):
                run(*part)
            else:
                part()

    def _segments(self, begin: int, end: int) -> list[Segment | Callable[[], None]]:
        if (begin, end) not in self._runs:
            parts: list[Segment | Callable[[], None]] = []
            row: list[int] = []
            for n in range(begin, end + 1):
                if n == end or n in self._multiplies:
                    if row:
                        parts.append(((ctypes.c_int64 * len(row))(*row), len(row) // 4))
                    row = []
                    if n != end:
                        parts.append(self._multiplies[n])
                    continue
                kernel = self._plan.calls[n].kernel
                threads = min(self._threads, kernel.tasks, 1 + kernel.work // ENOUGH)
                row += [self._addresses[kernel.name], ctypes.addressof(self._arguments[n]), kernel.tasks, threads]
            self._runs[begin, end] = parts
        return self._runs[begin, end]

    def _output(self, n: int, after: dict[int, Held]) -> Array:
        node, where = self.graph.nodes[n], self._plan.outputs[n]
        if isinstance(where, Given):
            return after[n].tensor.numpy().copy()
        dtype = numpy_dtype(node.dtype)
        raw = (ctypes.c_uint8 * (4 * node.length)).from_address(self._address(where))
        return np.frombuffer(raw, dtype).copy()

    # --- memory -----------------------------------------------------------------------------------------------

    def _hold(self, dtype: DType, length: int) -> Held:
        pool = self._pools.setdefault((dtype, length), [])
        tensor = pool.pop() if pool else torch.empty(length, dtype=_WORDS[dtype])
        return Held(tensor, pool)

    def _address(self, tensor: Tensor) -> int:
        """0 where it changes from step to step."""
        if isinstance(tensor, Buffer):
            return self._base + tensor.place
        if tensor == STEP:
            return ctypes.addressof(self._step)
        if tensor.source in self._given:
            return int(self._given[tensor.source][tensor.index].ctypes.data)
        return 0

    def _pointers(self, call: Call) -> Any:
        pointers = (ctypes.c_void_p * len(call.tensors))(*(self._address(tensor) for tensor in call.tensors))
        for position, tensor in enumerate(call.tensors):
            if isinstance(tensor, Given) and not self._address(tensor):
                self._patches.append((pointers, position, tensor))
        return pointers

    def _multiply(self, call: Multiply) -> Callable[[], None]:
        product = call.product
        kind = _TYPES[product.kind]
        size = kind.itemsize

        def tensor(buffer: Buffer, *shape: int) -> torch.Tensor:
            offset = self._base - self._arena.data_ptr() + buffer.place
            count = int(np.prod(shape))
            return self._arena[offset : offset + count * size].view(kind).view(shape)

        def side(buffer: Buffer, rows: int, down: bool) -> torch.Tensor:
            if down:
                return tensor(buffer, product.batch, product.extent, rows).transpose(1, 2)
            return tensor(buffer, product.batch, rows, product.extent)

        a = side(call.first, product.first.rows, product.first.down)
        b = side(call.second, product.second.rows, product.second.down).transpose(1, 2)
        out = tensor(call.total, len(product.slices), product.batch, product.first.rows, product.second.rows)
        parts = [(a[:, :, lo:hi], b[:, lo:hi], s) for (lo, hi), s in zip(product.slices, out, strict=True)]

        def multiply() -> None:
            for left, right, total in parts:
                if product.batch == 1:
                    torch.mm(left[0], right[0], out=total[0])
                else:
                    torch.bmm(left, right, out=total)

        return multiply
