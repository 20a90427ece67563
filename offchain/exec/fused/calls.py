"""Calls that nodes made alone and nodes made by several processes have in common: operands and totals of products."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Final

from offchain.exec.fused.digits import totals_kernel
from offchain.exec.fused.engines import Engines
from offchain.exec.fused.kernel import TYPES
from offchain.exec.fused.planes import lying, planes_kernel
from offchain.exec.fused.products import multiply_kernel, pack_kernel, total_kernel
from offchain.exec.plan.geometry import from_start
from offchain.exec.plan.planning import Buffer, Planner, Tensor
from offchain.exec.plan.products import Product
from offchain.exec.plan.shards import Share
from offchain.ir.graph import Input, Node
from offchain.native.kernel import NativeKernel

WORD: Final = 4  # bytes of an element


class FusedCalls(Planner[NativeKernel]):
    def __init__(self, share: Share, engines: Engines) -> None:
        super().__init__(share)
        self.engines = engines
        self._packs: dict[tuple[object, ...], tuple[Buffer, Buffer]] = {}

    def started(self, inputs: Sequence[Input]) -> tuple[tuple[Input, ...], tuple[int, ...]]:
        """The inputs as read from the first element of each, and where in their tensors that is, in bytes.

        So nodes that differ by offsets alone, as the time steps of a recurrence do, are one kernel.
        """
        views, starts = zip(*(from_start(item.view) for item in inputs), strict=True) if inputs else ((), ())
        moved = (replace(item, view=view) for item, view in zip(inputs, views, strict=True))
        return tuple(moved), tuple(WORD * start for start in starts)

    def reading(self, make: Callable[[Node], NativeKernel], node: Node, *written: Tensor) -> None:
        """Calls the kernel of a node: it writes these tensors and reads the node's inputs."""
        inputs, starts = self.started(node.inputs)
        kernel = make(replace(node, inputs=inputs))
        sources = (self.source(item) for item in node.inputs)
        self.call(kernel, *written, *sources, starts=(*[0] * len(written), *starts))

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
            (item,), (start,) = self.started([operand.item])
            if planes:
                size, kernel = 4 * planes.words, planes_kernel(replace(operand, item=item), planes, part)
            else:
                size, shape, strides = TYPES[product.kind].itemsize * rows * node.extent, operand.shape, operand.strides
                kernel = pack_kernel(item, shape, node.extent, node.bits, product.kind, strides, part)
            q, back = self.buffer(size), self.buffer(8 * rows)
            source = self.source(node.inputs[product.operands[side]])
            tops = [] if top is None else [top]
            self.call(kernel, q, back, source, *tops, starts=(0, 0, start, *[0] * len(tops)))
            self._packs[key] = q, back
        return self._packs[key]
