"""Calls that nodes made alone and nodes made by several processes have in common: operands and totals of products."""

from __future__ import annotations

from math import prod

from offchain.exec.fused.digits import totals_kernel
from offchain.exec.fused.engines import Engines
from offchain.exec.fused.kernel import TYPES
from offchain.exec.fused.planes import lying, planes_kernel
from offchain.exec.fused.products import multiply_kernel, pack_kernel, total_kernel
from offchain.exec.plan.planning import Buffer, Planner, Tensor
from offchain.exec.plan.products import Product
from offchain.exec.plan.shards import Share
from offchain.ir.graph import Node
from offchain.native.kernel import NativeKernel


class FusedCalls(Planner[NativeKernel]):
    def __init__(self, share: Share, engines: Engines) -> None:
        super().__init__(share)
        self.engines = engines
        self._packs: dict[tuple[object, ...], tuple[Buffer, Buffer]] = {}

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
