"""Lowerings of orders: sort, topk, median and the like, by a sorting network of maps.

A network (Batcher, 1968: bitonic) sorts pairs of a key and a coordinate. Each of its log2(n)·(log2(n)+1)/2 stages
compares every element with one partner, at a place that does not depend on values: a view. So it reads no index and
makes no table of n². Keys are integers in the order of torch, in which NaN is the greatest and ±0 are equal; elements
that are equal keep their order. The sorted values are then gathered, so that their bits are those of the input.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import prod
from typing import Any, Final

import torch

from offchain.errors import Unsupported
from offchain.ir.program import F32, FULL, I32, Value
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers
from offchain.lower.shapes import concatenated

aten = torch.ops.aten
LONGEST: Final = 1 << 14  # elements of an axis that is sorted, by 210 nodes
MOST_ROUNDS: Final = 64  # k of a topk along a longer axis, by 4 nodes each
_LAST: Final = FULL[1]  # the key of what comes after all elements


@dataclass(frozen=True, slots=True)
class Lines:
    """A tensor as rows of what is sorted, and the way back."""

    shape: tuple[int, ...]  # of the tensor, the sorted axis last
    back: tuple[int, ...]  # the permutation that puts the sorted axis where it was
    rows: Ref

    @classmethod
    def of(cls, c: Context, x: Ref, dim: int) -> Lines:
        order = [*(d for d in range(len(x.shape)) if d != dim), dim]
        turned = c.builder.solid(x).permute(order)
        rows = c.builder.reshape(turned, (prod(turned.shape[:-1]), turned.shape[-1]))
        return cls(turned.shape, tuple(order.index(d) for d in range(len(order))), rows)

    def restored(self, c: Context, rows: Ref) -> Ref:
        """Rows of any length as a tensor again."""
        wide = c.builder.reshape(rows, (*self.shape[:-1], rows.shape[-1]))
        return wide.permute(self.back)


def keys(c: Context, x: Ref, descending: bool) -> Ref:
    """Integers in torch's order of the elements, or in the opposite order."""

    def program(v: Value) -> Value:
        if v.dtype is F32:
            word = v.eq(0.0).where(0, v.bits())
            v = word.lt(0).where(word ^ FULL[1], word)
        return v ^ -1 if descending else v

    return c.builder.map(program, x)


def ordered(c: Context, rows: Ref, descending: bool = False) -> Ref:
    """For each row (of shape (L, n)) the coordinates of its elements, in their order: int32 of shape (L, n)."""
    lines, n = rows.shape
    if n > LONGEST:
        raise Unsupported(
            f"sorts {n} elements along an axis; at most {LONGEST}: sort parts of the axis, or take topk with k up to "
            f"{MOST_ROUNDS}, which may be longer"
        )
    if n == 1:
        return Ref.constant(I32, 0, rows.shape)
    size = 1 << (n - 1).bit_length()
    shape, solid = (lines, size), c.builder.solid(keys(c, rows, descending))
    key = solid
    if size > n:
        key = c.builder.generate(shape, lambda v: v.program.index(1).lt(n).where(v, _LAST), solid.pad(1, 0, size - n))
    at = c.builder.generate(shape, lambda p: p.index(1))
    block = 2
    while block <= size:
        key, at = _exchanged(c, key, at, block, True)
        half = block // 2
        while half >= 2:
            key, at = _exchanged(c, key, at, half, False)
            half //= 2
        block *= 2
    return replace(at.slice(1, 0, n), bounds=(0, n - 1))


def _exchanged(c: Context, key: Ref, at: Ref, block: int, mirrored: bool) -> tuple[Ref, Ref]:
    """One stage: in each block, elements of the lower half keep the lesser of themselves and their partner.

    The partner is the element at the mirrored place, or the one half a block away.
    """
    lines, size = key.shape
    shape = (lines, size // block, block) if mirrored else (lines, size // block, 2, block // 2)

    def seen(ref: Ref) -> tuple[Ref, Ref]:
        wide = c.builder.reshape(ref, shape)
        return wide, wide.slice(2, shape[2] - 1, shape[2], -1)

    def chosen(pick: Callable[..., tuple[Value, Value]]) -> Ref:
        def program(own: Value, its: Value, place: Value, other: Value) -> Value:
            before = its.lt(own) | (its.eq(own) & other.lt(place))
            upper = own.program.index(2).ge(shape[2] // 2)
            mine, theirs = pick(own, its, place, other)
            return (before ^ upper).where(theirs, mine)

        made = c.builder.generate(shape, program, *seen(key), *seen(at))
        return c.builder.reshape(made, (lines, size))

    return chosen(lambda own, its, place, other: (own, its)), chosen(lambda own, its, place, other: (place, other))


def _picked(c: Context, lines: Lines, order: Ref) -> tuple[Ref, Ref]:
    """Values and coordinates, as torch returns them, from an order of the rows."""
    values = c.builder.gather(lines.rows.unsqueeze(1), order)
    return lines.restored(c, values), lines.restored(c, order)


@lowers(aten.sort.default)
def _sort(c: Context, x: Ref, dim: int = -1, descending: bool = False) -> tuple[Ref, Ref]:
    """Stable; up to 16,384 elements."""
    if not x.shape:
        return x, Ref.constant(I32, 0)
    lines = Lines.of(c, x, c.dim(dim, len(x.shape)))
    return _picked(c, lines, ordered(c, lines.rows, descending))


@lowers(aten.sort.stable)
def _sort_stable(c: Context, x: Ref, *, stable: bool = True, dim: int = -1, descending: bool = False) -> Any:
    return _sort(c, x, dim, descending)


@lowers(aten.topk.default)
def _topk(c: Context, x: Ref, k: int, dim: int = -1, largest: bool = True, sorted: bool = True) -> tuple[Ref, Ref]:
    """The first k of a sort, or k rounds of a maximum, whichever is less work; equal elements in their order."""
    if not x.shape:
        return x, Ref.constant(I32, 0)
    lines = Lines.of(c, x, c.dim(dim, len(x.shape)))
    n = lines.rows.shape[1]
    depth = (n - 1).bit_length()
    by_rounds = 4 * k < depth * (depth + 1) if n <= LONGEST else k <= MOST_ROUNDS
    if by_rounds and not (x.dtype is I32 and -1 - FULL[1] in x.bounds):
        order = _rounds(c, keys(c, lines.rows, not largest), k)
    else:
        order = ordered(c, lines.rows, largest).slice(1, 0, k)
    return _picked(c, lines, order)


def _rounds(c: Context, key: Ref, k: int) -> Ref:
    """The coordinates of the k greatest keys, by taking the greatest, first one out k times."""
    n = key.shape[1]
    taken: list[Ref] = []

    def found(own: Value, top: Value) -> Value:
        return own.eq(top).where(-1 - own.program.index(1), -n)

    def without(own: Value, at: Value) -> Value:
        return own.program.index(1).eq(at).where(FULL[0], own)

    for _ in range(k):
        top = c.builder.max(key, [1]).unsqueeze(1)
        first = c.builder.max(c.builder.generate(key.shape, found, key, top), [1])
        taken.append(replace(c.builder.map(lambda v: -1 - v, first.unsqueeze(1)), bounds=(0, n - 1)))
        key = c.builder.generate(key.shape, without, key, taken[-1])
    return concatenated(c.builder, taken, 1, I32)


@lowers(aten.kthvalue.default)
def _kthvalue(c: Context, x: Ref, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Ref, Ref]:
    """Of equal elements the first come first."""
    if not x.shape:
        return x, Ref.constant(I32, 0)
    d = c.dim(dim, len(x.shape))
    lines = Lines.of(c, x, d)
    picked = _picked(c, lines, ordered(c, lines.rows).slice(1, k - 1, 1))
    return picked if keepdim else (picked[0].squeeze([d]), picked[1].squeeze([d]))


@lowers(aten.median.dim, aten.nanmedian.dim)
def _median(c: Context, x: Ref, dim: int = -1, keepdim: bool = False) -> tuple[Ref, Ref]:
    """The lower of two middle elements. A NaN is the median of its line; nanmedian leaves NaNs out."""
    if not x.shape:
        return x, Ref.constant(I32, 0)
    d = c.dim(dim, len(x.shape))
    lines = Lines.of(c, x, d)
    place = _middle(c, lines.rows, "nan" in str(c.node.target))
    picked = _picked(c, lines, c.builder.gather(ordered(c, lines.rows).unsqueeze(1), place))
    return picked if keepdim else (picked[0].squeeze([d]), picked[1].squeeze([d]))


def _middle(c: Context, rows: Ref, without_nan: bool) -> Ref:
    """The place of the median in the order of each row, as (L, 1)."""
    lines, n = rows.shape
    if rows.dtype is I32:
        return Ref.constant(I32, (n - 1) // 2, (lines, 1))
    numbers = c.builder.sum(c.builder.map(lambda v: v.eq(v).to_float(), rows), [1])

    def program(count: Value) -> Value:
        valid = count.to_int()
        if without_nan:
            return valid.eq(0).where(0, (valid - 1) >> 1)
        return valid.lt(n).where(valid, (n - 1) // 2)

    return replace(c.builder.map(program, numbers.unsqueeze(1)), bounds=(0, n - 1))


@lowers(aten.median.default, aten.nanmedian.default)
def _median_of_all(c: Context, x: Ref) -> Ref:
    return _median(c, c.builder.reshape(x, (prod(x.shape),)), 0)[0]


# --- running extrema, and places in a sorted line


@lowers(aten.cummax.default)
def _cummax(c: Context, x: Ref, dim: int) -> tuple[Ref, Ref]:
    """By log2(n) maps (Hillis and Steele, 1986). Of equal elements the last; from a NaN on, the last NaN."""
    if not x.shape:
        return x, Ref.constant(I32, 0)
    lines = Lines.of(c, x, c.dim(dim, len(x.shape)))
    return _picked(c, lines, _running(c, keys(c, lines.rows, False)))


@lowers(aten.cummin.default)
def _cummin(c: Context, x: Ref, dim: int) -> tuple[Ref, Ref]:
    """As cummax of the opposite numbers."""
    if not x.shape:
        return x, Ref.constant(I32, 0)
    lines = Lines.of(c, x, c.dim(dim, len(x.shape)))
    opposite = c.builder.map(lambda v: -v if v.dtype is F32 else v ^ -1, lines.rows)
    return _picked(c, lines, _running(c, keys(c, opposite, False)))


def _running(c: Context, key: Ref) -> Ref:
    """For every place the place of the greatest key so far."""
    n, reach = key.shape[1], 1
    key, at = c.builder.solid(key), c.builder.generate(key.shape, lambda p: p.index(1))
    while reach < n:
        pair = [ref for own in (key, at) for ref in (own, own.slice(1, 0, n - reach).pad(1, reach, 0))]

        def chosen(mine: int, theirs: int, reach: int = reach) -> Callable[..., Value]:
            def program(*values: Value) -> Value:
                own, earlier = values[0], values[1]
                keep = own.program.index(1).lt(reach) | own.ge(earlier)
                return keep.where(values[mine], values[theirs])

            return program

        key, at = (c.builder.generate(key.shape, chosen(2 * i, 2 * i + 1), *pair) for i in (0, 1))
        reach *= 2
    return replace(at, bounds=(0, n - 1))


@lowers(aten.bucketize.Tensor)
def _bucketize(c: Context, x: Ref, edges: Ref, *, right: bool = False, **_: Any) -> Ref:
    return _placed(c, edges, x, right)


@lowers(aten.searchsorted.Tensor)
def _searchsorted(
    c: Context, edges: Ref, x: Ref, *, right: bool = False, side: str | None = None, sorter: Ref | None = None, **_: Any
) -> Ref:
    """As bucketize, in each line of edges."""
    if sorter is not None:
        raise Unsupported("searchsorted with a sorter; sort the edges first, as by edges.gather(-1, sorter)")
    right = right or side == "right"
    return _placed(c, edges.unsqueeze(len(edges.shape) - 1) if len(edges.shape) > 1 else edges, x, right)


def _placed(c: Context, edges: Ref, x: Ref, right: bool) -> Ref:
    """How many edges are below each number (`right`: or equal to it), by comparing all; NaN is above all."""
    common = c.common(x, edges)

    def program(v: Value, edge: Value) -> Value:
        v, edge = v.cast(common), edge.cast(common)
        below = (v.lt(edge) if right else v.le(edge)).negated()
        return below.to_float()

    beyond = c.builder.map(program, x.unsqueeze(len(x.shape)), edges)
    counted = c.builder.sum(beyond, [len(x.shape)])
    return replace(c.builder.map(lambda v: v.to_int(), counted), bounds=(0, edges.shape[-1]))
