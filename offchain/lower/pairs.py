"""Complex numbers while a step is captured: pairs of real tensors. No graph holds one.

An operation with a complex operand or result is looked up here first. Views, sums and what else treats both parts
alike is lowered as for real tensors, once for each part. Formulas are those of C99, Annex G, without its cases for
infinities.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeVar

import torch
from torch.fx import Node, map_arg

from offchain.errors import Unsupported
from offchain.ir.program import F32, Value
from offchain.lower import library
from offchain.lower.builder import GraphBuilder
from offchain.lower.refs import Complex, Ref
from offchain.lower.registry import REGISTRY, Context, Lower, instead
from offchain.lower.shapes import concatenated

aten, prims = torch.ops.aten, torch.ops.prims
PAIRED: Final[dict[Any, Lower]] = {}
L = TypeVar("L", bound=Lower)
_ALIKE: Final = frozenset(
    operation
    for packet in (
        *(aten.permute, aten.t, aten.transpose, aten.expand, aten.view, aten.reshape, aten._unsafe_view, aten.unbind),
        *(aten._reshape_alias, aten.squeeze, aten.unsqueeze, aten.view_copy, aten.slice, aten.select, aten.flip),
        *(aten.roll, aten.repeat, aten.unfold, aten.diagonal, aten.split_with_sizes, aten.cat),
        *(aten.slice_scatter, aten.select_scatter, aten.as_strided, aten.diagonal_scatter, aten.gather, aten.index),
        *(aten.index_select, aten.embedding, aten.index_put, aten.scatter_add, aten.neg, aten.sum, aten.mean),
        *(aten.cumsum, aten.clone, aten.detach, aten.alias, aten.lift_fresh_copy, aten.copy, aten.copy_),
        *(aten.zeros, aten.zeros_like, aten.new_zeros, aten.empty, aten.empty_like),
        *(aten.empty_permuted, aten.empty_strided, aten.new_empty, aten.lift_fresh),
    )
    for operation in (getattr(packet, name) for name in packet.overloads())  # type: ignore[no-untyped-call]
)


def lowered(c: Context, node: Node) -> Any:
    """Lower an operation on complex numbers. Raises Unsupported."""
    args: Any = map_arg(node.args, lambda n: c.values[n])
    kwargs: Any = map_arg(node.kwargs, lambda n: c.values[n])
    if args and isinstance(args[0], complex) and node.target is not aten.scalar_tensor.default:
        args = (Complex.of(args[0]), *args[1:])  # a number in place of a tensor
    if node.target in PAIRED:
        return PAIRED[node.target](c, *args, **kwargs)
    if node.target not in _ALIKE or node.target not in REGISTRY:
        if not any(isinstance(c.values[n], Complex) for n in node.all_input_nodes):
            raise Unsupported("not supported; " + instead(str(node.target)))
        raise Unsupported("not supported for complex numbers; write it with real and imaginary parts (.real, .imag)")
    parts = [REGISTRY[node.target](c, *_part(args, imag), **_part(kwargs, imag)) for imag in (False, True)]
    if isinstance(parts[0], Ref):
        return Complex(*parts)
    return [Complex(real, imag) for real, imag in zip(*parts, strict=True)]


def _part(given: Any, imag: bool) -> Any:
    """Arguments with complex tensors replaced by one part of them; real ones have no imaginary part."""
    if isinstance(given, Complex):
        return given.imag if imag else given.real
    if isinstance(given, Ref):
        return Ref.constant(F32, 0.0, given.shape) if imag and given.dtype is F32 else given
    if isinstance(given, dict):
        return {name: _part(value, imag) for name, value in given.items()}
    return type(given)(_part(value, imag) for value in given) if isinstance(given, list | tuple) else given


def pairs(*operations: Any) -> Callable[[L], L]:
    """Register a lowering of operations on complex numbers."""

    def register(lower: L) -> L:
        PAIRED.update(dict.fromkeys(operations, lower))
        return lower

    return register


def mapped(c: Context, real: Callable[..., Value], imag: Callable[..., Value], *operands: Any) -> Complex:
    """Both parts as functions of the parts of all operands."""
    refs = [part for operand in map(Complex.of, operands) for part in (operand.real, operand.imag)]

    def floats(f: Callable[..., Value]) -> Callable[..., Value]:
        return lambda *values: f(*(value.cast(F32) for value in values))

    return Complex(c.builder.map(floats(real), *refs), c.builder.map(floats(imag), *refs))


@pairs(aten.complex.default)
def _complex(c: Context, real: Ref, imag: Ref) -> Complex:
    parts = (c.builder.map(_first, real, imag), c.builder.map(_second, real, imag))
    return Complex(*parts)


def _first(a: Value, b: Value) -> Value:
    return a


def _second(a: Value, b: Value) -> Value:
    return b


@pairs(aten.polar.default)
def _polar(c: Context, size: Ref, angle: Ref) -> Complex:
    return Complex(
        c.builder.map(lambda r, a: r * library.cos(a), size, angle),
        c.builder.map(lambda r, a: r * library.sin(a), size, angle),
    )


@pairs(aten.view_as_complex.default)
def _view_as_complex(c: Context, x: Ref) -> Complex:
    last = len(x.shape) - 1
    real, imag = (x.slice(last, i, 1).squeeze([last]) for i in (0, 1))
    return Complex(real, imag)


@pairs(aten.view_as_real.default)
def _view_as_real(c: Context, z: Complex) -> Ref:
    last = len(z.shape)
    return concatenated(c.builder, [part.unsqueeze(last) for part in (z.real, z.imag)], last, F32)


@pairs(aten.real.default)
def _real(c: Context, z: Complex) -> Ref:
    return z.real


@pairs(aten.imag.default)
def _imag(c: Context, z: Complex) -> Ref:
    return z.imag


@pairs(aten._neg_view.default)
def _neg_view(c: Context, z: Complex) -> Complex:
    return Complex(*(c.builder.map(lambda v: -v, part) for part in (z.real, z.imag)))


@pairs(aten._conj.default, aten.conj_physical.default, aten._conj_physical.default)
def _conj(c: Context, z: Complex) -> Complex:
    return Complex(z.real, c.builder.map(lambda v: -v, z.imag))


@pairs(aten._to_copy.default, prims.convert_element_type.default)
def _to_copy(c: Context, x: Ref | Complex, *_: Any, **__: Any) -> Ref | Complex:
    """From complex to real numbers torch drops the imaginary part, with a warning."""
    if c.torch_dtype.is_complex:
        return Complex.of(x if isinstance(x, Complex) else c.builder.map(lambda v: v.cast(F32), x))
    if c.torch_dtype is torch.bool:
        z = Complex.of(x)
        return c.builder.map(lambda a, b: a.truth() | b.truth(), z.real, z.imag)
    return c.builder.map(lambda v: v.cast(c.dtype), Complex.of(x).real)


@pairs(aten.add.Tensor, aten.add.Scalar)
def _add(c: Context, a: Any, b: Any, alpha: complex = 1) -> Complex:
    other = b if alpha == 1 else _mul(c, Complex.of(b), alpha)
    return mapped(c, lambda p, q, r, s: p + r, lambda p, q, r, s: q + s, a, other)


@pairs(aten.sub.Tensor, aten.sub.Scalar)
def _sub(c: Context, a: Any, b: Any, alpha: complex = 1) -> Complex:
    return _add(c, a, b, -alpha)


@pairs(aten.rsub.Tensor, aten.rsub.Scalar)
def _rsub(c: Context, a: Any, b: Any, alpha: complex = 1) -> Complex:
    return _add(c, b, a, -alpha)


@pairs(aten.where.self, aten.where.ScalarOther, aten.where.ScalarSelf)
def _where(c: Context, condition: Ref, yes: Any, no: Any) -> Complex:
    a, b = Complex.of(yes), Complex.of(no)

    def pick(chosen: Value, one: Value, other: Value) -> Value:
        return chosen.where(one.cast(F32), other.cast(F32))

    return Complex(c.builder.map(pick, condition, a.real, b.real), c.builder.map(pick, condition, a.imag, b.imag))


@pairs(aten.masked_fill.Scalar, aten.masked_fill.Tensor)
def _masked_fill(c: Context, z: Complex, mask: Ref, value: Any) -> Complex:
    return _where(c, mask, value, z)


@pairs(aten.full.default, aten.full_like.default)
def _full(c: Context, _: Any, value: complex, **__: Any) -> Complex:
    return _filled(c, value)


@pairs(aten.ones.default, aten.ones_like.default, aten.new_ones.default)
def _ones(c: Context, *_: Any, **__: Any) -> Complex:
    return _filled(c, 1)


@pairs(aten.scalar_tensor.default)
def _scalar_tensor(c: Context, value: complex, **_: Any) -> Complex:
    return _filled(c, value)


def _filled(c: Context, value: complex) -> Complex:
    number = complex(value)
    return Complex(Ref.constant(F32, number.real, c.shape), Ref.constant(F32, number.imag, c.shape))


@pairs(aten.constant_pad_nd.default)
def _pad(c: Context, z: Complex, pad: Any, value: complex = 0) -> Complex:
    if value:
        raise Unsupported(f"pads complex numbers with {value}; pad with 0, and add the rest by torch.where")
    return Complex(*(REGISTRY[aten.constant_pad_nd.default](c, part, pad) for part in (z.real, z.imag)))


@pairs(aten.mul.Tensor, aten.mul.Scalar)
def _mul(c: Context, a: Any, b: Any) -> Complex:
    if not isinstance(b, Complex):
        a, b = b, a
    if isinstance(a, Ref | float | int):  # a real factor
        factor = a if isinstance(a, Ref) else Ref.constant(F32, a)
        parts = (c.builder.map(lambda v, by: v * by.cast(F32), part, factor) for part in (b.real, b.imag))
        return Complex(*parts)
    return mapped(c, lambda p, q, r, s: p * r - q * s, lambda p, q, r, s: p * s + q * r, a, b)


@pairs(aten.div.Tensor, aten.div.Scalar)
def _div(c: Context, a: Any, b: Any) -> Complex:
    """By a real number each part; else by the divisor scaled to a size of 1 to 2, so that its square stays finite."""
    if not isinstance(b, Complex):
        by = b if isinstance(b, Ref) else Complex.of(b).real if not isinstance(b, complex) else None
        if by is not None:
            parts = (c.builder.map(lambda v, d: v / d.cast(F32), part, by) for part in (a.real, a.imag))
            return Complex(*parts)

    def quotient(numerator: Callable[..., Value]) -> Callable[..., Value]:
        def program(p: Value, q: Value, r: Value, s: Value) -> Value:
            down = 127 - (library.maximum(r.abs(), s.abs()).bits() >> 23)
            r, s = r.ldexp(down), s.ldexp(down)
            return (numerator(p, q, r, s) / (r * r + s * s)).ldexp(down)

        return program

    real, imag = quotient(lambda p, q, r, s: p * r + q * s), quotient(lambda p, q, r, s: q * r - p * s)
    return mapped(c, real, imag, a, b)


@pairs(aten.reciprocal.default)
def _reciprocal(c: Context, z: Complex) -> Complex:
    return _div(c, 1.0, z)


@pairs(aten.pow.Tensor_Scalar)
def _pow(c: Context, z: Complex, exponent: float | complex) -> Complex:
    if exponent not in (1, 2, 3, 4, -1):
        raise Unsupported(f"a complex number to the power {exponent}; use torch.exp of a multiple of its logarithm")
    if exponent == -1:
        return _reciprocal(c, z)
    out = z
    for _ in range(int(complex(exponent).real) - 1):
        out = _mul(c, out, z)
    return out


@pairs(aten.abs.default)
def _abs(c: Context, z: Complex) -> Ref:
    return c.builder.map(library.hypot, z.real, z.imag)


@pairs(aten.angle.default)
def _angle(c: Context, z: Complex) -> Ref:
    return c.builder.map(lambda a, b: library.atan2(b, a), z.real, z.imag)


@pairs(aten.sgn.default)
def _sgn(c: Context, z: Complex) -> Complex:
    size = _abs(c, z)
    parts = (c.builder.map(lambda v, n: n.eq(0.0).where(0.0, v / n), part, size) for part in (z.real, z.imag))
    return Complex(*parts)


@pairs(aten.exp.default)
def _exp(c: Context, z: Complex) -> Complex:
    return _polar(c, c.builder.map(library.exp, z.real), z.imag)


@pairs(aten.log.default)
def _log(c: Context, z: Complex) -> Complex:
    return Complex(c.builder.map(library.log, _abs(c, z)), _angle(c, z))


@pairs(aten.eq.Tensor, aten.eq.Scalar)
def _eq(c: Context, a: Any, b: Any) -> Ref:
    return mapped(c, lambda p, q, r, s: p.eq(r) & q.eq(s), lambda p, *_: p, a, b).real


@pairs(aten.ne.Tensor, aten.ne.Scalar)
def _ne(c: Context, a: Any, b: Any) -> Ref:
    return c.builder.map(lambda v: v.negated(), _eq(c, a, b))


def product(builder: GraphBuilder, a: Complex, b: Complex, bits: int | None = None) -> Complex:
    """Σ_k a·b over the last axis of both: each part is one sum of 2K terms."""
    axis = len(a.shape) - 1

    def joined(*parts: Ref) -> Ref:
        return concatenated(builder, [builder.solid(part) for part in parts], axis, F32)

    minus = builder.map(lambda v: -v, b.imag)
    rows = joined(a.real, a.imag)
    return Complex(builder.dot(rows, joined(b.real, minus), bits), builder.dot(rows, joined(b.imag, b.real), bits))


@pairs(aten.mm.default)
def _mm(c: Context, a: Any, b: Any) -> Complex:
    left, right = Complex.of(a), Complex.of(b)
    return product(
        c.builder,
        Complex(left.real.unsqueeze(1), left.imag.unsqueeze(1)),
        Complex(right.real.permute([1, 0]).unsqueeze(0), right.imag.permute([1, 0]).unsqueeze(0)),
    )


@pairs(aten.bmm.default)
def _bmm(c: Context, a: Any, b: Any) -> Complex:
    left, right = Complex.of(a), Complex.of(b)
    return product(
        c.builder,
        Complex(left.real.unsqueeze(2), left.imag.unsqueeze(2)),
        Complex(right.real.permute([0, 2, 1]).unsqueeze(1), right.imag.permute([0, 2, 1]).unsqueeze(1)),
    )


@pairs(aten.mv.default, aten.dot.default)
def _mv(c: Context, a: Any, b: Any) -> Complex:
    left, right = Complex.of(a), Complex.of(b)
    if len(left.shape) > len(right.shape):
        right = Complex(right.real.unsqueeze(0), right.imag.unsqueeze(0))
    return product(c.builder, left, right)
