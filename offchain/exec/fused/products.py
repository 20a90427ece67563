"""A dot as a batch of matrix products of its own size and order, for the BLAS."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Final

from offchain.exec.fused.kernels import Tile
from offchain.exec.torch_views import steps
from offchain.ir.graph import Axis, Input, Node, Source, View, row_major
from offchain.ir.primitives import DType

SINGLE_BITS: Final = 8  # up to here a float32 product over slices of K is exact and faster


@dataclass(frozen=True)
class Operand:
    """One side of a product: the read of its own axes and k, and how it lies once quantised."""

    item: Input
    shape: tuple[int, ...]  # batch axes, then its own
    strides: tuple[int, ...]  # of those and of k, once quantised
    rows: int
    down: bool  # whether it lies as (batch, k, rows) and not as (batch, rows, k)


@dataclass(frozen=True)
class Product:
    """S = Σ_k A·B as (slices, batch, rows of the first, rows of the second), the second's axes being the last.

    Dimensions on which both operands move are the batch, on which one moves that one's rows; on the others the
    product repeats.
    """

    kind: str  # of quantised operands and totals
    batch: int
    extent: int
    slices: tuple[tuple[int, int], ...]
    first: Operand
    second: Operand
    operands: tuple[int, int]  # which inputs of the node these are
    total: Input
    backs: tuple[Input, Input]

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
    single = node.bits <= SINGLE_BITS
    longest = 1 << (24 - 2 * (node.bits - 1)) if single else node.extent
    sides = [_operand(node, n, batch, own[n]) for n in order]
    axes = [*batch, *own[order[0]], *own[order[1]]]
    total = _over(node, axes, DType.F32)
    return Product(
        "float" if single else "double",
        prod(node.shape[d] for d in batch),
        node.extent,
        tuple((k, min(k + longest, node.extent)) for k in range(0, node.extent, longest)),
        sides[0],
        sides[1],
        (order[0], order[1]),
        total,
        tuple(_over(node, [*batch, *own[n]], DType.F32) for n in order),
    )


def _over(node: Node, axes: list[int], dtype: DType) -> Input:
    """The read of a dense tensor over some of the node's axes, in that order, at the node's coordinates."""
    sizes = tuple(node.shape[d] for d in axes)
    strides = dict(zip(axes, row_major(sizes), strict=True))
    view = View(0, tuple(Axis(strides.get(d, 0), 0, size) for d, size in enumerate(node.shape)))
    return Input(Source.NODE, 0, dtype, prod(sizes), view)


def _operand(node: Node, position: int, batch: list[int], own: list[int]) -> Operand:
    item, extent = node.inputs[position], node.extent
    axes = [*batch, *own]
    shape = tuple(node.shape[d] for d in axes)
    view = View(item.view.offset, (*(item.view.axes[d] for d in axes), item.view.axes[-1]))
    item = replace(item, view=view)
    rows = prod(node.shape[d] for d in own)
    down = bool(own) and Tile(item, shape, extent).down
    inside = row_major(tuple(node.shape[d] for d in own))
    outside = row_major(tuple(node.shape[d] for d in batch))
    strides = [*(extent * rows * s for s in outside), *(s if down else s * extent for s in inside), rows if down else 1]
    return Operand(item, shape, tuple(strides), rows, down)
