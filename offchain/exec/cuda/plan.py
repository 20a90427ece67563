"""A graph as launches over buffers whose places are fixed ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

import torch

from offchain.exec.cuda.elementwise import gather_kernel, map_kernel, round_kernel, unkey_kernel
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
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.fused.plan import ALIGN, STEP, Buffer, Given, Tensor, Within, place
from offchain.exec.fused.products import product_of
from offchain.exec.fused.reductions import scatters_rows
from offchain.exec.pieces import cuts
from offchain.ir.axes import coalesced
from offchain.ir.graph import Graph, Input, Kind, Node, Source, View
from offchain.ir.primitives import DType

_LOWEST: Final = -(1 << 31)
_SMALL: Final = 1 << 20  # bytes


@dataclass(frozen=True)
class Call:
    """One launch over its tensors."""

    launch: Launch
    tensors: tuple[Tensor, ...]


@dataclass
class Plan:
    """Calls in order; `ends[n]` is how many calls are done when node n is. `outputs[n]` is where its output lies."""

    calls: list[Call] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    arena: int = 0


class Planner:
    def __init__(self, graph: Graph, tuner: Tuner) -> None:
        self.graph, self.tuner = graph, tuner
        self.plan = Plan()
        self._buffers: list[Buffer] = []
        self._zeros = self._buffer(torch.int32, 0)  # of small tensors that start as zeros, set at once before all else
        self._packs: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}
        self._kept = {slot.index for slot in graph.slots if slot.source is Source.NODE}

    def make(self) -> Plan:
        self.call(Fill(0, (torch.int32,)), self._zeros)
        for n, node in enumerate(self.graph.nodes):
            out = Given(Source.NODE, n) if n in self._kept else self._buffer(torch.int32, node.length)
            self.plan.outputs.append(out)
            _KINDS[node.kind](self, node, out)
            self.plan.ends.append(len(self.plan.calls))
        self.plan.arena = place(self._buffers)
        return self.plan

    def call(self, launch: Launch, *tensors: Tensor) -> None:
        for tensor in tensors:
            held = tensor.buffer if isinstance(tensor, Within) else tensor
            if isinstance(held, Buffer):
                held.last = len(self.plan.calls)
        self.plan.calls.append(Call(launch, tensors))

    def source(self, item: Input) -> Tensor:
        return self.plan.outputs[item.index] if item.source is Source.NODE else Given(item.source, item.index)

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
        keys = out if node.dtype is DType.I32 else self._buffer(torch.int32, node.length)
        self.call(Fill(_LOWEST, (torch.int32,)), keys)
        self.call(max_kernel(node), keys, source)
        if node.dtype is DType.F32:
            self.call(unkey_kernel(node.length), out, keys)

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
        whole = View.contiguous(node.shape)
        column = View(0, (replace(whole.axes[0], stride=0), *whole.axes[1:]))
        self._round(node, out, total, _dense(node, whole), [(top, Input(*_NOWHERE, prod(columns), column))])

    def dot(self, node: Node, out: Tensor) -> None:
        engine = self.tuner.choose(engines(product_of(node), node.bits))
        (q0, top0), (q1, top1) = (self._packed(node, side, engine) for side in (0, 1))
        total = self._buffer(engine.total, len(engine.weights) * engine.part)
        self.call(engine, total, q0, q1)
        tops = list(zip((top0, top1), engine.product.backs, strict=True))
        self._round(node, out, total, engine.read, tops, engine.total, engine.weights)

    # --- parts of them ------------------------------------------------------------------------------------------------

    def _sum(self, node: Node, out: Tensor, masked: bool = False) -> None:
        """Of a scatter_add (`masked`) element by element: the terms whose index names the element's row."""
        item, sources = node.inputs[0], [self.source(item) for item in node.inputs]
        if not is_split(item, node.shape, node.extent):
            self.call(sum_kernel(node, masked), out, *sources)
            return
        top, total = self._top(item, node.shape, node.extent), self._zeroed(torch.int64, node.length)
        self.call(total_kernel(node, masked), total, top, *sources)
        whole = View.contiguous(node.shape)
        self._round(node, out, total, _dense(node, whole), [(top, _dense(node, whole))])

    def _top(self, item: Input, shape: tuple[int, ...], extent: int) -> Tensor:
        top = self._zeroed(torch.int32, prod(shape))
        self.call(top_kernel(item, shape, extent), top, self.source(item))
        return top

    def _packed(self, node: Node, side: int, engine: Engine) -> tuple[Tensor, Tensor]:
        """A quantised operand and its tops; the same for all products that read the same in the same way."""
        product, packing = engine.product, engine.packings[side]
        operand, item = (product.first, product.second)[side], node.inputs[product.operands[side]]
        key = (operand, node.bits, packing)
        if key not in self._packs:
            rows, split = prod(operand.shape), is_split(operand.item, operand.shape, packing.padded)
            reads = (operand.item, operand.shape, node.extent)
            top: Tensor = self._top(*reads) if split else self._buffer(torch.int32, rows)
            q = self._buffer(packing.dtype, packing.length)
            self.call(pack_kernel(operand.item, operand.shape, node.bits, packing), q, top, self.source(item))
            self._packs[key] = q, top
        return self._packs[key]

    def _round(
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
        size = _aligned(dtype.itemsize * length)
        if size > _SMALL:
            buffer = self._buffer(dtype, length)
            self.call(Fill(0, (dtype,)), buffer)
            return buffer
        self._zeros.bytes += size
        return Within(self._zeros, self._zeros.bytes - size)

    def _buffer(self, dtype: torch.dtype, length: int) -> Buffer:
        at = len(self.plan.calls)
        self._buffers.append(Buffer(_aligned(dtype.itemsize * length), at, at))
        return self._buffers[-1]


_NOWHERE: Final = (Source.NODE, 0, DType.F32)


def _aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _dense(node: Node, view: View) -> Input:
    return Input(*_NOWHERE, node.length, view)


_KINDS: Final = {
    Kind.MAP: Planner.map,
    Kind.DOT: Planner.dot,
    Kind.SUM: Planner.sum,
    Kind.SCATTER_ADD: Planner.scatter_add,
    Kind.MAX: Planner.max,
    Kind.GATHER: Planner.gather,
}
