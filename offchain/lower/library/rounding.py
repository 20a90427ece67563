"""Roundings and extrema."""

from __future__ import annotations

from offchain.ir.program import I32, Value
from offchain.lower.library.basic import INF, with_sign_of


def rsqrt(x: Value) -> Value:
    """1/√x; 1.5 ulp."""
    return 1.0 / x.sqrt()


def reciprocal(x: Value) -> Value:
    """1/x, correctly rounded."""
    return 1.0 / x


def floor(x: Value) -> Value:
    whole = x.rint()
    return with_sign_of_zero(x, whole - whole.gt(x).to_float())


def ceil(x: Value) -> Value:
    return -floor(-x)


def trunc(x: Value) -> Value:
    size = x.abs()
    whole = size.rint()
    return with_sign_of(x, whole - whole.gt(size).to_float())


def with_sign_of_zero(x: Value, whole: Value) -> Value:
    """`whole`, but −0 where x is −0."""
    return x.eq(0.0).where(x, whole)


def hypot(x: Value, y: Value) -> Value:
    """√(x² + y²) without overflow of the squares; 1.5 ulp. Infinite if either is, even if the other is NaN."""
    x, y = x.abs(), y.abs()
    infinite = x.eq(INF) | y.eq(INF)
    exponent = (maximum(x, y).bits() >> 23) - 127
    down = 0 - exponent
    a, b = x.ldexp(down), y.ldexp(down)
    return infinite.where(INF, (a * a + b * b).sqrt().ldexp(exponent))


def maximum(a: Value, b: Value) -> Value:
    """The greater; NaN if either is."""
    if a.dtype is I32:
        return a.lt(b).where(b, a)
    return (a.lt(b) | b.ne(b)).where(b, a)


def minimum(a: Value, b: Value) -> Value:
    """The lesser; NaN if either is."""
    if a.dtype is I32:
        return b.lt(a).where(b, a)
    return (b.lt(a) | b.ne(b)).where(b, a)


def fmax(a: Value, b: Value) -> Value:
    """The greater; the other where one is NaN."""
    return (a.lt(b) | a.ne(a)).where(b, a)


def fmin(a: Value, b: Value) -> Value:
    """The lesser; the other where one is NaN."""
    return (b.lt(a) | a.ne(a)).where(b, a)
