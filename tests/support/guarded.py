"""The fused executor with closed pages around every buffer: to read or write one byte outside ends the process."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Iterator, Sequence
from typing import Any, Final
from unittest.mock import patch

import numpy as np
import torch

from offchain.exec.base import DEFAULT, Setting
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.plan.planning import Buffer, Call, Plan, Within
from offchain.exec.plan.shards import Share
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.native.kernel import NativeKernel
from tests.support.strategies import over_state

PAGE: Final = mmap.PAGESIZE
POISON: Final = 0xFF  # in every byte that nothing has written: NaN as floats
_LIBC: Final = ctypes.CDLL(None, use_errno=True)


def reserved(size: int) -> int:
    """The address of so many bytes of closed pages, which take no memory and stay."""
    _LIBC.mmap.restype = ctypes.c_void_p
    place = _LIBC.mmap(None, ctypes.c_size_t(size), 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, ctypes.c_long(0))
    if place == ctypes.c_void_p(-1).value:
        raise OSError(ctypes.get_errno(), "mmap failed")
    return int(place)


def close(address: int) -> None:
    """Makes the page at an address one that may be neither read nor written."""
    _protect(address, 0)


def open_page(address: int) -> None:
    _protect(address, mmap.PROT_READ | mmap.PROT_WRITE)


def _protect(address: int, how: int) -> None:
    if _LIBC.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(PAGE), how):
        raise OSError(ctypes.get_errno(), "mprotect failed")


def whole_pages(size: int) -> int:
    return -(-size // PAGE) * PAGE


def fenced(length: int, dtype: Any, low: bool) -> Array:
    """Memory between two closed pages. It begins right behind the first of them, or (not `low`) ends at the second."""
    size = length * np.dtype(dtype).itemsize
    inside = whole_pages(size)
    memory = np.frombuffer(mmap.mmap(-1, inside + 2 * PAGE), np.uint8)
    memory[:] = POISON
    for at in (0, PAGE + inside):
        close(memory.ctypes.data + at)
    start = PAGE if low else PAGE + inside - size
    return memory[start : start + size].view(dtype)


def moved(array: Array, low: bool) -> Array:
    """The array in fenced memory."""
    out = fenced(array.size, array.dtype, low)
    out[:] = array.reshape(-1)
    return out


class GuardedExecutor(FusedExecutor):
    """Every buffer has a place of its own. It begins right behind a closed page, or (not `low`) ends at one.

    Buffers that hold no output end up to 63 bytes before the page.
    """

    def __init__(
        self,
        graph: Graph,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        setting: Setting = DEFAULT,
        low: bool = False,
    ) -> None:
        self._low = low
        self._closed: list[int] = []  # pages of the arena
        given = ([moved(array, low) for array in arrays] for arrays in (constants, datasets))
        super().__init__(graph, *given, setting)

    def _planned(self, part: Share, prepared: int) -> Plan[NativeKernel]:
        plan = super()._planned(part, prepared)
        sizes = {id(out): 4 * node.length for out, node in zip(plan.outputs, part.graph.nodes, strict=True)}
        at = PAGE
        for buffer in buffers(plan):
            size = sizes.get(id(buffer), buffer.bytes)
            buffer.place = at if self._low else at + whole_pages(size) - size
            self._closed.append(at + whole_pages(size))
            at = self._closed[-1] + PAGE
        plan.arena = at
        return plan

    def _room(self, length: int, dtype: torch.dtype) -> torch.Tensor:
        if dtype is not torch.uint8:
            return torch.from_numpy(fenced(length, np.float32 if dtype is torch.float32 else np.int32, self._low))
        arena = fenced(length, np.uint8, low=True)
        for page in self._closed:
            close(arena.ctypes.data + page)
        return torch.from_numpy(arena)


def buffers(plan: Plan[Any]) -> Iterator[Buffer]:
    """Each buffer of a plan once."""
    seen: set[int] = set()
    for call in (*plan.once, *plan.calls):
        for tensor in call.tensors if isinstance(call, Call) else (call.buffer,):
            buffer = tensor.buffer if isinstance(tensor, Within) else tensor
            if isinstance(buffer, Buffer) and id(buffer) not in seen:
                seen.add(id(buffer))
                yield buffer


def trespass(low: bool, by: int) -> None:
    """Runs a graph that is not legal: a copy of a tensor that begins so many elements after it, or before it."""
    item = Input(Source.STATE, 0, DType.F32, 5, View(by, (Axis(1, 0, 5),)))
    node = Node(Kind.MAP, DType.F32, (5,), (item,), program=(Instr(Op.INPUT),))
    case = over_state([node], [np.ones(5, np.float32)])
    with patch("offchain.exec.base.check"):
        executor = GuardedExecutor(case.graph, [], [], low=low)
    next(executor.outputs(executor.load(case.state), 0))
