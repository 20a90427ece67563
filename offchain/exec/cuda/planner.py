"""A graph as launches over buffers whose places are fixed ahead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import torch

from offchain.exec.cuda.calls import LOWEST, CudaCalls, column_of, dense
from offchain.exec.cuda.elementwise import gather_kernel, map_kernel
from offchain.exec.cuda.kernel import Fill
from offchain.exec.cuda.reductions import (
    column_operand,
    is_split,
    max_kernel,
    scatter_kernel,
    sum_kernel,
    total_kernel,
)
from offchain.exec.cuda.together import CudaBucket
from offchain.exec.plan.geometry import scatters_rows
from offchain.exec.plan.pieces import cuts
from offchain.exec.plan.planning import STEP, Tensor
from offchain.exec.plan.shards import Joined
from offchain.exec.plan.together import from_keys
from offchain.ir.axes import coalesced
from offchain.ir.graph import Node, View
from offchain.ir.kinds import Kind, chosen


class CudaPlanner(CudaCalls):
    def alone(self, node: Node, out: Tensor) -> None:
        chosen(_KINDS, node.kind)(self, node, out)

    def together(self, joined: Mapping[int, Joined]) -> None:
        CudaBucket(self).plan(joined)

    # --- kinds --------------------------------------------------------------------------------------------------------

    def map(self, node: Node, out: Tensor) -> None:
        """Piece by piece where it chooses by a coordinate."""
        for part, view in cuts(node, View.contiguous(node.shape)):
            sources = [self.source(item) for item in part.inputs]
            self.call(map_kernel(part, view, node.length), out, *sources, STEP)

    def gather(self, node: Node, out: Tensor) -> None:
        self.call(gather_kernel(node), out, *(self.source(item) for item in node.inputs))

    def max(self, node: Node, out: Tensor) -> None:
        node = coalesced(node)
        item, source = node.inputs[0], self.source(node.inputs[0])
        if not is_split(item, node.shape, node.extent):
            self.call(max_kernel(node), out, source)
            return
        keys = self.numbers(torch.int32, node.length)
        self.call(Fill(LOWEST, (torch.int32,)), keys)
        self.call(max_kernel(node, keys=True), keys, source)
        self.elements(from_keys(node), out, keys)

    def sum(self, node: Node, out: Tensor) -> None:
        self._sum(coalesced(node), out)

    def scatter_add(self, node: Node, out: Tensor) -> None:
        if not scatters_rows(node):
            self._sum(node, out, masked=True)
            return
        sources = [self.source(item) for item in node.inputs]
        item, columns = column_operand(node)
        top, total = self.top(item, columns, node.extent), self.zeroed(torch.int64, node.length)
        self.call(scatter_kernel(node), total, top, *sources)
        self.round(node, out, total, dense(node), [(top, column_of(node))])

    def dot(self, node: Node, out: Tensor) -> None:
        engine = self.engine(node)
        (q0, top0), (q1, top1) = (self.packed(node, side, engine) for side in (0, 1))
        total = self.numbers(engine.total, len(engine.weights) * engine.part)
        self.call(engine, total, q0, q1)
        tops = list(zip((top0, top1), engine.product.backs, strict=True))
        self.round(node, out, total, engine.read, tops, engine.total, engine.weights)

    # --- parts of them ------------------------------------------------------------------------------------------------

    def _sum(self, node: Node, out: Tensor, masked: bool = False) -> None:
        """Of a scatter_add (`masked`) element by element: the terms whose index names the element's row."""
        item, sources = node.inputs[0], [self.source(item) for item in node.inputs]
        if not is_split(item, node.shape, node.extent):
            self.call(sum_kernel(node, masked), out, *sources)
            return
        top, total = self.top(item, node.shape, node.extent), self.zeroed(torch.int64, node.length)
        self.call(total_kernel(node, masked), total, top, *sources)
        self.round(node, out, total, dense(node), [(top, dense(node))])


_KINDS: Final = {
    Kind.MAP: CudaPlanner.map,
    Kind.DOT: CudaPlanner.dot,
    Kind.SUM: CudaPlanner.sum,
    Kind.SCATTER_ADD: CudaPlanner.scatter_add,
    Kind.MAX: CudaPlanner.max,
    Kind.GATHER: CudaPlanner.gather,
}
