"""Nodes that several processes make together, planned in three phases with all numbers of a phase in one buffer.

Each process finds the greatest magnitudes, or order keys, of its part, and they are joined; then its integer totals,
and they are joined; then every process rounds the same numbers. `Bucket` decides what is joined and in which order;
each executor's subclass decides with which kernels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from math import prod
from typing import Any, ClassVar, Final

import torch

from offchain.exec.plan.geometry import scattered, scatters_rows
from offchain.exec.plan.planning import Buffer, Planner, Tensor, Within
from offchain.exec.plan.products import Product, product_of
from offchain.exec.plan.shards import Joined
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, Source, View
from offchain.ir.kinds import Kind, chosen
from offchain.ir.primitives import DType
from offchain.ir.program import ProgramBuilder, Value

Phases = Generator[None, Tensor, None]
Rounding = Callable[[Tensor], None]  # plans a node's output, from totals that have been joined
_SMALL_BITS: Final = 31  # of a total that an int32 holds, which is half of the bytes of a wide one
_MAGNITUDE: Final = 0x7FFFFFFF


class Bucket(ABC):
    """Nodes that are joined at the same time."""

    wide: ClassVar[torch.dtype]  # of totals of up to 53 bits

    def __init__(self, planner: Planner[Any]) -> None:
        self._planner = planner
        self._buffers: dict[tuple[torch.dtype, bool], Buffer] = {}

    def plan(self, joined: Mapping[int, Joined]) -> None:
        nodes, planner = self._planner.graph.nodes, self._planner
        runs = {n: chosen(_KINDS, nodes[n].kind)(self, nodes[n], how) for n, how in joined.items()}
        for greatest in (True, False):
            for planner.node, run in runs.items():
                next(run)
            for (dtype, of), buffer in self._buffers.items():
                if of == greatest:
                    planner.join(buffer, dtype, greatest)
        for planner.node, run in runs.items():
            with suppress(StopIteration):
                run.send(planner.output(planner.node))
            planner.plan.ends.append(len(planner.plan.calls))

    # --- what the kernels of an executor do -----------------------------------------------------------------------

    def _clear(self, buffer: Buffer, dtype: torch.dtype, greatest: bool) -> None:
        """Prepares a buffer, whose size is not final yet, before kernels write to it."""
        return

    @abstractmethod
    def _magnitudes(self, item: Input, shape: tuple[int, ...], extent: int, top: Tensor, source: Tensor) -> None:
        """The greatest magnitudes along k, int32."""

    @abstractmethod
    def _keys(self, node: Node, keys: Tensor, source: Tensor) -> None:
        """The greatest order keys of a maximum, int32."""

    @abstractmethod
    def _elements(self, node: Node, out: Tensor, words: Tensor) -> None:
        """A map of one input."""

    @abstractmethod
    def _sum(self, node: Node, total: Tensor, top: Tensor) -> Rounding:
        """Wide totals."""

    @abstractmethod
    def _scatter(self, node: Node, total: Tensor, top: Tensor) -> Rounding:
        """Wide totals; magnitudes are one for each column where it scatters rows, else one for each element."""

    @abstractmethod
    def _dot(self, node: Node, product: Product, total: Tensor, dtype: torch.dtype, tops: list[Tensor]) -> Rounding:
        """Totals of that dtype, in the order of the product."""

    # --- kinds: what is done before magnitudes are joined, before totals are joined, and afterwards ----------------

    def map(self, node: Node, joined: Joined) -> Phases:
        """Words are added: all but one process's are zero."""
        yield
        words = self._place(node.length, torch.int32)
        self._planner.alone(node, words)
        out = yield
        self._elements(_of_words(node, node.dtype, lambda p: p.input(0, node.dtype)), out, words)

    def max(self, node: Node, joined: Joined) -> Phases:
        keys = self._place(node.length, torch.int32, greatest=True)
        self._keys(node, keys, self._planner.source(node.inputs[0]))
        yield
        out = yield
        self._elements(from_keys(node), out, keys)

    def sum(self, node: Node, joined: Joined) -> Phases:
        node = coalesced(node)
        top = self._top(node, node.inputs[0], node.inputs[0], node.shape)
        yield
        rounding = self._sum(node, self._place(node.length, self.wide), top)
        rounding((yield))

    def scatter_add(self, node: Node, joined: Joined) -> Phases:
        item = node.inputs[0]
        view, shape = (scattered(node)[0], node.shape[1:]) if scatters_rows(node) else (item, node.shape)
        top = self._top(node, item, view, shape)
        yield
        rounding = self._scatter(node, self._place(node.length, self.wide), top)
        rounding((yield))

    def dot(self, node: Node, joined: Joined) -> Phases:
        product = product_of(node)
        sides = [(product.first, product.operands[0]), (product.second, product.operands[1])]
        tops: list[Tensor] = [self._top(node, node.inputs[n], side.item, side.shape) for side, n in sides]
        yield
        bits = 2 * (node.bits - 1) + (joined.extent - 1).bit_length()
        # the same in all processes, whatever their own products are
        dtype = torch.int32 if bits <= _SMALL_BITS else self.wide
        rounding = self._dot(node, product, self._place(product.size, dtype), dtype, tops)
        rounding((yield))

    def _place(self, length: int, dtype: torch.dtype, greatest: bool = False) -> Within:
        """Room for `length` numbers that will be joined."""
        if (dtype, greatest) not in self._buffers:
            self._buffers[dtype, greatest] = self._planner.buffer(0)
            self._clear(self._buffers[dtype, greatest], dtype, greatest)
        return self._planner.within(self._buffers[dtype, greatest], dtype.itemsize * length)

    def _top(self, node: Node, item: Input, view: Input, shape: tuple[int, ...]) -> Within:
        """Magnitudes of an operand, shared by all nodes that read it in the same way."""
        tops, key = self._planner.tops, (view, shape, node.extent)
        if key not in tops:
            tops[key] = self._place(prod(shape), torch.int32, greatest=True)
            self._magnitudes(view, shape, node.extent, tops[key], self._planner.source(item))
        return tops[key]


def from_keys(node: Node) -> Node:
    """A map from order keys to the elements of a maximum."""

    def value(p: ProgramBuilder) -> Value:
        key = p.input(0, DType.I32)
        return (key ^ ((key >> 31) & _MAGNITUDE)).from_bits() if node.dtype is DType.F32 else key

    return _of_words(node, DType.I32, value)


def _of_words(node: Node, dtype: DType, value: Callable[[ProgramBuilder], Value]) -> Node:
    """A map of one input, of that dtype and as long as the node's output."""
    p, item = ProgramBuilder(node.shape), Input(Source.NODE, 0, dtype, node.length, View.contiguous(node.shape))
    return Node(Kind.MAP, node.dtype, node.shape, (item,), program=p.finish(value(p)))


_KINDS: Final[dict[Kind, Callable[[Bucket, Node, Joined], Phases]]] = {
    Kind.MAP: Bucket.map,
    Kind.DOT: Bucket.dot,
    Kind.SUM: Bucket.sum,
    Kind.SCATTER_ADD: Bucket.scatter_add,
    Kind.MAX: Bucket.max,
}
