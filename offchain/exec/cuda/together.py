"""Nodes that several processes make together, by the kernels of CUDA's executor."""

from __future__ import annotations

import torch

from offchain.exec.cuda.calls import LOWEST, NOWHERE, CudaCalls, column_of, dense
from offchain.exec.cuda.elementwise import whole_kernel
from offchain.exec.cuda.kernel import Fill
from offchain.exec.cuda.reductions import max_kernel, scatter_kernel, top_kernel, total_kernel
from offchain.exec.plan.geometry import scatters_rows
from offchain.exec.plan.planning import Buffer, Tensor
from offchain.exec.plan.products import Product
from offchain.exec.plan.together import Bucket, Rounding
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, View
from offchain.ir.kinds import Kind


class CudaBucket(Bucket):
    """Totals are added by atomic operations wherever a process's own part is shared by programs."""

    wide = torch.int64

    def __init__(self, planner: CudaCalls) -> None:
        super().__init__(planner)
        self.planner = planner

    def _clear(self, buffer: Buffer, dtype: torch.dtype, greatest: bool) -> None:
        self.planner.call(Fill(LOWEST if greatest else 0, (dtype,)), buffer)

    def _magnitudes(self, item: Input, shape: tuple[int, ...], extent: int, top: Tensor, source: Tensor) -> None:
        self.planner.call(top_kernel(item, shape, extent), top, source)

    def _keys(self, node: Node, keys: Tensor, source: Tensor) -> None:
        self.planner.call(max_kernel(coalesced(node), keys=True), keys, source)

    def _elements(self, node: Node, out: Tensor, words: Tensor) -> None:
        self.planner.elements(node, out, words)

    def _sum(self, node: Node, total: Tensor, top: Tensor) -> Rounding:
        masked = node.kind is Kind.SCATTER_ADD
        self.planner.call(total_kernel(node, masked), total, top, *(self.planner.source(item) for item in node.inputs))
        return lambda out: self.planner.round(node, out, total, dense(node), [(top, dense(node))])

    def _scatter(self, node: Node, total: Tensor, top: Tensor) -> Rounding:
        if not scatters_rows(node):
            return self._sum(node, total, top)
        self.planner.call(scatter_kernel(node), total, top, *(self.planner.source(item) for item in node.inputs))
        return lambda out: self.planner.round(node, out, total, dense(node), [(top, column_of(node))])

    def _dot(self, node: Node, product: Product, total: Tensor, dtype: torch.dtype, tops: list[Tensor]) -> Rounding:
        planner, engine = self.planner, self.planner.engine(node)
        q0, q1 = (planner.packed(node, side, engine, tops[side])[0] for side in (0, 1))
        direct = (engine.total, engine.part, len(engine.weights)) == (dtype, product.size, 1)
        made = total if direct else planner.numbers(engine.total, len(engine.weights) * engine.part)
        planner.call(engine, made, q0, q1)
        if not direct:
            shape, (rows, columns) = (product.batch, product.first.rows, product.second.rows), engine.rows
            parts = Input(*NOWHERE, engine.part, View.strided(shape, (rows * columns, columns, 1)))
            planner.call(whole_kernel(shape, parts, engine.total, engine.weights, dtype), total, made)
        reads = list(zip(tops, product.backs, strict=True))
        return lambda out: planner.round(node, out, total, product.total, reads, dtype)
