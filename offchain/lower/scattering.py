"""Lowerings of scatters: writes and reductions at an index along one axis, line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, Final

import torch
from torch.fx import Node

from offchain.errors import Unsupported
from offchain.ir.graph import row_major
from offchain.ir.program import F32, FULL, I32, Value
from offchain.lower import library
from offchain.lower.indexing import written
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten = torch.ops.aten
_ORDERS: Final = {  # the indices that these return name no place twice along one axis -> the argument that says which
    aten.sort.default: 1,
    aten.sort.stable: 1,
    aten.topk.default: 2,
}
_THROUGH: Final = {aten.alias.default, aten.detach.default, aten.clone.default, aten.slice.Tensor}
MOST: Final = 1 << 26  # comparisons of an index with the rows that it may name


@lowers(aten.scatter.value, aten.scatter.src)
def _scatter(c: Context, x: Ref, dim: int, index: Ref, value: Ref | float) -> Ref:
    """Of several writes to one place the last wins."""
    source = value if isinstance(value, Ref) else c.number(value, index.shape)
    source = _cropped(source, index)
    if not x.shape or _one_each(c, x, dim, index):
        return _scattered(c, x, dim, index, source, False)
    d = c.dim(dim, len(x.shape))
    at = _inverse(c, x, d, index) if _is_order(c.node.args[2], d, len(x.shape)) else _last(c, x, d, index)
    return c.builder.map(
        lambda mark, old, new: mark.ge(0).where(new.cast(c.dtype), old), at, x, _along(c, source, d, at)
    )


@lowers(aten.scatter_add.default)
def _scatter_add(c: Context, x: Ref, dim: int, index: Ref, source: Ref) -> Ref:
    return _scattered(c, x, dim, index, _cropped(source, index), True)


@lowers(aten.scatter_reduce.two)
def _scatter_reduce(
    c: Context, x: Ref, dim: int, index: Ref, source: Ref, reduce: str, include_self: bool = True
) -> Ref:
    """sum, mean, amax and amin; extrema compare every index with every row of its line."""
    source = _cropped(source, index)
    if not x.shape:
        x, index, source = x.unsqueeze(0), index.expand((1,)), source.expand((1,))
        return _reduced(c, x, 0, index, source, reduce, include_self).squeeze([0])
    return _reduced(c, x, c.dim(dim, len(x.shape)), index, source, reduce, include_self)


def _reduced(c: Context, x: Ref, dim: int, index: Ref, source: Ref, reduce: str, include_self: bool) -> Ref:
    if reduce in ("amax", "amin"):
        found = _extremum(c, x, dim, index, source, reduce == "amin")
        best = library.minimum if reduce == "amin" else library.maximum
        if include_self:
            made = c.builder.map(best, x, found)
        else:
            counts = _count(c, x, dim, index)
            made = c.builder.map(lambda n, old, new: n.gt(0.0).where(new, old), counts, x, found)
        return replace(made, bounds=(min(x.bounds[0], source.bounds[0]), max(x.bounds[1], source.bounds[1])))
    if reduce not in ("sum", "mean") or (reduce == "mean" and x.dtype is I32):
        raise Unsupported(f"scatter_reduce of integers by {reduce!r}; use floats, or 'sum', 'amax' or 'amin'")
    start = x if include_self else Ref.constant(x.dtype, 0, x.shape)
    total = _scattered(c, start, dim, index, source, True)
    if reduce == "sum" and include_self:
        return total

    def program(n: Value, old: Value, new: Value) -> Value:
        made = new / (n + float(include_self)) if reduce == "mean" else new
        return made if include_self else n.gt(0.0).where(made, old)

    return c.builder.map(program, _count(c, x, dim, index), x, total)


def _cropped(source: Ref, index: Ref) -> Ref:
    for d, size in enumerate(index.shape):
        source = source.slice(d, 0, size)
    return source


def _one_each(c: Context, x: Ref, dim: int, index: Ref) -> bool:
    """Whether each line of x has one index."""
    d = c.dim(dim, len(x.shape))
    return index.shape[d] == 1 and all(x.shape[o] == index.shape[o] for o in range(len(x.shape)) if o != d)


def _is_order(node: Any, dim: int, rank: int) -> bool:
    """Whether an index is (part of) what a sort along that axis returned, which names each place of a line once."""
    while isinstance(node, Node) and node.target in _THROUGH:
        node = node.args[0]
    source: Any = node.args[0] if isinstance(node, Node) and node.args else None
    if not isinstance(source, Node) or source.target not in _ORDERS:
        return False
    place = _ORDERS[source.target]
    given: Any = source.kwargs.get("dim", source.args[place] if len(source.args) > place else -1)
    return bool(given % rank == dim)


def _places(c: Context, x: Ref, dim: int, index: Ref) -> Ref:
    """Where an index points in the flat x."""
    strides = row_major(x.shape)

    def place(at: Value) -> Value:
        total = at * strides[dim]
        for d in range(len(x.shape)):
            total = total + at.program.index(d) * strides[d] if d != dim else total
        return total

    return c.builder.generate(index.shape, place, index) if x.shape else index


def _scattered(c: Context, x: Ref, dim: int, index: Ref, source: Ref, accumulate: bool) -> Ref:
    """x[…, index[…, k, …], …] = or += source[…, k, …]. With one index in each line a comparison of coordinates, else
    a scatter into the flat tensor (whose sums share one exponent)."""
    d = c.dim(dim, len(x.shape))
    if x.shape and _one_each(c, x, dim, index):

        def program(old: Value, at: Value, new: Value) -> Value:
            return old.program.index(d).eq(at).where(old + new if accumulate else new, old)

        return c.builder.generate(x.shape, program, x, index, source)
    flat = c.builder.reshape(x, (prod(x.shape),))
    return c.builder.reshape(written(c, flat, 0, _places(c, x, d, index), source, accumulate), x.shape)


def _inverse(c: Context, x: Ref, dim: int, index: Ref) -> Ref:
    """For every place of x the k whose index names it, or −1. No place may be named twice: this adds k + 1 there."""
    count = prod(index.shape)
    if index.shape[dim] >= 1 << 24:
        raise Unsupported(f"a scatter of {index.shape[dim]} elements along an axis; at most {(1 << 24) - 1}: split it")
    numbers = c.builder.generate(index.shape, lambda p: (p.index(dim) + 1).to_float())
    places = c.builder.reshape(_places(c, x, dim, index), (count,))
    added = c.builder.scatter_add(prod(x.shape), places, c.builder.reshape(numbers, (count,)))
    found = c.builder.map(lambda v: v.to_int() - 1, added)
    return replace(c.builder.reshape(found, x.shape), bounds=(-1, index.shape[dim] - 1))


def _along(c: Context, source: Ref, dim: int, at: Ref) -> Ref:
    """source[…, at[…], …] along `dim`, 0 where `at` is negative."""
    if source.uniform is not None:
        return source.expand(at.shape)
    order = [*(d for d in range(len(at.shape)) if d != dim), dim]
    for d, size in enumerate(at.shape):  # lines that have no index
        if d != dim and source.shape[d] < size:
            source = source.pad(d, 0, size - source.shape[d])
    return c.builder.gather(source.permute(order).unsqueeze(dim), at)


def _compared(c: Context, x: Ref, dim: int, index: Ref, chosen: Callable[..., Value], *source: Ref) -> Ref:
    """The maximum over k of chosen(hit, …): whether index[k] names the row, for every row of every line."""
    size, count = x.shape[dim], index.shape[dim]
    if prod(x.shape) * count > MOST:
        raise Unsupported(
            f"compares {count} indices with each of {prod(x.shape)} places; at most {MOST} comparisons: split the "
            "axis, or use scatter_add, which compares nothing"
        )

    def lined(ref: Ref) -> Ref:
        """Axis `dim` last, an axis of rows in its place, lines that the index lacks added: (…, rows, …, k)."""
        for d, extent in enumerate(x.shape):
            if d != dim and ref.uniform is None and ref.shape[d] < extent:
                ref = ref.pad(d, 0, extent - ref.shape[d])
        order = [*(d for d in range(len(x.shape)) if d != dim), dim]
        return ref.permute(order).unsqueeze(dim).expand((*x.shape, count))

    named = lined(c.builder.solid(c.builder.map(lambda v: v + 1, index)))  # 0 names no row

    def program(at: Value, *values: Value) -> Value:
        return chosen(at.eq(at.program.index(dim) + 1), *values)

    wide = c.builder.generate((*x.shape, count), program, named, *map(lined, source))
    assert size == wide.shape[dim]
    return c.builder.max(wide, [len(x.shape)])


def _last(c: Context, x: Ref, dim: int, index: Ref) -> Ref:
    """For every place of x the last k whose index names it, or −1."""
    axis = len(x.shape)
    return _compared(c, x, dim, index, lambda hit: hit.where(hit.program.index(axis), -1))


def _extremum(c: Context, x: Ref, dim: int, index: Ref, source: Ref, least: bool) -> Ref:
    """The greatest or least of the sources that name a place; the lowest or highest number where none does."""

    def turned(v: Value) -> Value:
        return v if not least else -v if v.dtype is F32 else v ^ -1

    lowest = float("-inf") if source.dtype is F32 else FULL[0]
    greatest = _compared(c, x, dim, index, lambda hit, v: hit.where(turned(v), lowest), source)
    return c.builder.map(turned, greatest)


def _count(c: Context, x: Ref, dim: int, index: Ref) -> Ref:
    """How many indices name each place."""
    zeros, ones = Ref.constant(F32, 0.0, x.shape), Ref.constant(F32, 1.0, index.shape)
    return _scattered(c, zeros, dim, index, ones, True)
