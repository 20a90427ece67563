"""Lowerings of operations that rearrange: views, and maps over several of them."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch

from offchain.errors import Unsupported
from offchain.ir.graph import Axis, row_major
from offchain.ir.kinds import MAX_INPUTS
from offchain.ir.primitives import DType
from offchain.ir.program import I32, Value
from offchain.lower.builder import GraphBuilder
from offchain.lower.library import floor_divide, remainder
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten, prims = torch.ops.aten, torch.ops.prims


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


@lowers(aten.roll.default)
def _roll(c: Context, x: Ref, shifts: Sequence[int], dims: Sequence[int] = ()) -> Ref:
    if not dims:
        flat = c.builder.reshape(x, (prod(x.shape),))
        return c.builder.reshape(_roll(c, flat, shifts, [0]), x.shape)
    for shift, dim in zip(shifts, dims, strict=True):
        d = c.dim(dim, len(x.shape))
        back = -shift % x.shape[d]
        if back and x.uniform is None:
            x = _join(c.builder, [x.slice(d, back, x.shape[d] - back), x.slice(d, 0, back)], d, x.dtype)
    return x


@lowers(aten.repeat.default)
def _repeat(c: Context, x: Ref, repeats: Sequence[int]) -> Ref:
    shape = (1,) * (len(repeats) - len(x.shape)) + x.shape
    x = x.expand(shape)
    axes = [(d, times, shape[d]) for d, times in enumerate(repeats)]
    for d, times, size in reversed(axes):
        x = x.unsqueeze(d) if times > 1 and size > 1 else x
    wide = [n for _, times, size in axes for n in ((times, size) if times > 1 and size > 1 else (times * size,))]
    return c.builder.reshape(x.expand(tuple(wide)), c.shape)


@lowers(aten.unfold.default)
def _unfold(c: Context, x: Ref, dim: int, size: int, step: int) -> Ref:
    """Windows of `size` along an axis, as a last axis."""
    if not x.shape or x.uniform is not None:
        return x.expand(c.shape)
    d = c.dim(dim, len(x.shape))
    x = _unpadded(c, x, [d])
    stride = x.axes[d].stride
    axes = [*x.axes[:d], Axis(stride * step, 0, c.shape[d]), *x.axes[d + 1 :], Axis(stride, 0, size)]
    return x.with_axes(c.shape, axes)


@lowers(aten.diagonal.default)
def _diagonal(c: Context, x: Ref, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Ref:
    a, b = (c.dim(d, len(x.shape)) for d in (dim1, dim2))
    if x.uniform is not None:
        return x.expand(c.shape)
    count = c.shape[-1]
    x = _unpadded(c, x.slice(a, max(-offset, 0), count).slice(b, max(offset, 0), count), [a, b])
    axes = [axis for d, axis in enumerate(x.axes) if d not in (a, b)]
    return x.with_axes(c.shape, [*axes, Axis(x.axes[a].stride + x.axes[b].stride, 0, count)])


def _unpadded(c: Context, x: Ref, dims: Sequence[int]) -> Ref:
    """The same elements, all coordinates of some axes valid."""
    whole = all((x.axes[d].lo, x.axes[d].hi) == (0, x.shape[d]) for d in dims)
    return x if whole and x.uniform is None else c.builder.copy(x)


@lowers(aten.eye.default, aten.eye.m)
def _eye(c: Context, *_: Any, **__: Any) -> Ref:
    return c.builder.generate(c.shape, lambda p: p.index(0).eq(p.index(1)).cast(c.dtype))


@lowers(aten.tril_indices.default, aten.triu_indices.default)
def _triangle_indices(c: Context, *sizes: int, **_: Any) -> Ref:
    """They depend on sizes alone: a constant."""
    target: Any = c.node.target
    return c.builder.constant(target(*sizes, dtype=torch.int32).numpy())


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
    """Strides count elements of torch's storage, whose layout is known only where it is row-major."""
    _require_own_storage(c)
    if x.uniform is not None:
        return x.expand(c.shape)
    axes = [Axis(step, 0, count) for step, count in zip(stride, size, strict=True)]
    flat = c.builder.reshape(x, (prod(x.shape),))
    whole = flat if flat.axes == (Axis(1, 0, flat.length),) else c.builder.copy(flat)
    return whole.with_axes(c.shape, axes, offset or 0)


def _require_own_storage(c: Context) -> None:
    source = c.node.args[0].meta["val"]  # type: ignore[union-attr]
    if not source.is_contiguous() or source.storage_offset() or source.untyped_storage().nbytes() != source.nbytes:
        raise Unsupported("as_strided of a view; call .contiguous() first")


@lowers(aten.as_strided_scatter.default)
def _as_strided_scatter(
    c: Context, x: Ref, source: Ref, size: Sequence[int], stride: Sequence[int], offset: int | None = None
) -> Ref:
    """Each place of x computes its coordinates in the window, longest stride first (backward of assigned slices)."""
    _require_own_storage(c)
    axes = sorted(zip(stride, size, row_major(tuple(size)), strict=True), reverse=True)
    axes = [axis for axis in axes if axis[1] > 1]
    for d, (step, _, _) in enumerate(axes):
        if step <= sum(inner * (count - 1) for inner, count, _ in axes[d + 1 :]):
            raise Unsupported("writing through a window that overlaps itself (as_strided); use torch.where")
    length = prod(x.shape)

    def place(p: Any) -> Value:
        rest: Value = p.index(0) - (offset or 0)
        inside, at = rest.ge(0), p.whole(0)
        for step, count, own in axes:
            i = floor_divide(rest, step)
            inside, at, rest = inside & i.lt(count), at + i * own, rest - i * step
        return (inside & rest.eq(0)).where(at, -1)

    index = c.builder.generate((length,), place)
    found = c.builder.gather(c.builder.reshape(source, (prod(size),)), index)
    old = c.builder.reshape(x, (length,))
    out = c.builder.map(lambda i, new, old: i.ge(0).where(new.cast(c.dtype), old), index, found, old)
    return c.builder.reshape(out, x.shape)


@lowers(aten.slice_scatter.default)
def _slice_scatter(
    c: Context, x: Ref, source: Ref, dim: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Ref:
    dim = c.dim(dim, len(x.shape))
    starts, steps = [0] * len(x.shape), [1] * len(x.shape)
    starts[dim], _, steps[dim] = slice(start, end, step).indices(x.shape[dim])
    count = len(range(x.shape[dim])[start:end:step])
    return _assigned(c, x, source.expand((*x.shape[:dim], count, *x.shape[dim + 1 :])), starts, steps)


def _assigned(c: Context, x: Ref, source: Ref, starts: Sequence[int], steps: Sequence[int]) -> Ref:
    """x with `source`, of the same rank, at coordinates start + i·step of every axis."""
    inner = source.shape
    wide = source if source.uniform is None else source.expand(x.shape)
    for d, (first, step) in enumerate(zip(starts, steps, strict=True)):
        if source.uniform is None:
            wide = _spread(c, wide, d, first, step, x.shape[d])

    def program(old: Value, new: Value) -> Value:
        inside = old.program.whole(1)
        for d, (first, step, count) in enumerate(zip(starts, steps, inner, strict=True)):
            at = old.program.index(d)
            inside = inside & at.ge(first) & at.lt(first + count * step) & remainder(at - first, step).eq(0)
        return inside.where(new.cast(c.dtype), old)

    return c.builder.generate(x.shape, program, x, wide)


def _spread(c: Context, x: Ref, dim: int, first: int, step: int, size: int) -> Ref:
    """Along one axis, coordinate i moves to first + i·step. Coordinates in between are not defined."""
    if step == 1:
        return x.pad(dim, first, size - first - x.shape[dim])
    shape = (*x.shape[:dim], size, *x.shape[dim + 1 :])
    line = tuple(size if d == dim else 1 for d in range(len(shape)))
    index = c.builder.generate(line, lambda p: floor_divide(p.index(dim) - first, step))
    order = [*(d for d in range(len(shape)) if d != dim), dim]
    return c.builder.gather(x.permute(order).unsqueeze(dim), index.expand(shape))


@lowers(aten.diagonal_scatter.default)
def _diagonal_scatter(c: Context, x: Ref, source: Ref, offset: int = 0, dim1: int = 0, dim2: int = 1) -> Ref:
    rank = len(x.shape)
    a, b = c.dim(dim1, rank), c.dim(dim2, rank)
    order = list(range(rank - 2))
    order.insert(a - (a > b), rank - 2)
    line = source.permute(order).unsqueeze(b)
    if source.uniform is None:
        line = line.pad(a, max(-offset, 0), x.shape[a] - line.shape[a] - max(-offset, 0))

    def program(old: Value, new: Value) -> Value:
        at = old.program.index
        return (at(b) - at(a)).eq(offset).where(new.cast(c.dtype), old)

    return c.builder.generate(x.shape, program, x, line.expand(x.shape))


@lowers(aten.copy_.default)
def _filled(c: Context, x: Ref, source: Ref, *_: Any) -> Ref:
    """A copy that `capture` permits: later reads of x are reads of this."""
    return c.elementwise(lambda v: v, source).expand(c.shape)


@lowers(aten.cat.default)
def _cat(c: Context, tensors: Sequence[Ref], dim: int = 0) -> Ref:
    return concatenated(c.builder, tensors, c.dim(dim, len(c.shape)), c.dtype)


def concatenated(builder: GraphBuilder, tensors: Sequence[Ref], dim: int, dtype: DType) -> Ref:
    """A part reads 0 outside its range; the coordinate chooses the part."""
    while len(tensors) > MAX_INPUTS:
        starts = range(0, len(tensors), MAX_INPUTS)
        tensors = [_join(builder, tensors[i : i + MAX_INPUTS], dim, dtype) for i in starts]
    return _join(builder, tensors, dim, dtype)


def _join(builder: GraphBuilder, tensors: Sequence[Ref], dim: int, dtype: DType) -> Ref:
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
        at, out = values[0].program.index(dim), values[-1].cast(dtype)
        for value, end in reversed(list(zip(values[:-1], starts[1:], strict=True))):
            out = at.lt(end).where(value.cast(dtype), out)
        return out

    return builder.generate(shape, program, *parts)


@lowers(aten._new_zeros_with_same_feature_meta.default)
def _zeros_of_tangents(c: Context, *_: Any, **__: Any) -> Ref:
    return Ref.constant(c.dtype, 0, c.shape)
