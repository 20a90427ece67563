"""A graph as calls of kernels over buffers whose places are fixed ahead."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Final

from offchain.exec.fused.digits import dot_kernel, totals_kernel
from offchain.exec.fused.elementwise import gather_kernel, map_kernel
from offchain.exec.fused.engines import Engines
from offchain.exec.fused.kernel import TYPES
from offchain.exec.fused.planes import lying, planes_kernel
from offchain.exec.fused.products import Product, multiply_kernel, pack_kernel, product_kernel, product_of, total_kernel
from offchain.exec.fused.reductions import (
    mask_kernel,
    max_kernel,
    rows_kernel,
    scatter_kernel,
    scatters_rows,
    sum_kernel,
)
from offchain.exec.fused.together import FusedBucket
from offchain.exec.plan.pieces import cuts
from offchain.exec.plan.planning import STEP, Buffer, Planner, Tensor
from offchain.exec.plan.shards import Joined, Share
from offchain.ir.graph import Node, View
from offchain.ir.kinds import Kind
from offchain.native.kernel import NativeKernel


class FusedPlanner(Planner[NativeKernel]):
    def __init__(self, share: Share, engines: Engines) -> None:
        super().__init__(share)
        self.engines = engines
        self._packs: dict[tuple[object, ...], tuple[Buffer, Buffer]] = {}

    def alone(self, node: Node, out: Tensor) -> None:
        _KINDS[node.kind](self, node, out)

    def together(self, joined: Mapping[int, Joined]) -> None:
        FusedBucket(self).plan(joined)

    # --- kinds ----------------------------------------------------------------------------------------------------

    def map(self, node: Node, out: Tensor) -> None:
        """Piece by piece where it chooses by a coordinate."""
        for part, view in cuts(node, View.contiguous(node.shape)):
            self.call(map_kernel(part, view), out, *(self.source(item) for item in part.inputs), STEP)

    def sum(self, node: Node, out: Tensor) -> None:
        self.call(sum_kernel(node), out, self.source(node.inputs[0]))

    def max(self, node: Node, out: Tensor) -> None:
        self.call(max_kernel(node), out, self.source(node.inputs[0]))

    def gather(self, node: Node, out: Tensor) -> None:
        self.call(gather_kernel(node), out, *(self.source(item) for item in node.inputs))

    def scatter_add(self, node: Node, out: Tensor) -> None:
        sources = [self.source(item) for item in node.inputs]
        if not scatters_rows(node):
            self.call(mask_kernel(node), out, *sources)
            return
        total, back = self.buffer(8 * node.length), self.buffer(8 * prod(node.shape[1:]))
        self.call(scatter_kernel(node), total, back, *sources)
        self.call(rows_kernel(node), out, total, back)

    def dot(self, node: Node, out: Tensor) -> None:
        product, digits = product_of(node), self.engines.digits(node.bits)
        (q0, back0), (q1, back1) = (self.packed(node, side, product) for side in (0, 1))
        if digits and product.size == node.length:
            self.call(dot_kernel(product, node.shape, digits), out, q0, q1, back0, back1)
            return
        kind, slices = ("double", 1) if digits else (product.kind, product.slices)
        total = self.buffer(TYPES[kind].itemsize * product.size * slices)
        if digits:
            self.call(totals_kernel(product, digits, kind), total, q0, q1)
        else:
            self.call(multiply_kernel(product, self.engines.blas), total, q0, q1)
        kernel = product_kernel(node.shape, product.total, product.backs, kind, slices)
        self.call(kernel, out, total, back0, back1)

    def totals(self, node: Node, product: Product, kind: str, to: Tensor, q0: Buffer, q1: Buffer) -> None:
        """The product's totals as `kind`, double or i32."""
        digits = self.engines.digits(node.bits)
        if digits:
            self.call(totals_kernel(product, digits, kind), to, q0, q1)
            return
        direct = product.kind == kind and product.slices == 1
        made = to if direct else self.buffer(TYPES[product.kind].itemsize * product.size * product.slices)
        self.call(multiply_kernel(product, self.engines.blas), made, q0, q1)
        if not direct:
            self.call(total_kernel(product, kind), to, made)

    def packed(self, node: Node, side: int, product: Product, top: Tensor | None = None) -> tuple[Buffer, Buffer]:
        """A quantised operand and its backs; the same for all products that read the same in the same way.

        With `top` it is part of one, scaled by these magnitudes.
        """
        operand = (product.first, product.second)[side]
        digits = self.engines.digits(node.bits)
        planes = lying(product, side, digits) if digits else None
        key = (operand, node.bits, node.extent, product.kind, planes, top is None)
        if key not in self._packs:
            rows, part = prod(operand.shape), top is not None
            if planes:
                size, kernel = 4 * planes.words, planes_kernel(operand, planes, part)
            else:
                size, shape, strides = TYPES[product.kind].itemsize * rows * node.extent, operand.shape, operand.strides
                kernel = pack_kernel(operand.item, shape, node.extent, node.bits, product.kind, strides, part)
            q, back = self.buffer(size), self.buffer(8 * rows)
            source = self.source(node.inputs[product.operands[side]])
            self.call(kernel, q, back, source, *([] if top is None else [top]))
            self._packs[key] = q, back
        return self._packs[key]


_KINDS: Final = {
    Kind.MAP: FusedPlanner.map,
    Kind.DOT: FusedPlanner.dot,
    Kind.SUM: FusedPlanner.sum,
    Kind.SCATTER_ADD: FusedPlanner.scatter_add,
    Kind.MAX: FusedPlanner.max,
    Kind.GATHER: FusedPlanner.gather,
}
