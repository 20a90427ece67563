"""A graph as calls of kernels over buffers whose places are fixed ahead."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from offchain.exec.fused.calls import WORD, FusedCalls, form_of, started
from offchain.exec.fused.digits import dot_kernel, totals_kernel
from offchain.exec.fused.direct import direct, direct_kernel, repeats
from offchain.exec.fused.elementwise import gather_kernel, map_kernel
from offchain.exec.fused.engines import Engines
from offchain.exec.fused.kernel import TYPES
from offchain.exec.fused.planes import Digits, lying
from offchain.exec.fused.products import multiply_kernel, product_kernel
from offchain.exec.fused.reductions import (
    mask_kernel,
    max_kernel,
    rows_kernel,
    scatter_kernel,
    sum_kernel,
)
from offchain.exec.fused.together import FusedBucket
from offchain.exec.plan.geometry import from_start, scatters_rows
from offchain.exec.plan.pieces import cuts
from offchain.exec.plan.planning import ASIDE, STEP, Call, Tensor, aligned
from offchain.exec.plan.products import Product, product_of
from offchain.exec.plan.shards import Joined, Share
from offchain.ir.graph import Node, Source, View, readers_of
from offchain.ir.kinds import Kind, chosen
from offchain.native.kernel import NativeKernel


class FusedPlanner(FusedCalls):
    def __init__(self, share: Share, engines: Engines, prepared: int = 0) -> None:
        super().__init__(share, engines, prepared)
        self._through = frozenset(self._only_read_through())

    def alone(self, node: Node, out: Tensor) -> None:
        planned = len(self.plan.calls)
        chosen(_KINDS, node.kind)(self, node, out)
        if out == ASIDE:
            self.plan.aside[self.node] = [call for call in self.plan.calls[planned:] if isinstance(call, Call)]
            del self.plan.calls[planned:]

    def _steady(self, n: int) -> bool:
        return n not in self._through and super()._steady(n)

    def output(self, n: int) -> Tensor:
        if n not in self._through:
            return super().output(n)
        self.plan.outputs.append(ASIDE)
        return ASIDE

    def together(self, joined: Mapping[int, Joined]) -> None:
        FusedBucket(self).plan(joined)

    # --- kinds ----------------------------------------------------------------------------------------------------

    def map(self, node: Node, out: Tensor) -> None:
        """Piece by piece where it chooses by a coordinate."""
        form, starts = form_of(node)
        for piece in self.kept(pieces_of, form):
            reads = [(node.inputs[number], starts[number] + start) for number, start in piece.reads]
            sources, begins = [self.source(item) for item, _ in reads], [start for _, start in reads]
            self.call(piece.kernel, out, *sources, STEP, starts=(piece.start, *begins, 0))

    def sum(self, node: Node, out: Tensor) -> None:
        self.reading(sum_kernel, node, out)

    def max(self, node: Node, out: Tensor) -> None:
        self.reading(max_kernel, node, out)

    def gather(self, node: Node, out: Tensor) -> None:
        self.reading(gather_kernel, node, out)

    def scatter_add(self, node: Node, out: Tensor) -> None:
        if not scatters_rows(node):
            self.reading(mask_kernel, node, out)
            return
        total, back = self.buffer(8 * node.length), self.buffer(8 * prod(node.shape[1:]))
        self.reading(scatter_kernel, node, total, back)
        self.call(rows_kernel(node), out, total, back)

    def dot(self, node: Node, out: Tensor) -> None:
        form, _ = form_of(node)
        product, digits = self.kept(product_of, form), self.engines.digits(node.bits)
        if not self._prepares(node, product, digits) and self._direct(node, form, product, out):
            return
        (q0, back0), (q1, back1) = (self.packed(node, side, product, digits) for side in (0, 1))
        if digits and product.size == node.length:
            self.call(self.kept(dot_kernel, product, node.shape, digits), out, q0, q1, back0, back1)
            return
        kind, slices = ("double", 1) if digits else (product.kind, product.slices)
        total = self.buffer(TYPES[kind].itemsize * product.size * slices)
        if digits:
            self.call(self.kept(totals_kernel, product, digits, kind), total, q0, q1)
        else:
            self.call(self.kept(multiply_kernel, product, self.engines.blas), total, q0, q1)
        kernel = self.kept(product_kernel, node.shape, product.total, product.backs, kind, slices)
        self.call(kernel, out, total, back0, back1)

    def _prepares(self, node: Node, product: Product, digits: Digits | None) -> bool:
        """Whether the second operand is packed once, after which it takes fewer bytes to read than where it lies."""
        source = self.source(node.inputs[product.operands[1]])
        if digits is None or not self.lasts([source]):
            return False
        return self.has_room(aligned(4 * lying(product, 1, digits).words) + 8 * prod(product.second.shape))

    def _direct(self, node: Node, form: Node, product: Product, out: Tensor) -> bool:
        """Plans a dot of vectors and a matrix that is read where it lies, if it is one."""
        read, copy = node.inputs[product.operands[1]], None
        if self.source(read) == ASIDE:
            made = self.graph.nodes[read.index]
            (read,), (copy, _) = made.inputs, form_of(made)
        at = self.kept(direct, form, product, copy)
        if at is None:
            return False
        vectors, back = self.packed(node, 0, replace(product, kind="double"), None)
        _, start = started(read, 0)
        kernel = self.kept(direct_kernel, at, node.bits)
        self.call(kernel, out, self.source(read), vectors, back, starts=(0, start, 0, 0))
        return True

    def _only_read_through(self) -> Iterator[int]:
        """Copies that no step makes, because those who read them read what they copy."""
        nodes, readers = self.graph.nodes, readers_of(self.graph.nodes)
        for n, node in enumerate(nodes):
            if repeats(node) and readers[n] and n not in self._kept and self._joined[n] is None:
                copy, _ = form_of(node)
                if all(self._joined[r] is None and self._reads_through(nodes[r], n, copy) for r in readers[n]):
                    yield n

    def _reads_through(self, reader: Node, n: int, copy: Node) -> bool:
        if reader.kind is not Kind.DOT:
            return False
        form, starts = form_of(reader)
        product = self.kept(product_of, form)
        reads = [(item.source, item.index) == (Source.NODE, n) for item in reader.inputs]
        vectors, matrix = product.operands
        if reads[vectors] or starts[matrix]:
            return False
        return self.kept(direct, form, product, copy) is not None


@dataclass(frozen=True)
class _Piece:
    """A kernel of a part of a map: the byte of the output where it begins, and what it reads from which byte on, by
    the number of an input of the map."""

    kernel: NativeKernel
    start: int
    reads: tuple[tuple[int, int], ...]


def pieces_of(form: Node) -> list[_Piece]:
    """Of a map whose inputs are `started`."""
    made = []
    for part, view in cuts(form, View.contiguous(form.shape)):
        moved = [started(item, item.index) for item in part.inputs]
        target, start = from_start(view)
        kernel = map_kernel(replace(part, inputs=tuple(item for item, _ in moved)), target)
        made.append(_Piece(kernel, WORD * start, tuple((item.index, start) for item, start in moved)))
    return made


_KINDS: Final = {
    Kind.MAP: FusedPlanner.map,
    Kind.DOT: FusedPlanner.dot,
    Kind.SUM: FusedPlanner.sum,
    Kind.SCATTER_ADD: FusedPlanner.scatter_add,
    Kind.MAX: FusedPlanner.max,
    Kind.GATHER: FusedPlanner.gather,
}
