"""A graph as calls of kernels and of the BLAS over buffers whose places are fixed ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Final

from offchain.exec.fused.blas import Blas
from offchain.exec.fused.elementwise import gather_kernel, map_kernel
from offchain.exec.fused.kernel import Kernel
from offchain.exec.fused.products import Product, multiply_kernel, pack_kernel, product_kernel, product_of
from offchain.exec.fused.reductions import mask_kernel, max_kernel, scatter_kernel, sum_kernel
from offchain.exec.pieces import pieces
from offchain.exec.torch_views import steps
from offchain.ir.graph import Graph, Input, Kind, Node, Source, View

ALIGN: Final = 64
BYTES: Final = {"float": 4, "i32": 4, "double": 8}


@dataclass
class Buffer:
    """Memory between two calls of a step: `first` writes it, `last` is the last to read it. `place` is in the arena."""

    bytes: int
    first: int
    last: int
    place: int = -1


@dataclass(frozen=True)
class Given:
    """A tensor from outside the arena: of the state before, a dataset, a constant, or (source NODE) a node's output
    that the state after holds."""

    source: Source
    index: int


STEP: Final = Given(Source.CONST, -1)
Tensor = Buffer | Given


@dataclass(frozen=True)
class Call:
    """One kernel over its tensors."""

    kernel: Kernel
    tensors: tuple[Tensor, ...]


@dataclass
class Plan:
    """Calls in order; `ends[n]` is how many calls are done when node n is. `outputs[n]` is where its output lies."""

    calls: list[Call] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    arena: int = 0


class Planner:
    def __init__(self, graph: Graph, blas: Blas) -> None:
        self.graph, self.blas = graph, blas
        self.plan = Plan()
        self._buffers: list[Buffer] = []
        self._packs: dict[tuple[object, ...], tuple[Buffer, Buffer]] = {}
        self._kept = {slot.index for slot in graph.slots if slot.source is Source.NODE}

    def make(self) -> Plan:
        for n, node in enumerate(self.graph.nodes):
            out = Given(Source.NODE, n) if n in self._kept else self._buffer(4 * node.length)
            self.plan.outputs.append(out)
            _KINDS[node.kind](self, node, out)
            self.plan.ends.append(len(self.plan.calls))
        self.plan.arena = place(self._buffers)
        return self.plan

    def call(self, kernel: Kernel, *tensors: Tensor) -> None:
        self._touch(*tensors)
        self.plan.calls.append(Call(kernel, tensors))

    def source(self, item: Input) -> Tensor:
        return self.plan.outputs[item.index] if item.source is Source.NODE else Given(item.source, item.index)

    # --- kinds ----------------------------------------------------------------------------------------------------

    def map(self, node: Node, out: Tensor, view: View | None = None) -> None:
        """Piece by piece where it chooses by a coordinate."""
        view = view or View.contiguous(node.shape)
        for piece in pieces(node):
            axes = list(view.axes)
            axes[piece.axis] = replace(axes[piece.axis], hi=piece.hi - piece.lo)
            offset = view.offset + view.axes[piece.axis].stride * piece.lo
            self.map(piece.node, out, View(offset, tuple(axes)))
        if not pieces(node):
            sources = [self.source(item) for item in node.inputs]
            self.call(map_kernel(node, view), out, *sources, STEP)

    def sum(self, node: Node, out: Tensor) -> None:
        self.call(sum_kernel(node), out, self.source(node.inputs[0]))

    def max(self, node: Node, out: Tensor) -> None:
        self.call(max_kernel(node), out, self.source(node.inputs[0]))

    def gather(self, node: Node, out: Tensor) -> None:
        self.call(gather_kernel(node), out, *(self.source(item) for item in node.inputs))

    def scatter_add(self, node: Node, out: Tensor) -> None:
        sources = [self.source(item) for item in node.inputs]
        x, index = (item.view.axes for item in node.inputs)
        sizes = node.shape
        if steps(x[0], sizes[0]) or any(steps(axis, size) for axis, size in zip(index, sizes, strict=False)):
            self.call(mask_kernel(node), out, *sources)
            return
        width = prod(sizes[1:])
        total, back = self._buffer(8 * node.length), self._buffer(8 * width)
        self.call(scatter_kernel(node), total, back, *sources)
        whole = View.contiguous(sizes)
        column = View(0, (replace(whole.axes[0], stride=0), *whole.axes[1:]))
        reads = [Input(Source.NODE, 0, node.dtype, n, view) for n, view in ((node.length, whole), (width, column))]
        self.call(product_kernel(sizes, reads[0], reads[1:], "double", 1), out, total, back)

    def dot(self, node: Node, out: Tensor) -> None:
        product = product_of(node)
        (q0, back0), (q1, back1) = (self._packed(node, side, product) for side in (0, 1))
        total = self._buffer(BYTES[product.kind] * product.size * product.slices)
        self.call(multiply_kernel(product, self.blas), total, q0, q1)
        kernel = product_kernel(node.shape, product.total, product.backs, product.kind, product.slices)
        self.call(kernel, out, total, back0, back1)

    def _packed(self, node: Node, side: int, product: Product) -> tuple[Buffer, Buffer]:
        """A quantised operand and its backs; the same for all products that read the same in the same way."""
        operand = (product.first, product.second)[side]
        item = node.inputs[product.operands[side]]
        key = (operand, node.bits, node.extent, product.kind)
        if key not in self._packs:
            rows = prod(operand.shape)
            q, back = self._buffer(BYTES[product.kind] * rows * node.extent), self._buffer(8 * rows)
            kernel = pack_kernel(operand.item, operand.shape, node.extent, node.bits, product.kind, operand.strides)
            self.call(kernel, q, back, self.source(item))
            self._packs[key] = q, back
        return self._packs[key]

    # --- buffers --------------------------------------------------------------------------------------------------

    def _buffer(self, size: int) -> Buffer:
        at = len(self.plan.calls)
        self._buffers.append(Buffer(-(-size // ALIGN) * ALIGN, at, at))
        return self._buffers[-1]

    def _touch(self, *tensors: Tensor) -> None:
        for tensor in tensors:
            if isinstance(tensor, Buffer):
                tensor.last = len(self.plan.calls)


def place(buffers: Sequence[Buffer]) -> int:
    """Gives every buffer a place such that those alive at the same time do not overlap; the arena's size in bytes.

    The largest first, each at the lowest place that is free while it lives.
    """
    placed: list[Buffer] = []
    size = 0
    for buffer in sorted(buffers, key=lambda b: -b.bytes):
        at = 0
        for other in sorted(placed, key=lambda b: b.place):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if at + buffer.bytes <= other.place:
                break
            at = max(at, other.place + other.bytes)
        buffer.place = at
        placed.append(buffer)
        size = max(size, at + buffer.bytes)
    return size


_KINDS: Final = {
    Kind.MAP: Planner.map,
    Kind.DOT: Planner.dot,
    Kind.SUM: Planner.sum,
    Kind.SCATTER_ADD: Planner.scatter_add,
    Kind.MAX: Planner.max,
    Kind.GATHER: Planner.gather,
}
