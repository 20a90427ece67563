"""Lowerings of indexing: gathers, scatters as comparisons of coordinates, additions into rows as exact sums."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from offchain.errors import Unsupported
from offchain.lower.program import F32, Value
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
    return _rows(c, table, index, c.dim(dim, len(table.shape)))


@lowers(aten.embedding.default)
def _embedding(c: Context, table: Ref, index: Ref, *_: Any) -> Ref:
    return _rows(c, table, index, 0)


@lowers(aten.index.Tensor, aten._unsafe_index.Tensor)
def _index(c: Context, table: Ref, indices: Sequence[Ref | None]) -> Ref:
    named = [(dim, index) for dim, index in enumerate(indices) if index is not None]
    if len(named) != 1 or len(c.shape) != len(table.shape) - 1 + len(named[0][1].shape):
        raise Unsupported("indexing by a mask or by several tensors; index one axis at a time by integers")
    dim, index = named[0]
    return _rows(c, table, _wrapped(c, index, table.shape[dim]), dim)


@lowers(aten.gather.default)
def _gather(c: Context, table: Ref, dim: int, index: Ref, **_: Any) -> Ref:
    dim = c.dim(dim, len(table.shape))
    for d, size in enumerate(index.shape):
        if d != dim:
            table = table.slice(d, 0, size)
    order = [*(i for i in range(len(table.shape)) if i != dim), dim]
    return c.builder.gather(table.permute(order).unsqueeze(dim), index)


@lowers(aten.scatter.value, aten.scatter.src)
def _scatter(c: Context, x: Ref, dim: int, index: Ref, value: Ref | float) -> Ref:
    """One index per line along `dim` (as in the backward of nll_loss): a comparison of coordinates."""
    dim = c.dim(dim, len(x.shape))
    if index.shape[dim] != 1 or any(
        a != b for d, (a, b) in enumerate(zip(x.shape, index.shape, strict=True)) if d != dim
    ):
        raise Unsupported("scatter of several values into one line; use index_add or one-hot products")
    source = value.slice(dim, 0, 1) if isinstance(value, Ref) else Ref.constant(c.dtype, value, index.shape)

    def program(old: Value, at: Value, new: Value) -> Value:
        return old.program.index(dim).eq(at).where(new, old)

    return c.builder.generate(x.shape, program, x, index, source)


@lowers(aten.scatter_add.default)
def _scatter_add(c: Context, x: Ref, dim: int, index: Ref, source: Ref) -> Ref:
    dim = c.dim(dim, len(x.shape))
    if index.shape[dim] != 1 or any(
        a != b for d, (a, b) in enumerate(zip(x.shape, index.shape, strict=True)) if d != dim
    ):
        raise Unsupported("scatter_add of several values into one line; use index_add over the first axis")

    def program(old: Value, at: Value, new: Value) -> Value:
        return old.program.index(dim).eq(at).where(old + new, old)

    return c.builder.generate(x.shape, program, x, index, source.slice(dim, 0, 1))


@lowers(aten.index_put.default, aten._unsafe_index_put.default)
def _index_put(c: Context, x: Ref, indices: Sequence[Ref | None], values: Ref, accumulate: bool = False) -> Ref:
    if not accumulate or len(indices) != 1 or indices[0] is None:
        raise Unsupported("index_put other than accumulation into rows; use index_add, or torch.where")
    return _add_rows(c, x, _wrapped(c, indices[0], x.shape[0]), values)


@lowers(aten.index_add.default)
def _index_add(c: Context, x: Ref, dim: int, index: Ref, source: Ref, alpha: float = 1) -> Ref:
    if c.dim(dim, len(x.shape)) or alpha != 1:
        raise Unsupported("index_add along another axis than the first; transpose first")
    return _add_rows(c, x, index, source)


def _add_rows(c: Context, x: Ref, index: Ref, values: Ref) -> Ref:
    """x[index[i]] += values[i], as one exact sum per element."""
    if x.dtype is not F32:
        raise Unsupported("adding rows of integers; convert to float32 first")
    row = x.shape[1:]
    flat_index = c.builder.reshape(index, (prod(index.shape),))
    flat = c.builder.reshape(values.expand((*index.shape, *row)), (prod(index.shape), *row))
    order = [*range(1, len(flat.shape)), 0]
    summed = c.builder.scatter_add(x.shape[0], flat_index, flat.permute(order))
    if x.uniform is not None and not x.uniform.word:
        return summed
    return c.elementwise(lambda a, b: a + b, x, summed)
