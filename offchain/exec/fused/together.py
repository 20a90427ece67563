"""Nodes that several processes make together, by the kernels of the fused executor."""

from __future__ import annotations

from math import prod

import torch

from offchain.exec.fused.calls import FusedCalls
from offchain.exec.fused.elementwise import map_kernel
from offchain.exec.fused.products import product_kernel
from offchain.exec.fused.reductions import (
    magnitude_kernel,
    mask_kernel,
    max_kernel,
    rows_kernel,
    scatter_kernel,
    sum_kernel,
)
from offchain.exec.plan.geometry import scatters_rows
from offchain.exec.plan.planning import STEP, Tensor
from offchain.exec.plan.products import Product
from offchain.exec.plan.together import Bucket, Rounding
from offchain.ir.graph import Input, Node, Source, View
from offchain.ir.primitives import DType
from offchain.native.kernel import NativeKernel


class FusedBucket(Bucket):
    wide = torch.float64

    def __init__(self, planner: FusedCalls) -> None:
        super().__init__(planner)
        self.planner = planner

    def _magnitudes(self, item: Input, shape: tuple[int, ...], extent: int, top: Tensor, source: Tensor) -> None:
        self.planner.call(magnitude_kernel(item, shape, extent), top, source)

    def _keys(self, node: Node, keys: Tensor, source: Tensor) -> None:
        self.planner.call(max_kernel(node, keys=True), keys, source)

    def _elements(self, node: Node, out: Tensor, words: Tensor) -> None:
        self.planner.call(map_kernel(node, View.contiguous(node.shape)), out, words, STEP)

    def _sum(self, node: Node, total: Tensor, top: Tensor) -> Rounding:
        back = self.planner.buffer(8 * node.length)
        self.planner.call(sum_kernel(node, part=True), total, back, self.planner.source(node.inputs[0]), top)
        return lambda out: self.planner.call(_rounding(node), out, total, back)

    def _scatter(self, node: Node, total: Tensor, top: Tensor) -> Rounding:
        rows, (x, i) = scatters_rows(node), (self.planner.source(item) for item in node.inputs)
        back = self.planner.buffer(8 * prod(node.shape[1:] if rows else node.shape))
        if rows:
            self.planner.call(scatter_kernel(node, part=True), total, back, x, i, top)
        else:
            self.planner.call(mask_kernel(node, part=True), total, back, x, top, i)
        return lambda out: self.planner.call(rows_kernel(node) if rows else _rounding(node), out, total, back)

    def _dot(self, node: Node, product: Product, total: Tensor, dtype: torch.dtype, tops: list[Tensor]) -> Rounding:
        planner, kind = self.planner, "i32" if dtype is torch.int32 else "double"
        digits = planner.engines.digits(node.bits)
        (q0, back0), (q1, back1) = (planner.packed(node, side, product, digits, tops[side]) for side in (0, 1))
        planner.totals(node, product, kind, total, q0, q1)
        kernel = product_kernel(node.shape, product.total, product.backs, kind, 1)
        return lambda out: planner.call(kernel, out, total, back0, back1)


def _rounding(node: Node) -> NativeKernel:
    """Elements from their totals, with a back for each."""
    whole = Input(Source.NODE, 0, DType.F32, node.length, View.contiguous(node.shape))
    return product_kernel(node.shape, whole, [whole], "double", 1)
