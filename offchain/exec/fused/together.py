"""Nodes that several processes make together, planned in three phases with all numbers of a phase in one buffer.

Each process finds the greatest magnitudes, or order keys, of its part, and they are joined; then its integer totals,
and they are joined; then every process rounds the same.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import suppress
from math import prod
from typing import TYPE_CHECKING, Final

from offchain.exec.fused.elementwise import map_kernel
from offchain.exec.fused.ir import MAGNITUDE
from offchain.exec.fused.kernel import TYPES, Kernel
from offchain.exec.fused.products import multiply_kernel, product_kernel, product_of, total_kernel
from offchain.exec.fused.reductions import (
    magnitude_kernel,
    mask_kernel,
    max_kernel,
    rows_kernel,
    scatter_kernel,
    scattered,
    scatters_rows,
    sum_kernel,
)
from offchain.exec.planning import STEP, Buffer, Tensor, Within, aligned
from offchain.exec.shards import Joined
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Kind, Node, Source, View
from offchain.ir.primitives import DType
from offchain.ir.program import ProgramBuilder, Value

if TYPE_CHECKING:
    from offchain.exec.fused.planner import FusedPlanner

Phases = Generator[None, Tensor, None]
_SMALL_BITS: Final = 31  # of a total that an i32 holds, which is half of the bytes of a double


class Bucket:
    """Nodes that are joined at the same time."""

    def __init__(self, planner: FusedPlanner) -> None:
        self.planner = planner
        self._buffers: dict[tuple[str, bool], Buffer] = {}

    def plan(self, joined: Mapping[int, Joined]) -> None:
        nodes = self.planner.graph.nodes
        runs = {n: _KINDS[nodes[n].kind](self, nodes[n], how) for n, how in joined.items()}
        for greatest in (True, False):
            for run in runs.values():
                next(run)
            for (kind, of), buffer in self._buffers.items():
                if of == greatest:
                    self.planner.join(buffer, TYPES[kind], greatest)
        for n, run in runs.items():
            with suppress(StopIteration):
                run.send(self.planner.output(n))

    def _place(self, length: int, kind: str, greatest: bool = False) -> Within:
        """Room for so many numbers that will be joined."""
        if (kind, greatest) not in self._buffers:
            self._buffers[kind, greatest] = self.planner.buffer(0)
        buffer = self._buffers[kind, greatest]
        offset = buffer.bytes
        buffer.bytes += aligned(TYPES[kind].itemsize * length)
        return Within(buffer, offset)

    def _top(self, node: Node, item: Input, view: Input, shape: tuple[int, ...]) -> Within:
        """Magnitudes of an operand; the same for all nodes that read the same."""
        tops, key = self.planner.tops, (view, shape, node.extent)
        if key not in tops:
            tops[key] = self._place(prod(shape), "i32", greatest=True)
            self.planner.call(magnitude_kernel(view, shape, node.extent), tops[key], self.planner.source(item))
        return tops[key]

    # --- kinds: what is done before magnitudes are joined, before totals are, and then ----------------------------

    def map(self, node: Node, joined: Joined) -> Phases:
        """Words of which all but one process's are zero."""
        yield
        words = self._place(node.length, "i32")
        self.planner.map(node, words)
        out = yield
        self._elementwise(node, lambda p: p.input(0, node.dtype), node.dtype, out, words)

    def max(self, node: Node, joined: Joined) -> Phases:
        keys = self._place(node.length, "i32", greatest=True)
        self.planner.call(max_kernel(node, keys=True), keys, self.planner.source(node.inputs[0]))
        yield
        out = yield

        def value(p: ProgramBuilder) -> Value:
            key = p.input(0, DType.I32)
            return (key ^ ((key >> 31) & MAGNITUDE)).from_bits() if node.dtype is DType.F32 else key

        self._elementwise(node, value, DType.I32, out, keys)

    def _elementwise(
        self, node: Node, value: Callable[[ProgramBuilder], Value], dtype: DType, out: Tensor, words: Tensor
    ) -> None:
        """A map of one input, of that dtype, into the node's output."""
        p, whole = ProgramBuilder(node.shape), View.contiguous(node.shape)
        item = Input(Source.NODE, 0, dtype, node.length, whole)
        made = Node(Kind.MAP, node.dtype, node.shape, (item,), program=p.finish(value(p)))
        self.planner.call(map_kernel(made, whole), out, words, STEP)

    def sum(self, node: Node, joined: Joined) -> Phases:
        node = coalesced(node)
        item = node.inputs[0]
        top = self._top(node, item, item, node.shape)
        yield
        total, back = self._place(node.length, "double"), self.planner.buffer(8 * node.length)
        self.planner.call(sum_kernel(node, part=True), total, back, self.planner.source(item), top)
        out = yield
        self.planner.call(_rounding(node), out, total, back)

    def scatter_add(self, node: Node, joined: Joined) -> Phases:
        item, index = node.inputs
        rows = scatters_rows(node)
        view, shape = (scattered(node)[0], node.shape[1:]) if rows else (item, node.shape)
        top = self._top(node, item, view, shape)
        yield
        total, back = self._place(node.length, "double"), self.planner.buffer(8 * prod(shape))
        x, i = self.planner.source(item), self.planner.source(index)
        if rows:
            self.planner.call(scatter_kernel(node, part=True), total, back, x, i, top)
        else:
            self.planner.call(mask_kernel(node, part=True), total, back, x, top, i)
        out = yield
        self.planner.call(rows_kernel(node) if rows else _rounding(node), out, total, back)

    def dot(self, node: Node, joined: Joined) -> Phases:
        product, planner = product_of(node), self.planner
        sides = [(product.first, product.operands[0]), (product.second, product.operands[1])]
        tops = [self._top(node, node.inputs[n], operand.item, operand.shape) for operand, n in sides]
        yield
        (q0, back0), (q1, back1) = (planner.packed(node, side, product, tops[side]) for side in (0, 1))
        bits = 2 * (node.bits - 1) + (joined.extent - 1).bit_length()
        kind = "i32" if bits <= _SMALL_BITS else "double"  # the same in all processes, whatever their own products are
        total = self._place(product.size, kind)
        direct = product.kind == kind and product.slices == 1
        made = total if direct else planner.buffer(TYPES[product.kind].itemsize * product.size * product.slices)
        planner.call(multiply_kernel(product, planner.blas), made, q0, q1)
        if not direct:
            planner.call(total_kernel(product, kind), total, made)
        out = yield
        planner.call(product_kernel(node.shape, product.total, product.backs, kind, 1), out, total, back0, back1)


def _rounding(node: Node) -> Kernel:
    """Elements from their totals and as many backs."""
    whole = Input(Source.NODE, 0, DType.F32, node.length, View.contiguous(node.shape))
    return product_kernel(node.shape, whole, [whole], "double", 1)


_KINDS: Final[dict[Kind, Callable[[Bucket, Node, Joined], Phases]]] = {
    Kind.MAP: Bucket.map,
    Kind.DOT: Bucket.dot,
    Kind.SUM: Bucket.sum,
    Kind.SCATTER_ADD: Bucket.scatter_add,
    Kind.MAX: Bucket.max,
}
