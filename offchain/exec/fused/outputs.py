"""Outputs of consecutive nodes, copied to memory that they share by the run that computes them.

A call from Python and a page fault each take as long as a small node; a batch of nodes needs fewer of both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from offchain.exec.plan.memory import memory_for, memory_of
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.graph import Node
from offchain.native.builder import LlvmBuilder
from offchain.native.kernel import NativeKernel

BATCH: Final = 1 << 22  # words
_PART: Final = 1 << 16  # bytes of a copy that are one task


def batches(nodes: Sequence[Node], words: int) -> Iterator[range]:
    """Numbers of consecutive nodes: as many as their outputs fit `words` words, at least one."""
    first, taken = 0, 0
    for n, node in enumerate(nodes):
        if n > first and taken + node.length > words:
            yield range(first, n)
            first, taken = n, 0
        taken += node.length
    if nodes:
        yield range(first, len(nodes))


@dataclass(frozen=True, eq=False)
class Copies:
    """The copies of the outputs of consecutive nodes, of which `first` is the first one's number."""

    first: int
    nodes: Sequence[Node]

    @cached_property
    def arguments(self) -> npt.NDArray[np.int64]:
        """A row for each node: the addresses to copy to and from, and the bytes."""
        return np.array([(0, 0, 4 * node.length) for node in self.nodes], np.int64)

    @cached_property
    def _bounds(self) -> list[int]:
        """Where each output begins, in words, and where the last one ends."""
        return list(accumulate((node.length for node in self.nodes), initial=0))

    def outputs(self) -> list[Array]:
        """Arrays that the copies write to once they run. Raises OutOfMemory."""
        largest = max(range(len(self.nodes)), key=lambda n: self.nodes[n].length)
        with memory_for(*memory_of(self.first + largest, self.nodes[largest])):
            words = np.empty(self._bounds[-1], np.uint32)
        self.arguments[:, 0] = words.ctypes.data + 4 * np.array(self._bounds[:-1])
        return [
            words[start:end].view(numpy_dtype(node.dtype))
            for node, (start, end) in zip(self.nodes, pairwise(self._bounds), strict=True)
        ]


def _copy() -> NativeKernel:
    """Its arguments are a row of `Copies.arguments`."""
    f, (to, source, size) = LlvmBuilder.kernel("ptr", "ptr", "i64")
    begin = f.times("%first", _PART)
    end = f.least(str(f.times("%end", _PART)), size)
    f.call("memcpy", [f.at("i8", to, begin), f.at("i8", source, begin)], f.do(f"sub i64 {end}, {begin}"))
    return NativeKernel.of(f"declare void @memcpy(ptr, ptr, i64)\n{f}")


COPY: Final = _copy()


def copying(node: Node) -> NativeKernel:
    """The copy of a node's output."""
    return replace(COPY, tasks=-(-4 * node.length // _PART), work=node.length)
