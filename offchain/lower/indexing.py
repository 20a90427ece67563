"""Lowerings of indexing: gathers, writes as comparisons of coordinates, additions as exact sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch

from offchain.errors import Unsupported
from offchain.ir.graph import row_major
from offchain.ir.program import F32, FULL, Bounds, Value
from offchain.lower.reductions import integer_sums
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten = torch.ops.aten


def _wrapped(c: Context, index: Ref, size: int) -> Ref:
    """Negative indices count from the end."""
    if index.bounds[0] >= 0:
        return index
    return c.builder.map(lambda i: i.lt(0).where(i + size, i), index)


def _rows(c: Context, table: Ref, index: Ref, dim: int) -> Ref:
    """`table` along `dim` at every index; the axes of `index` take the place of `dim`."""
    before, after = table.shape[:dim], table.shape[dim + 1 :]
    shape = (*before, *index.shape, *after)
    order = [*(i for i in range(len(table.shape)) if i != dim), dim]
    rows = table.permute(order)
    for _ in index.shape:
        rows = rows.unsqueeze(dim)
    wide = index
    for _ in after:
        wide = wide.unsqueeze(len(wide.shape))
    return c.builder.gather(rows.expand((*shape, table.shape[dim])), wide.expand(shape))


@lowers(aten.index_select.default)
def _index_select(c: Context, table: Ref, dim: int, index: Ref) -> Ref:
    if not table.shape:  # a scalar has one place
        return table
    return _rows(c, table, index, c.dim(dim, len(table.shape)))


@lowers(aten.embedding.default)
def _embedding(c: Context, table: Ref, index: Ref, *_: Any) -> Ref:
    return _rows(c, table, index, 0)


@lowers(aten.index.Tensor, aten._unsafe_index.Tensor)
def _index(c: Context, table: Ref, indices: Sequence[Ref | None]) -> Ref:
    if _masks(c):
        raise Unsupported(
            "indexing by a mask, whose shape depends on values; use torch.where, or multiply by the mask; one that is "
            "the same in every step gives its numbers before the job is built: x[mask.nonzero()[:, 0]]"
        )
    return _rows(c, *_merged(c, table, indices))


def _masks(c: Context) -> bool:
    """Whether an index of this operation is a mask."""
    indices: Any = c.node.args[1]
    return any(index is not None and index.meta["val"].dtype is torch.bool for index in indices)


def _merged(c: Context, x: Ref, indices: Sequence[Ref | None]) -> tuple[Ref, Ref, int]:
    """x with all indexed axes as one, the index into that, and its place: where torch puts the axes of the result."""
    dims = _indexed(indices)
    sizes = [x.shape[d] for d in dims]
    strides = row_major(tuple(sizes))
    parts = [_wrapped(c, index, size) for index, size in zip(_named(indices), sizes, strict=True)]
    if len(parts) == 1:
        return x, parts[0], dims[0]

    def flat(*parts: Value) -> Value:
        total = parts[-1]
        for part, stride in zip(parts[:-1], strides[:-1], strict=True):
            total = total + part * stride
        return total

    index = replace(c.builder.map(flat, *parts), bounds=_range(parts, sizes))
    at = _place(dims)
    x = x.permute(_order(dims, len(x.shape)))
    shape = (*x.shape[:at], prod(sizes), *x.shape[at + len(dims) :])
    return c.builder.reshape(x, shape), index, at


def _named(indices: Sequence[Ref | None]) -> list[Ref]:
    return [index for index in indices if index is not None]


def _indexed(indices: Sequence[Ref | None]) -> list[int]:
    return [dim for dim, index in enumerate(indices) if index is not None]


def _place(dims: Sequence[int]) -> int:
    """Neighbouring axes stay where they are, others come first."""
    return dims[0] if list(dims) == list(range(dims[0], dims[0] + len(dims))) else 0


def _order(dims: Sequence[int], rank: int) -> list[int]:
    rest = [d for d in range(rank) if d not in dims]
    at = _place(dims)
    return [*rest[:at], *dims, *rest[at:]]


def _range(parts: Sequence[Ref], sizes: Sequence[int]) -> Bounds:
    inside = all(part.bounds[0] >= 0 and part.bounds[1] < size for part, size in zip(parts, sizes, strict=True))
    return (0, prod(sizes) - 1) if inside else FULL


@lowers(aten.gather.default)
def _gather(c: Context, table: Ref, dim: int, index: Ref, **_: Any) -> Ref:
    dim = c.dim(dim, len(table.shape))
    if not table.shape:
        return table
    for d, size in enumerate(index.shape):
        if d != dim:
            table = table.slice(d, 0, size)
    order = [*(i for i in range(len(table.shape)) if i != dim), dim]
    return c.builder.gather(table.permute(order).unsqueeze(dim), index)


# --- writing: additions are exact sums, of writers to one place the last wins -------------------------------------


@lowers(aten.index_put.default, aten._unsafe_index_put.default)
def _index_put(c: Context, x: Ref, indices: Sequence[Ref | None], values: Ref, accumulate: bool = False) -> Ref:
    if _masks(c):
        return _masked_put(c, x, indices, values, accumulate)
    merged, index, at = _merged(c, x, indices)
    out = written(c, merged, at, index, values, accumulate)
    dims = _indexed(indices)
    order = _order(dims, len(x.shape))
    wide = c.builder.reshape(out, tuple(x.shape[d] for d in order))
    return wide.permute([order.index(d) for d in range(len(order))])


def _masked_put(c: Context, x: Ref, indices: Sequence[Ref | None], values: Ref, accumulate: bool) -> Ref:
    """One value, or one row of values, wherever a mask over the first axes is true."""
    mask = indices[0]
    rest = len(x.shape) - len(mask.shape) if mask is not None else 0
    while len(values.shape) > rest and values.shape[0] == 1:
        values = values.squeeze([0])
    if len(indices) != 1 or mask is None or len(values.shape) > rest:
        raise Unsupported("writing several values through a mask; use torch.where")
    for _ in range(rest):
        mask = mask.unsqueeze(len(mask.shape))

    def program(inside: Value, old: Value, new: Value) -> Value:
        new = new.cast(c.dtype)
        return inside.where(old + new if accumulate else new, old)

    return c.builder.map(program, mask, x, values)


@lowers(aten.put.default)
def _put(c: Context, x: Ref, index: Ref, values: Ref, accumulate: bool = False) -> Ref:
    flat = c.builder.reshape(x, (prod(x.shape),))
    return c.builder.reshape(written(c, flat, 0, _wrapped(c, index, prod(x.shape)), values, accumulate), x.shape)


def written(c: Context, x: Ref, dim: int, index: Ref, values: Ref, accumulate: bool) -> Ref:
    """`values` (axes of `index` in the place of `dim`) written to, or added to, x at `index` along `dim`."""
    before, after, count = x.shape[:dim], x.shape[dim + 1 :], prod(index.shape)
    flat = c.builder.reshape(values.expand((*before, *index.shape, *after)), (*before, count, *after))
    index = c.builder.reshape(index, (count,))
    if accumulate:
        return _added(c, x, dim, index, flat)
    if values.uniform is not None:
        return _marked(c, x, _along(_hits(c, x.shape[dim], index), dim, len(x.shape)), values)
    last = _last(c, x.shape[dim], index)
    return _marked(c, x, _along(last, dim, len(x.shape)), _rows(c, flat, last, dim))


def _along(line: Ref, dim: int, rank: int) -> Ref:
    """One axis as axis `dim` of `rank`."""
    for _ in range(rank - 1 - dim):
        line = line.unsqueeze(len(line.shape))
    return line


def _marked(c: Context, x: Ref, mark: Ref, new: Ref) -> Ref:
    """`new` where the mark is not negative, else x."""
    return c.builder.map(lambda m, old, new: m.ge(0).where(new.cast(c.dtype), old), mark, x, new)


def _hits(c: Context, rows: int, index: Ref) -> Ref:
    """0 or more for rows that `index` names, −1 for others."""
    hits = c.builder.scatter_add(rows, index, Ref.constant(F32, 1.0, index.shape))
    return c.builder.map(lambda v: v.gt(0.0).where(v.program.whole(0), -1), hits)


def _last(c: Context, rows: int, index: Ref) -> Ref:
    """For each row the last k with index[k] = row, or −1: rows·K comparisons, as a sum cannot tell the last write."""
    (count,) = index.shape

    def program(at: Value) -> Value:
        p = at.program
        return at.eq(p.index(0)).where(p.index(1), -1)

    return c.builder.max(c.builder.generate((rows, count), program, index), [1])


def _added(c: Context, x: Ref, dim: int, index: Ref, values: Ref) -> Ref:
    """x[…, index[k], …] += values[…, k, …], as one exact sum per element."""
    order = [*(d for d in range(len(values.shape)) if d != dim), dim]
    back = [*range(1, dim + 1), 0, *range(dim + 1, len(values.shape))]

    def sums(values: Ref) -> Ref:
        return c.builder.scatter_add(x.shape[dim], index, values.permute(order)).permute(back)

    summed = sums(values) if x.dtype is F32 else integer_sums(c, values, values.shape[dim], sums)
    if x.uniform is not None and not x.uniform.word:
        return summed
    return c.elementwise(lambda a, b: a + b, x, summed)
