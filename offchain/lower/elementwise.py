"""Lowerings of elementwise operations: maps."""

from __future__ import annotations

from collections.abc import Callable
from math import pi
from typing import Any, Final

import torch

from offchain.errors import Unsupported
from offchain.ir.primitives import Op
from offchain.ir.program import F32, I32, Value
from offchain.lower import library
from offchain.lower.refs import Ref
from offchain.lower.registry import REGISTRY, Context, Lower, lowers

aten, prims = torch.ops.aten, torch.ops.prims
Number = float | bool
Operand = Ref | Number


def _simple(f: Callable[..., Value]) -> Lower:
    return lambda c, *args: c.elementwise(f, *args, known=True)


def _float_pair(f: Callable[[Value, Value], Value]) -> Lower:
    return lambda c, a, b: c.elementwise(f, a, b, dtype=F32, known=True)


def _compare(f: Callable[[Value, Value], Value]) -> Lower:
    return lambda c, a, b: c.elementwise(f, a, b, dtype=c.common(a, b), known=True)


def _float_only(f: Callable[[Value], Value]) -> Lower:
    return lambda c, x: c.elementwise(f, x, dtype=F32, known=True)


def _logical(f: Callable[..., Value]) -> Lower:
    """On truth values of any type."""
    return lambda c, *args: c.builder.map(lambda *vs: f(*(v.truth() for v in vs)), *args)


def _unchanged(x: Value) -> Value:
    return x


def _plus(a: Value, b: Value) -> Value:
    return a + b


def _minus(a: Value, b: Value) -> Value:
    return a - b


def _relu(x: Value) -> Value:
    return x.lt(0).where(0, x)


def _sign(x: Value) -> Value:
    return x.gt(0).where(1, x.lt(0).where(-1, x)) if x.dtype is F32 else x.gt(0) - x.lt(0)


def _absolute(x: Value) -> Value:
    return x.abs() if x.dtype is F32 else x.lt(0).where(-x, x)


_TABLE: Final[dict[Lower, tuple[Any, ...]]] = {
    _simple(lambda a, b: a * b): (aten.mul.Tensor, aten.mul.Scalar),
    _simple(lambda x: -x): (aten.neg.default, aten._neg_view.default),
    _simple(_absolute): (aten.abs.default,),
    _simple(_relu): (aten.relu.default,),
    _simple(_sign): (aten.sign.default, aten.sgn.default),
    _simple(library.maximum): (aten.maximum.default,),
    _simple(library.minimum): (aten.minimum.default,),
    _simple(library.fmax): (aten.fmax.default,),
    _simple(library.fmin): (aten.fmin.default,),
    _simple(_unchanged): (aten.positive.default,),
    _simple(lambda a, b: a & b): (aten.bitwise_and.Tensor, aten.bitwise_and.Scalar),
    _simple(lambda a, b: a | b): (aten.bitwise_or.Tensor, aten.bitwise_or.Scalar),
    _simple(lambda a, b: a ^ b): (aten.bitwise_xor.Tensor, aten.bitwise_xor.Scalar),
    _compare(lambda a, b: a.eq(b)): (aten.eq.Tensor, aten.eq.Scalar),
    _compare(lambda a, b: a.ne(b)): (aten.ne.Tensor, aten.ne.Scalar),
    _compare(lambda a, b: a.lt(b)): (aten.lt.Tensor, aten.lt.Scalar),
    _compare(lambda a, b: a.le(b)): (aten.le.Tensor, aten.le.Scalar),
    _compare(lambda a, b: a.gt(b)): (aten.gt.Tensor, aten.gt.Scalar),
    _compare(lambda a, b: a.ge(b)): (aten.ge.Tensor, aten.ge.Scalar),
    _float_pair(lambda a, b: a / b): (aten.div.Tensor, aten.div.Scalar, prims.div.default),
    _float_pair(library.atan2): (aten.atan2.default,),
    _float_pair(library.hypot): (aten.hypot.default,),
    _float_pair(lambda a, b: library.with_sign_of(b, a.abs())): (aten.copysign.Tensor, aten.copysign.Scalar),
    _float_only(library.atan): (aten.atan.default,),
    _float_only(library.asin): (aten.asin.default,),
    _float_only(library.acos): (aten.acos.default,),
    _float_only(library.sinh): (aten.sinh.default,),
    _float_only(library.cosh): (aten.cosh.default,),
    _float_only(library.asinh): (aten.asinh.default,),
    _float_only(library.acosh): (aten.acosh.default,),
    _float_only(library.atanh): (aten.atanh.default,),
    _float_only(library.erfc): (aten.erfc.default,),
    _float_only(library.erfinv): (aten.erfinv.default,),
    _float_only(library.lgamma): (aten.lgamma.default,),
    _float_only(library.digamma): (aten.digamma.default,),
    _float_only(lambda x: x.bits().lt(0)): (aten.signbit.default,),
    _float_only(lambda x: x.lt(0.0).where(pi, x.ne(x).where(x, 0.0))): (aten.angle.default,),
    _float_only(library.exp): (aten.exp.default,),
    _float_only(library.expm1): (aten.expm1.default,),
    _float_only(library.exp2): (aten.exp2.default,),
    _float_only(library.sin): (aten.sin.default,),
    _float_only(library.cos): (aten.cos.default,),
    _float_only(library.tan): (aten.tan.default,),
    _float_only(library.log2): (aten.log2.default,),
    _float_only(library.log10): (aten.log10.default,),
    _float_only(library.log): (aten.log.default,),
    _float_only(library.log1p): (aten.log1p.default,),
    _float_only(library.tanh): (aten.tanh.default,),
    _float_only(library.sigmoid): (aten.sigmoid.default,),
    _float_only(library.erf): (aten.erf.default,),
    _float_only(library.rsqrt): (aten.rsqrt.default,),
    _float_only(library.reciprocal): (aten.reciprocal.default,),
    _float_only(lambda x: x.sqrt()): (aten.sqrt.default,),
    _float_only(lambda x: x.rint()): (aten.round.default,),
    _float_only(library.floor): (aten.floor.default,),
    _float_only(library.ceil): (aten.ceil.default,),
    _float_only(library.trunc): (aten.trunc.default,),
    _float_only(lambda x: x.ne(x)): (aten.isnan.default,),
    _float_only(lambda x: x.abs().eq(float("inf"))): (aten.isinf.default,),
    _logical(lambda x: x.negated()): (aten.logical_not.default,),
    _logical(lambda a, b: a & b): (aten.logical_and.default,),
    _logical(lambda a, b: a | b): (aten.logical_or.default,),
    _logical(lambda a, b: a ^ b): (aten.logical_xor.default,),
}
for _lower, _operations in _TABLE.items():
    for _operation in _operations:
        REGISTRY[_operation] = _lower


@lowers(aten.polygamma.default)
def _polygamma(c: Context, n: int, x: Ref) -> Ref:
    """Digamma and its first four derivatives."""
    if n > library.MOST_DERIVATIVES:
        last = f"torch.polygamma({library.MOST_DERIVATIVES}, x)"
        raise Unsupported(f"the derivative number {n} of digamma; the last is {last}, which has no gradient here")
    function = {0: library.digamma, 1: library.trigamma}.get(n) or library.polygamma(n)
    return c.elementwise(function, x, dtype=F32, known=True)


@lowers(aten.add.Tensor, aten.add.Scalar, prims.add.default)
def _add(c: Context, a: Operand, b: Operand, alpha: Number = 1) -> Ref:
    if alpha == 1:
        return c.elementwise(_plus, a, b, known=True)
    return c.elementwise(lambda x, y: x + y * alpha, a, b)


@lowers(aten.sub.Tensor, aten.sub.Scalar)
def _sub(c: Context, a: Operand, b: Operand, alpha: Number = 1) -> Ref:
    if alpha == 1:
        return c.elementwise(_minus, a, b, known=True)
    return c.elementwise(lambda x, y: x - y * alpha, a, b)


@lowers(aten.rsub.Scalar, aten.rsub.Tensor)
def _rsub(c: Context, a: Operand, b: Operand, alpha: Number = 1) -> Ref:
    return c.elementwise(lambda x, y: y - x * alpha, a, b)


@lowers(aten.div.Tensor_mode, aten.div.Scalar_mode)
def _div_mode(c: Context, a: Operand, b: Operand, rounding_mode: str | None = None) -> Ref:
    if c.dtype is F32:
        if rounding_mode == "floor":
            return c.elementwise(library.floor_quotient, a, b, _rest(c, a, b))
        rounding = library.trunc if rounding_mode else _unchanged
        return c.elementwise(lambda x, y: rounding(x / y), a, b)
    divisor = _divisor(b)
    if rounding_mode == "floor":
        return c.elementwise(lambda x: library.floor_divide(x, divisor), a)
    return c.elementwise(lambda x: library.truncated_divide(x, divisor), a)


@lowers(aten.floor_divide.default, aten.floor_divide.Scalar)
def _floor_divide(c: Context, a: Operand, b: Operand) -> Ref:
    return _div_mode(c, a, b, "floor")


@lowers(aten.remainder.Scalar, aten.remainder.Tensor)
def _remainder(c: Context, a: Operand, b: Operand) -> Ref:
    if c.dtype is F32:
        return c.elementwise(library.modulo, a, b, _rest(c, a, b))
    return c.elementwise(lambda x: library.remainder(x, _divisor(b)), a)


@lowers(aten.fmod.Scalar, aten.fmod.Tensor)
def _fmod(c: Context, a: Operand, b: Operand) -> Ref:
    if c.dtype is F32:
        return _rest(c, a, b)
    divisor = abs(_divisor(b))
    return c.elementwise(lambda x: library.truncated_remainder(x, divisor), a)


def _rest(c: Context, a: Operand, b: Operand) -> Ref:
    """fmod as nodes of its own, so that what is made of it fits a program too."""
    if not isinstance(b, Ref) and library.SHORT <= abs(b) < float("inf"):
        return c.elementwise(library.fmod, a, b)
    return c.elementwise(library.fmod, a, b, c.elementwise(library.fmod_begun, a, b))


def _divisor(b: Operand) -> int:
    if isinstance(b, Ref):
        if b.uniform is None or b.uniform.op is not Op.CONST_I32:
            raise Unsupported("integer division by a tensor; divide by a constant, or use float32")
        return b.uniform.word
    return int(b)


_POWERS: Final[dict[float, Callable[[Value], Value]]] = {  # shorter and more accurate than the general power
    0: lambda v: v.program.like(v, 1),
    0.5: lambda v: v.sqrt(),
    1.5: lambda v: v * v.sqrt(),
    -0.5: library.rsqrt,
    -1: library.reciprocal,
    -2: lambda v: library.reciprocal(v) * library.reciprocal(v),  # 1/(v·v) would be 0 where v·v overflows
}
_MOST_PRODUCTS: Final = 8  # whole powers up to here stay within the general power's error


@lowers(aten.pow.Tensor_Scalar)
def _pow(c: Context, x: Ref, exponent: Number) -> Ref:
    if exponent in _POWERS:
        return c.elementwise(_POWERS[exponent], x)
    if exponent > 0 and exponent == int(exponent) and (exponent <= _MOST_PRODUCTS or c.dtype is I32):
        return c.elementwise(lambda v: _by_squaring(v, int(exponent)), x)
    return _pow_tensor(c, x, exponent)


@lowers(aten.pow.Tensor_Tensor, aten.pow.Scalar)
def _pow_tensor(c: Context, x: Operand, y: Operand) -> Ref:
    if c.dtype is I32:
        raise Unsupported("an integer power with a tensor as exponent; use float32, or a constant exponent")
    return c.elementwise(library.power, x, y)


def _by_squaring(x: Value, exponent: int) -> Value:
    if exponent == 1:
        return x
    half = _by_squaring(x, exponent // 2)
    return half * half * x if exponent % 2 else half * half


@lowers(aten.ldexp.Tensor)
def _ldexp(c: Context, x: Ref, exponent: Ref) -> Ref:
    if exponent.dtype is F32:
        return c.elementwise(lambda v, n: v * library.exp2(n), x, exponent)
    return c.builder.map(lambda v, n: v.cast(F32).ldexp(n), x, exponent)


@lowers(aten.clamp.default, aten.clamp.Tensor, aten.hardtanh.default)
def _clamp(c: Context, x: Ref, low: Operand | None = None, high: Operand | None = None, **named: Any) -> Ref:
    low, high = named.get("min", named.get("min_val", low)), named.get("max", named.get("max_val", high))
    limits = [limit for limit in (low, high) if limit is not None]

    def program(x: Value, *limits: Value) -> Value:
        rest = list(limits)
        if low is not None:
            bottom = rest.pop(0)
            x = x.lt(bottom).where(bottom, x)
        if high is not None:
            x = x.gt(rest[0]).where(rest[0], x)
        return x

    return c.elementwise(program, x, *limits)


@lowers(aten.clamp_min.default)
def _clamp_min(c: Context, x: Ref, low: Number) -> Ref:
    return _clamp(c, x, low)


@lowers(aten.clamp_max.default)
def _clamp_max(c: Context, x: Ref, high: Number) -> Ref:
    return _clamp(c, x, None, high)


@lowers(aten.leaky_relu.default)
def _leaky_relu(c: Context, x: Ref, slope: float = 0.01) -> Ref:
    return c.elementwise(lambda v: v.gt(0.0).where(v, v * slope), x)


@lowers(aten.softplus.default)
def _softplus(c: Context, x: Ref, beta: Number = 1, threshold: Number = 20) -> Ref:
    return c.elementwise(lambda v: library.softplus(v, float(beta), float(threshold)), x)


@lowers(aten.softshrink_backward.default, aten.hardshrink_backward.default)
def _shrink_backward(c: Context, gradient: Ref, x: Ref, limit: Number) -> Ref:
    return c.elementwise(lambda g, v: v.abs().le(float(limit)).where(0.0, g), gradient, x)


@lowers(aten.round.decimals)
def _round_decimals(c: Context, x: Ref, *, decimals: int) -> Ref:
    scale = 10.0 ** abs(decimals)
    if decimals < 0:
        return c.elementwise(lambda v: (v / scale).rint() * scale, x)
    return c.elementwise(lambda v: (v * scale).rint() / scale, x)


@lowers(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf)
def _where(c: Context, condition: Ref, yes: Operand, no: Operand) -> Ref:
    a, b = (arg if isinstance(arg, Ref) else c.number(arg) for arg in (yes, no))
    return c.builder.map(lambda w, x, y: w.where(x.cast(c.dtype), y.cast(c.dtype)), condition, a, b)


@lowers(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked_fill(c: Context, x: Ref, mask: Ref, value: Operand) -> Ref:
    return _where(c, mask, value, x)


@lowers(aten.bitwise_not.default)
def _bitwise_not(c: Context, x: Ref) -> Ref:
    return c.elementwise(lambda v: v ^ (1 if c.torch_dtype is torch.bool else -1), x)


@lowers(aten._to_copy.default, prims.convert_element_type.default)
def _to_copy(c: Context, x: Ref, *_: Any, **__: Any) -> Ref:
    if c.torch_dtype is torch.bool:
        return c.builder.map(lambda v: v.truth(), x)
    return c.elementwise(lambda v: v, x)


@lowers(
    aten.clone.default, aten.lift_fresh_copy.default, aten.detach.default, aten.alias.default, aten.lift_fresh.default
)
def _same(c: Context, x: Ref, **_: Any) -> Ref:
    return x


@lowers(aten.copy.default)
def _copy(c: Context, x: Ref, source: Operand, *_: Any) -> Ref:
    return c.elementwise(lambda v: v, source).expand(c.shape)


@lowers(aten.full.default)
def _full(c: Context, size: Any, value: Number, **_: Any) -> Ref:
    return c.number(value, c.shape)


@lowers(aten.full_like.default)
def _full_like(c: Context, x: Ref, value: Number, **_: Any) -> Ref:
    return c.number(value, c.shape)


@lowers(aten.scalar_tensor.default)
def _scalar_tensor(c: Context, value: Number, **_: Any) -> Ref:
    return c.number(value, c.shape)


@lowers(
    aten.zeros.default,
    aten.zeros_like.default,
    aten.new_zeros.default,
    aten.empty.memory_format,
    aten.empty_like.default,
    aten.empty_permuted.default,
    aten.empty_strided.default,
    aten.new_empty.default,
    aten._efficientzerotensor.default,
)
def _zeros(c: Context, *_: Any, **__: Any) -> Ref:
    """Tensors whose content torch leaves undefined (`empty`) are zero too."""
    return Ref.constant(c.dtype, 0, c.shape)


@lowers(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def _ones(c: Context, *_: Any, **__: Any) -> Ref:
    return Ref.constant(c.dtype, 1, c.shape)


@lowers(aten.arange.start_step)
def _arange(c: Context, start: Number, end: Number, step: Number = 1, **_: Any) -> Ref:
    def program(p: Any) -> Value:
        if c.dtype is F32:
            value: Value = p.index(0).to_float() * step + start
            return value
        whole: Value = p.index(0) * int(step) + int(start)
        return whole

    return c.builder.generate(c.shape, program)


@lowers(aten.is_same_size.default, aten._has_same_storage_numel.default, aten._linalg_check_errors.default)
def _known(c: Context, *_: Any, **__: Any) -> None:
    """What torch answered, or checked, while the step was captured; no tensor is made."""


for _name in ("mul", "sub", "eq", "ne", "lt", "le", "gt", "ge"):  # in derivatives by torch.func.jvp
    REGISTRY[getattr(prims, _name).default] = REGISTRY[getattr(aten, _name).Tensor]
for _name in ("neg", "abs", "exp", "log", "sin", "cos", "tanh", "sqrt", "rsqrt", "reciprocal", "erf", "expm1", "log1p"):
    REGISTRY[getattr(prims, _name).default] = REGISTRY[getattr(aten, _name).default]
