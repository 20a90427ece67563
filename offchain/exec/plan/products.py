"""A dot as a batch of matrix products: the geometry that every planned executor multiplies by."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Final

from offchain.exec.plan.geometry import goes_down, steps, without
from offchain.ir.graph import Axis, Input, Node, Source, View, row_major
from offchain.ir.primitives import DType

SINGLE_BITS: Final = 8  # up to here a float32 product over slices of K is exact and faster
_SLICES: Final = 16  # the most slices whose totals are kept; a longer k takes doubles


@dataclass(frozen=True)
class Operand:
    """One side of a product: the read of its own axes and k, and how it lies once quantised."""

    item: Input
    shape: tuple[int, ...]  # batch axes, then its own
    strides: tuple[int, ...]  # of those and of k, once quantised
    rows: int
    down: bool  # whether it lies as (batch, k, rows) and not as (batch, rows, k)
    axes: int  # its own


@dataclass(frozen=True)
class Product:
    """S = Σ_k A·B as (slices, batch, rows of the first, rows of the second), the second's axes being the last.

    Dimensions on which both operands move are the batch; those on which one moves are its rows; along the others the
    product repeats.
    """

    kind: str  # of quantised operands and totals
    batch: int
    extent: int
    longest: int  # k of a slice; totals of slices are added when they are rounded
    first: Operand
    second: Operand
    operands: tuple[int, int]  # which inputs of the node these are
    total: Input
    backs: tuple[Input, Input]
    axes: tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]  # of the node: batch, the first's, the second's

    @property
    def slices(self) -> int:
        return -(-self.extent // self.longest)

    @property
    def size(self) -> int:
        """Elements of the totals of one slice."""
        return self.batch * self.first.rows * self.second.rows


def product_of(node: Node) -> Product:
    moves = [
        [bool(steps(axis, size)) for axis, size in zip(item.view.axes, node.shape, strict=False)]
        for item in node.inputs
    ]
    batch = [d for d in range(len(node.shape)) if moves[0][d] and moves[1][d]]
    own = [[d for d in range(len(node.shape)) if moves[n][d] and d not in batch] for n in (0, 1)]
    order = (1, 0) if own[0] and (not own[1] or own[0][-1] > own[1][-1]) else (0, 1)
    longest = 1 << max(24 - 2 * (node.bits - 1), 0)
    single = node.bits <= SINGLE_BITS and node.extent <= _SLICES * longest
    longest = longest if single else node.extent
    sides = [_operand(node, n, batch, own[n]) for n in order]
    axes = [*batch, *own[order[0]], *own[order[1]]]
    total = _over(node, axes)
    return Product(
        "float" if single else "double",
        prod(node.shape[d] for d in batch),
        node.extent,
        longest,
        sides[0],
        sides[1],
        (order[0], order[1]),
        total,
        (_over(node, [*batch, *own[order[0]]]), _over(node, [*batch, *own[order[1]]])),
        (tuple(batch), tuple(own[order[0]]), tuple(own[order[1]])),
    )


def _over(node: Node, axes: list[int]) -> Input:
    """The read of a dense tensor over some of the node's axes, in that order, at the node's coordinates."""
    sizes = tuple(node.shape[d] for d in axes)
    strides = dict(zip(axes, row_major(sizes), strict=True))
    view = View(0, tuple(Axis(strides.get(d, 0), 0, size) for d, size in enumerate(node.shape)))
    return Input(Source.NODE, 0, DType.F32, prod(sizes), view)


def _operand(node: Node, position: int, batch: list[int], own: list[int]) -> Operand:
    item, extent = node.inputs[position], node.extent
    axes = [*batch, *own]
    shape = tuple(node.shape[d] for d in axes)
    still = without(item.view, [d for d in range(len(node.shape)) if d not in axes])
    order = [sorted(axes).index(d) for d in axes]
    item = replace(item, view=View(still.offset, (*(still.axes[d] for d in order), still.axes[-1])))
    rows = prod(node.shape[d] for d in own)
    down = bool(own) and goes_down(item, shape)
    inside = row_major(tuple(node.shape[d] for d in own))
    outside = row_major(tuple(node.shape[d] for d in batch))
    strides = [*(extent * rows * s for s in outside), *(s if down else s * extent for s in inside), rows if down else 1]
    return Operand(item, shape, tuple(strides), rows, down, len(own))
