"""A graph as launches over buffers whose places are fixed ahead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Final

import torch

from offchain.exec.cuda.elementwise import gather_kernel, map_kernel, round_kernel
from offchain.exec.cuda.engines import Engine, engines
from offchain.exec.cuda.kernel import Fill, Launch
from offchain.exec.cuda.reductions import (
    column_operand,
    is_split,
    max_kernel,
    pack_kernel,
    scatter_kernel,
    sum_kernel,
    top_kernel,
    total_kernel,
)
from offchain.exec.cuda.together import LOWEST, CudaBucket, column_of, dense
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.fused.products import product_of
from offchain.exec.fused.reductions import scatters_rows
from offchain.exec.plan.pieces import cuts
from offchain.exec.plan.planning import STEP, Buffer, Planner, Tensor, Within, aligned
from offchain.exec.plan.shards import Joined, Share
from offchain.exec.plan.together import from_keys
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, View
from offchain.ir.kinds import Kind

_SMALL: Final = 1 << 20  # bytes


class CudaPlanner(Planner[Launch]):
    def __init__(self, share: Share, tuner: Tuner) -> None:
        super().__init__(share)
        self.tuner = tuner
        self._zeros = self.buffer(0)  # of small tensors that start as zeros, set at once before all else
        self._packs: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}
        self.call(Fill(0, (torch.int32,)), self._zeros)

    def alone(self, node: Node, out: Tensor) -> None:
        _KINDS[node.kind](self, node, out)

    def together(self, joined: Mapping[int, Joined]) -> None:
        CudaBucket(self).plan(joined)

    # --- kinds --------------------------------------------------------------------------------------------------------

    def map(self, node: Node, out: Tensor) -> None:
        """Piece by piece where it chooses by a coordinate."""
        for part, view in cuts(node, View.contiguous(node.shape)):
            sources = [self.source(item) for item in part.inputs]
            self.call(map_kernel(part, view, node.length), out, *sources, STEP)

    def elements(self, node: Node, out: Tensor, words: Tensor) -> None:
        """A map of one input, which lies in `words`."""
        self.call(map_kernel(node, View.contiguous(node.shape), node.length), out, words, STEP)

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
        top, total = self._top(item, columns, node.extent), self._zeroed(torch.int64, node.length)
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
        top, total = self._top(item, node.shape, node.extent), self._zeroed(torch.int64, node.length)
        self.call(total_kernel(node, masked), total, top, *sources)
        self.round(node, out, total, dense(node), [(top, dense(node))])

    def engine(self, node: Node) -> Engine:
        return self.tuner.choose(engines(product_of(node), node.bits))

    def _top(self, item: Input, shape: tuple[int, ...], extent: int) -> Tensor:
        top = self._zeroed(torch.int32, prod(shape))
        self.call(top_kernel(item, shape, extent), top, self.source(item))
        return top

    def packed(self, node: Node, side: int, engine: Engine, top: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A quantised operand and its tops; the same for all products that read the same in the same way.

        With `top` it is part of one, scaled by these magnitudes.
        """
        product, packing, part = engine.product, engine.packings[side], top is not None
        operand, item = (product.first, product.second)[side], node.inputs[product.operands[side]]
        key = (operand, node.bits, node.extent, packing, part)
        if key not in self._packs:
            rows, split = prod(operand.shape), is_split(operand.item, operand.shape, packing.padded)
            if top is None:
                reads = (operand.item, operand.shape, node.extent)
                top = self._top(*reads) if split else self.numbers(torch.int32, rows)
            q = self.numbers(packing.dtype, packing.length)
            kernel = pack_kernel(operand.item, operand.shape, node.bits, packing, part)
            self.call(kernel, q, top, self.source(item))
            self._packs[key] = q, top
        return self._packs[key]

    def round(
        self,
        node: Node,
        out: Tensor,
        total: Tensor,
        read: Input,
        tops: Sequence[tuple[Tensor, Input]],
        dtype: torch.dtype = torch.int64,
        weights: Sequence[int] = (1,),
    ) -> None:
        kernel = round_kernel(node.shape, read, [item for _, item in tops], node.bits, dtype, weights)
        self.call(kernel, out, total, *(top for top, _ in tops))

    def _zeroed(self, dtype: torch.dtype, length: int) -> Buffer | Within:
        """Zeros. A large tensor takes a launch of its own and not memory for all of the step."""
        size = aligned(dtype.itemsize * length)
        if size > _SMALL:
            buffer = self.numbers(dtype, length)
            self.call(Fill(0, (dtype,)), buffer)
            return buffer
        self._zeros.bytes += size
        return Within(self._zeros, self._zeros.bytes - size)

    def numbers(self, dtype: torch.dtype, length: int) -> Buffer:
        return self.buffer(dtype.itemsize * length)


_KINDS: Final = {
    Kind.MAP: CudaPlanner.map,
    Kind.DOT: CudaPlanner.dot,
    Kind.SUM: CudaPlanner.sum,
    Kind.SCATTER_ADD: CudaPlanner.scatter_add,
    Kind.MAX: CudaPlanner.max,
    Kind.GATHER: CudaPlanner.gather,
}
