"""Lowerings of reductions: products, sums, maxima, running totals."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from math import prod
from typing import Any, Final

import torch

from offchain.errors import Unsupported
from offchain.ir.program import F32, FULL, I32, Value
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten, prims = torch.ops.aten, torch.ops.prims
WHOLE: Final = 24  # bits of the integers that binary32 holds


def _dot(c: Context, a: Ref, b: Ref) -> Ref:
    if I32 in (a.dtype, b.dtype):
        raise Unsupported("a product of integer matrices; convert to float32 first (.float())")
    return c.builder.dot(a, b)


@lowers(aten.mm.default)
def _mm(c: Context, a: Ref, b: Ref) -> Ref:
    return _dot(c, a.unsqueeze(1), b.permute([1, 0]).unsqueeze(0))


@lowers(aten.bmm.default)
def _bmm(c: Context, a: Ref, b: Ref) -> Ref:
    return _dot(c, a.unsqueeze(2), b.permute([0, 2, 1]).unsqueeze(1))


@lowers(aten.mv.default, aten.dot.default)
def _mv(c: Context, a: Ref, b: Ref) -> Ref:
    return _dot(c, a, b)


@lowers(aten.addbmm.default)
def _addbmm(c: Context, x: Ref, a: Ref, b: Ref, beta: float = 1, alpha: float = 1) -> Ref:
    """The sum over the batch of products: one product whose inner axis is batch and k."""
    left = c.builder.reshape(a.permute([1, 0, 2]), (a.shape[1], a.shape[0] * a.shape[2]))
    right = c.builder.reshape(b.permute([2, 0, 1]), (b.shape[2], b.shape[0] * b.shape[1]))
    product = _dot(c, left.unsqueeze(1), right.unsqueeze(0))
    return c.elementwise(lambda x, y: x * beta + y * alpha, x, product)


@lowers(aten.addmm.default)
def _addmm(c: Context, bias: Ref, a: Ref, b: Ref, beta: float = 1, alpha: float = 1) -> Ref:
    return c.elementwise(lambda x, y: x * beta + y * alpha, bias, _mm(c, a, b))


@lowers(aten._trilinear.default)
def _trilinear(
    c: Context,
    a: Ref,
    b: Ref,
    m: Ref,
    ea: Sequence[int],
    eb: Sequence[int],
    em: Sequence[int],
    dims: Sequence[int],
    *_: int,
) -> Ref:
    """nn.Bilinear and its gradients: Σ of the elementwise product of three tensors, each with some axes put in."""
    operands = []
    for ref, axes in ((a, ea), (b, eb), (m, em)):
        for axis in sorted(axes):
            ref = ref.unsqueeze(axis)
        operands.append(ref)
    return c.builder.sum(c.builder.map(lambda x, y, z: x * y * z, *operands), sorted(dims))


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
    count = prod(x.shape[axis] for axis in axes)
    return c.keep(integer_sums(c, x, count, lambda limb: c.builder.sum(limb, axes)), axes, keepdim)


def integer_sums(c: Context, x: Ref, count: int, sums: Callable[[Ref], Ref]) -> Ref:
    """`sums` of at most `count` integers each, as exact float sums of limbs that are short enough to stay below 2^24.

    Raises Unsupported where int64 could leave int32; int32 wraps, as torch's does.
    """
    width = WHOLE - (count - 1).bit_length()
    low, high = (min(0, x.bounds[0] * count), max(0, x.bounds[1] * count))
    fits = FULL[0] <= low and high <= FULL[1]
    if width < 1 or (c.checked and not fits):
        reach = max(low, high, key=abs)
        raise Unsupported(f"a sum of {count} integers that may reach {reach}; convert to float32 first (.float())")
    limbs: list[Ref] = []
    while True:
        shift = width * len(limbs)
        last = max(-(x.bounds[0] >> shift), x.bounds[1] >> shift) * count <= 1 << WHOLE
        mask = -1 if last else (1 << width) - 1

        def limb(v: Value, shift: int = shift, mask: int = mask) -> Value:
            return ((v >> shift) & mask).to_float()

        limbs.append(sums(c.builder.map(limb, x)))
        if last:
            break

    def joined(*limbs: Value) -> Value:
        total = limbs[0].to_int()
        for number, value in enumerate(limbs[1:], 1):
            total = total + (value.to_int() << width * number)
        return total

    return replace(c.builder.map(joined, *limbs), bounds=(low, high) if fits else FULL)


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


def _reversed(c: Context, x: Ref) -> Ref:
    """The opposite order: minima become maxima. Its own inverse."""
    return c.builder.map(lambda v: -v if v.dtype is F32 else -1 - v, x)


@lowers(aten.amin.default)
def _amin(c: Context, x: Ref, dims: Sequence[int] = (), keepdim: bool = False) -> Ref:
    return _reversed(c, _amax(c, _reversed(c, x), dims, keepdim))


@lowers(aten.min.default)
def _min(c: Context, x: Ref) -> Ref:
    return _amin(c, x)


@lowers(aten.min.dim)
def _min_dim(c: Context, x: Ref, dim: int, keepdim: bool = False) -> tuple[Ref, Ref]:
    lowest, where = _max_dim(c, _reversed(c, x), dim, keepdim)
    return _reversed(c, lowest), where


@lowers(aten.argmin.default)
def _argmin(c: Context, x: Ref, dim: int | None = None, keepdim: bool = False) -> Ref:
    return _argmax(c, _reversed(c, x), dim, keepdim)


@lowers(aten.max.dim)
def _max_dim(c: Context, x: Ref, dim: int, keepdim: bool = False) -> tuple[Ref, Ref]:
    if not x.shape:
        return x, Ref.constant(I32, 0)
    dim = c.dim(dim, len(x.shape))
    top = c.builder.max(x, [dim])
    where = _first(c, x, top.unsqueeze(dim), dim)
    return c.keep(top, [dim], keepdim), c.keep(where, [dim], keepdim)


@lowers(aten.argmax.default)
def _argmax(c: Context, x: Ref, dim: int | None = None, keepdim: bool = False) -> Ref:
    if not x.shape:
        return Ref.constant(I32, 0)
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
        return same.where(-1 - value.program.index(dim), -size)

    found = c.builder.generate(x.shape, program, x, top)
    return c.builder.map(lambda v: -1 - v, c.builder.max(found, [dim]))


# --- running totals: log2(n) maps, each of which reads its own tensor a power of two further back -------------------


@lowers(aten.cumsum.default)
def _cumsum(c: Context, x: Ref, dim: int, **_: Any) -> Ref:
    return _scan(c, x, dim, lambda a, b: a + b)


@lowers(aten.cumprod.default)
def _cumprod(c: Context, x: Ref, dim: int, **_: Any) -> Ref:
    return _scan(c, x, dim, lambda a, b: a * b)


def _scan(c: Context, x: Ref, dim: int, f: Callable[[Value, Value], Value]) -> Ref:
    """out[i] = f over x[0…i], for an associative f (Hillis and Steele, 1986): n·log2(n) operations, no sum of n²."""
    x = c.elementwise(lambda v: v, x)
    if not x.shape:
        return x
    d, reach = c.dim(dim, len(x.shape)), 1
    while reach < x.shape[d]:
        x = c.builder.copy(x) if x.uniform is not None else x
        earlier = x.slice(d, 0, x.shape[d] - reach).pad(d, reach, 0)

        def program(own: Value, earlier: Value, reach: int = reach) -> Value:
            return own.program.index(d).lt(reach).where(own, f(earlier, own))

        x = c.builder.generate(x.shape, program, x, earlier, checked=c.checked)
        reach *= 2
    return x


@lowers(aten.prod.default, aten.prod.dim_int)
def _prod(c: Context, x: Ref, dim: int | None = None, keepdim: bool = False, **_: Any) -> Ref:
    """By halves: log2(n) maps."""
    x = c.elementwise(lambda v: v, x if dim is not None else c.builder.reshape(x, (prod(x.shape),)))
    if not x.shape:
        return x
    d = c.dim(dim or 0, len(x.shape))
    while (size := x.shape[d]) > 1:
        x = c.builder.copy(x) if x.uniform is not None else x
        half = (size + 1) // 2
        upper = x.slice(d, half, size - half).pad(d, 0, 2 * half - size)

        def program(low: Value, high: Value, pairs: int = size - half) -> Value:
            return low.program.index(d).lt(pairs).where(low * high, low)

        lower = x.slice(d, 0, half)
        x = c.builder.generate(lower.shape, program, lower, upper, checked=c.checked)
    return x if keepdim else x.squeeze([d])
