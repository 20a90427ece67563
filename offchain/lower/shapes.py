"""Lowerings of operations that rearrange and reduce: views, products, sums, maxima."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from offchain.errors import Unsupported
from offchain.ir.graph import Axis
from offchain.ir.legality import MAX_INPUTS
from offchain.lower.program import F32, I32, Value
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten, prims = torch.ops.aten, torch.ops.prims


# --- views -------------------------------------------------------------------------------------------------------


@lowers(aten.permute.default)
def _permute(c: Context, x: Ref, dims: Sequence[int]) -> Ref:
    return x.permute([c.dim(d, len(x.shape)) for d in dims])


@lowers(aten.t.default)
def _t(c: Context, x: Ref) -> Ref:
    return x.permute(range(len(x.shape))[::-1])


@lowers(aten.transpose.int)
def _transpose(c: Context, x: Ref, a: int, b: int) -> Ref:
    order = list(range(len(x.shape)))
    a, b = c.dim(a, len(order)), c.dim(b, len(order))
    order[a], order[b] = order[b], order[a]
    return x.permute(order)


@lowers(aten.expand.default)
def _expand(c: Context, x: Ref, *_: Any, **__: Any) -> Ref:
    return x.expand(c.shape)


@lowers(prims.broadcast_in_dim.default)
def _broadcast_in_dim(c: Context, x: Ref, shape: Sequence[int], dims: Sequence[int]) -> Ref:
    for d in range(len(shape)):
        if d not in dims:
            x = x.unsqueeze(d)
    return x.expand(c.shape)


@lowers(
    aten.view.default,
    aten.reshape.default,
    aten._unsafe_view.default,
    aten._reshape_alias.default,
    aten.squeeze.dims,
    aten.squeeze.dim,
    aten.squeeze.default,
    aten.unsqueeze.default,
    aten.view_copy.default,
)
def _view(c: Context, x: Ref, *_: Any) -> Ref:
    return c.builder.reshape(x, c.shape)


@lowers(aten.slice.Tensor)
def _slice(c: Context, x: Ref, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1) -> Ref:
    dim = c.dim(dim, len(x.shape))
    first, _, stride = slice(start, end, step).indices(x.shape[dim])
    return x.slice(dim, first, c.shape[dim], stride)


@lowers(aten.select.int)
def _select(c: Context, x: Ref, dim: int, index: int) -> Ref:
    dim = c.dim(dim, len(x.shape))
    return x.slice(dim, index % x.shape[dim], 1).squeeze([dim])


@lowers(aten.flip.default)
def _flip(c: Context, x: Ref, dims: Sequence[int]) -> Ref:
    for d in c.dims(dims, len(x.shape)):
        x = x.slice(d, x.shape[d] - 1, x.shape[d], -1)
    return x


@lowers(aten.split_with_sizes.default)
def _split(c: Context, x: Ref, sizes: Sequence[int], dim: int = 0) -> list[Ref]:
    dim = c.dim(dim, len(x.shape))
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    return [x.slice(dim, start, size) for start, size in zip(starts, sizes, strict=True)]


@lowers(aten.unbind.int)
def _unbind(c: Context, x: Ref, dim: int = 0) -> list[Ref]:
    dim = c.dim(dim, len(x.shape))
    return [x.slice(dim, i, 1).squeeze([dim]) for i in range(x.shape[dim])]


@lowers(aten.constant_pad_nd.default)
def _pad(c: Context, x: Ref, pad: Sequence[int], value: float = 0.0) -> Ref:
    out, valid = x, Ref.constant(I32, 1, x.shape)
    if x.uniform is not None or value:
        valid = c.builder.copy(valid)
        out = c.builder.copy(x) if x.uniform is not None else x
    for i in range(len(pad) // 2):
        dim = len(x.shape) - 1 - i
        before, after = pad[2 * i], pad[2 * i + 1]
        start, size = max(-before, 0), out.shape[dim] + min(before, 0) + min(after, 0)
        out = out.slice(dim, start, size).pad(dim, max(before, 0), max(after, 0))
        if value:
            valid = valid.slice(dim, start, size).pad(dim, max(before, 0), max(after, 0))
    if not value:
        return out
    return c.builder.map(lambda v, inside: inside.where(v, value), out, valid)


@lowers(aten.as_strided.default)
def _as_strided(c: Context, x: Ref, size: Sequence[int], stride: Sequence[int], offset: int | None = None) -> Ref:
    """Strides count elements of torch's storage, which is what we have only where that is row-major."""
    source = c.node.args[0].meta["val"]  # type: ignore[union-attr]
    if not source.is_contiguous() or source.storage_offset() or source.untyped_storage().nbytes() != source.nbytes:
        raise Unsupported("as_strided of a view; call .contiguous() before it")
    if x.uniform is not None:
        return x.expand(c.shape)
    axes = [Axis(step, 0, count) for step, count in zip(stride, size, strict=True)]
    flat = c.builder.reshape(x, (prod(x.shape),))
    whole = flat if flat.axes == (Axis(1, 0, flat.length),) else c.builder.copy(flat)
    return whole.with_axes(c.shape, axes, offset or 0)


@lowers(aten.slice_scatter.default)
def _slice_scatter(
    c: Context, x: Ref, source: Ref, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Ref:
    dim = c.dim(dim, len(x.shape))
    first, last, _ = slice(start, end).indices(x.shape[dim])
    if step != 1:
        raise Unsupported("assignment to a slice with a step; use torch.where")
    wide = source
    if source.uniform is None:
        wide = source.pad(dim, first, x.shape[dim] - last)

    def program(old: Value, new: Value) -> Value:
        at = old.program.index(dim)
        return (at.ge(first) & at.lt(last)).where(new.cast(c.dtype), old)

    return c.builder.generate(x.shape, program, x, wide.expand(x.shape))


@lowers(aten.cat.default)
def _cat(c: Context, tensors: Sequence[Ref], dim: int = 0) -> Ref:
    """Each part read outside of its range gives 0; the coordinate chooses the part."""
    dim = c.dim(dim, len(c.shape))
    while len(tensors) > MAX_INPUTS:
        tensors = [_join(c, tensors[i : i + MAX_INPUTS], dim) for i in range(0, len(tensors), MAX_INPUTS)]
    return _join(c, tensors, dim)


def _join(c: Context, tensors: Sequence[Ref], dim: int) -> Ref:
    if len(tensors) == 1:
        return tensors[0]
    sizes = [tensor.shape[dim] for tensor in tensors]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    total = sum(sizes)
    shape = (*tensors[0].shape[:dim], total, *tensors[0].shape[dim + 1 :])
    parts = [
        tensor.expand(shape) if tensor.uniform is not None else tensor.pad(dim, start, total - start - size)
        for tensor, start, size in zip(tensors, starts, sizes, strict=True)
    ]

    def program(*values: Value) -> Value:
        at, out = values[0].program.index(dim), values[-1].cast(c.dtype)
        for value, end in reversed(list(zip(values[:-1], starts[1:], strict=True))):
            out = at.lt(end).where(value.cast(c.dtype), out)
        return out

    return c.builder.generate(shape, program, *parts)


# --- products, sums, maxima --------------------------------------------------------------------------------------


@lowers(aten.mm.default)
def _mm(c: Context, a: Ref, b: Ref) -> Ref:
    return c.builder.dot(a.unsqueeze(1), b.permute([1, 0]).unsqueeze(0))


@lowers(aten.bmm.default)
def _bmm(c: Context, a: Ref, b: Ref) -> Ref:
    return c.builder.dot(a.unsqueeze(2), b.permute([0, 2, 1]).unsqueeze(1))


@lowers(aten.mv.default, aten.dot.default)
def _mv(c: Context, a: Ref, b: Ref) -> Ref:
    return c.builder.dot(a, b)


@lowers(aten.addmm.default)
def _addmm(c: Context, bias: Ref, a: Ref, b: Ref, beta: float = 1, alpha: float = 1) -> Ref:
    return c.elementwise(lambda x, y: x * beta + y * alpha, bias, _mm(c, a, b))


@lowers(aten.sum.dim_IntList, prims.sum.default)
def _sum(c: Context, x: Ref, dims: Sequence[int] | None, keepdim: bool = False, **_: Any) -> Ref:
    axes = c.dims(dims, len(x.shape))
    if not axes:
        return c.elementwise(lambda v: v, x)
    if x.dtype is I32:
        return _integer_sum(c, x, axes, keepdim)
    return c.keep(c.builder.sum(x, axes), axes, keepdim)


@lowers(aten.sum.default)
def _sum_all(c: Context, x: Ref, **_: Any) -> Ref:
    return _sum(c, x, None)


def _integer_sum(c: Context, x: Ref, axes: Sequence[int], keepdim: bool) -> Ref:
    """Integers sum exactly as floats while neither they nor their sum pass 2^24."""
    count = prod(x.shape[axis] for axis in axes)
    largest = max(map(abs, x.bounds)) * count
    if largest > 1 << 24:
        raise Unsupported(f"a sum of integers that may reach {largest}; convert to float32 first (.float())")
    floats = c.builder.map(lambda v: v.to_float(), x)
    total = c.builder.map(lambda v: v.cast(c.dtype), c.builder.sum(floats, axes))
    return c.keep(total, axes, keepdim)


@lowers(aten.mean.dim, aten.mean.default)
def _mean(c: Context, x: Ref, dims: Sequence[int] | None = None, keepdim: bool = False, **_: Any) -> Ref:
    axes = c.dims(dims, len(x.shape))
    count = prod(x.shape[axis] for axis in axes)
    total = c.builder.map(lambda v: v / float(count), c.builder.sum(x, axes) if axes else x)
    return c.keep(total, axes, keepdim)


@lowers(prims.var.default, aten.var.correction)
def _var(
    c: Context, x: Ref, dims: Sequence[int] | None = None, correction: float | None = 1, keepdim: bool = False, **_: Any
) -> Ref:
    """Σ(x − mean)² / (n − correction)."""
    axes = c.dims(dims, len(x.shape))
    count = prod(x.shape[axis] for axis in axes)
    over = count - (1 if correction is None else correction)
    if over <= 0:
        raise Unsupported(f"variance of {count} values with correction {correction}; set unbiased=False")
    mean = c.builder.map(lambda v: v / float(count), c.keep(c.builder.sum(x, axes), axes, True))
    squares = c.builder.map(lambda v, m: (v - m) * (v - m), x, mean)
    return c.keep(c.builder.map(lambda v: v / float(over), c.builder.sum(squares, axes)), axes, keepdim)


@lowers(aten.amax.default, prims.amax.default)
def _amax(c: Context, x: Ref, dims: Sequence[int] = (), keepdim: bool = False) -> Ref:
    axes = c.dims(dims, len(x.shape))
    return c.keep(c.builder.max(x, axes), axes, keepdim) if axes else x


@lowers(aten.any.default, aten.any.dim, aten.any.dims)
def _any(c: Context, x: Ref, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Ref:
    axes = c.dims(dims, len(x.shape))
    truth = c.builder.map(lambda v: v.truth(), x)
    return c.keep(c.builder.max(truth, axes), axes, keepdim) if axes else truth


@lowers(aten.all.default, aten.all.dim, aten.all.dims)
def _all(c: Context, x: Ref, dims: Sequence[int] | int | None = None, keepdim: bool = False) -> Ref:
    lacking = _any(c, c.builder.map(lambda v: v.truth().negated(), x), dims, keepdim)
    return c.builder.map(lambda v: v.negated(), lacking)


@lowers(aten.max.default)
def _max(c: Context, x: Ref) -> Ref:
    return _amax(c, x)


@lowers(aten.amin.default)
def _amin(c: Context, x: Ref, dims: Sequence[int] = (), keepdim: bool = False) -> Ref:
    lowest = _amax(c, c.builder.map(lambda v: (-v) if v.dtype is F32 else v ^ -1, x), dims, keepdim)
    return c.builder.map(lambda v: (-v) if v.dtype is F32 else v ^ -1, lowest)


@lowers(aten.max.dim)
def _max_dim(c: Context, x: Ref, dim: int, keepdim: bool = False) -> tuple[Ref, Ref]:
    dim = c.dim(dim, len(x.shape))
    top = c.builder.max(x, [dim]) if x.shape else x
    where = _first(c, x, top.unsqueeze(dim) if x.shape else x, dim)
    return c.keep(top, [dim], keepdim), c.keep(where, [dim], keepdim)


@lowers(aten.argmax.default)
def _argmax(c: Context, x: Ref, dim: int | None = None, keepdim: bool = False) -> Ref:
    flat = x if dim is not None else c.builder.reshape(x, (prod(x.shape),))
    axis = c.dim(dim or 0, len(flat.shape))
    where = _first(c, flat, c.builder.max(flat, [axis]).unsqueeze(axis), axis)
    if dim is None:
        return where.expand(c.shape) if keepdim else where
    return c.keep(where, [axis], keepdim)


def _first(c: Context, x: Ref, top: Ref, dim: int) -> Ref:
    """First coordinate along `dim` that holds the maximum: the greatest of its complements."""
    size = x.shape[dim]

    def program(value: Value, best: Value) -> Value:
        same = value.eq(best)
        if value.dtype is F32:
            same = same | (value.ne(value) & best.ne(best))
        return same.where(value.program.index(dim) ^ -1, -size)

    found = c.builder.generate(x.shape, program, x, top)
    return c.builder.map(lambda v: v ^ -1, c.builder.max(found, [dim]))
