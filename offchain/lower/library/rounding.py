"""Roundings, extrema, and integer division by constants."""

from __future__ import annotations

from offchain.errors import Unsupported
from offchain.lower.library.basic import with_sign_of
from offchain.lower.program import I32, Value


def rsqrt(x: Value) -> Value:
    """1/√x; 2 ulp."""
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


def multiply_high(x: Value, factor: int) -> Value:
    """High 32 bits of the unsigned 64-bit product with a constant, from 16-bit limbs."""
    low, high = x & 0xFFFF, x.shr(16)
    factor_low, factor_high = factor & 0xFFFF, factor >> 16
    middle = high * factor_low + (low * factor_low).shr(16)
    other = low * factor_high + (middle & 0xFFFF)
    return high * factor_high + middle.shr(16) + other.shr(16)


def floor_divide(x: Value, divisor: int) -> Value:
    """⌊x/divisor⌋ for any int32 and a positive constant: multiply-high by a rounded-up reciprocal, exact for 31 bits
    (Granlund and Montgomery, 1994). A negative x goes through ~x, since ⌊x/d⌋ = ~⌊~x/d⌋.
    """
    if divisor < 1:
        raise Unsupported(f"integer division by {divisor}; only positive constants are supported")
    if divisor & (divisor - 1) == 0:
        return x >> (divisor.bit_length() - 1)
    if divisor >= 1 << 31:
        return x >> 31
    shift = (divisor - 1).bit_length()
    magic = -(-(1 << (31 + shift)) // divisor)
    sign = x >> 31
    return _bounded(multiply_high(x ^ sign, magic).shr(shift - 1), x, divisor) ^ sign


def _bounded(quotient: Value, x: Value, divisor: int) -> Value:
    largest = max(abs(x.bounds[0]), abs(x.bounds[1])) // divisor
    return Value(quotient.program, quotient.id, quotient.dtype, (0, largest))


def remainder(x: Value, divisor: int) -> Value:
    """x − divisor·⌊x/divisor⌋, in [0, divisor)."""
    if divisor & (divisor - 1) == 0 and divisor > 0:
        return x & (divisor - 1)
    rest = x - floor_divide(x, divisor) * divisor
    return Value(rest.program, rest.id, rest.dtype, (0, divisor - 1))
