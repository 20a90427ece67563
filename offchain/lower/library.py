"""Library expansions: transcendental functions as fixed sequences of primitives.

Each states its largest error in units in the last place (ulp) of the correctly rounded result, as measured by
`tests/offchain/test_library.py` against float64 over all exponents. NaN, infinities, overflow, subnormals and
signed zeros are as in C99, Annex F. No fused multiply-add is assumed: constants that are subtracted in two
parts have so few bits in the first that its product with n is exact (Cody and Waite, 1980).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from offchain.errors import Unsupported
from offchain.lower.program import I32, Value

_LOG2E: Final = 1.4426950408889634
_EXP_LN2: Final = (0.693359375, -2.12194440e-4)  # ten bits, and the rest
_LOG_LN2: Final = (6.9313812256e-01, 9.0580006145e-06)  # seventeen bits, and the rest

# Minimax fits made for this file. (e^r − 1 − r)/r² on |r| ≤ ln2/2, relative to r:
_EXP: Final = (
    0.5,
    0.1666666716337204,
    0.04166635125875473,
    0.00833327230066061,
    1.3941206270828843e-3,
    1.9914448785e-4,
)
# erf(x)/x − 1 in x² on |x| ≤ 0.93:
_ERF: Final = (
    0.12837916612625122,
    -0.37612634897232056,
    0.11283691227436066,
    -0.026859119534492493,
    0.0052002607844769955,
    -8.133216178975999e-4,
    8.327489194925874e-05,
)
# ln(erfc(x)) on 0.93 ≤ x ≤ 4:
_LN_ERFC: Final = (
    -2.2278774122241884e-4,
    -1.1275627613067627,
    -0.6373738646507263,
    -0.10376222431659698,
    0.02214471995830536,
    -0.0030224670190364122,
    1.938098284881562e-4,
)
# (ln(1+f) − 2s)/s in s², s = f/(2+f), as in fdlibm's logf:
_LOG: Final = (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841)

_SIGN: Final = -(1 << 31)


def horner(x: Value, coefficients: Sequence[float]) -> Value:
    """c[0] + c[1]·x + c[2]·x² + …"""
    out = x.program.real(coefficients[-1])
    for c in reversed(coefficients[:-1]):
        out = out * x + c
    return out


def clamp(x: Value, low: float | None, high: float | None) -> Value:
    """NaN stays."""
    if low is not None:
        x = x.lt(low).where(low, x)
    if high is not None:
        x = x.gt(high).where(high, x)
    return x


def with_sign_of(x: Value, magnitude: Value) -> Value:
    """`magnitude` (not negative) with the sign bit of `x`."""
    return (magnitude.bits() | (x.bits() & _SIGN)).from_bits()


def _reduced(x: Value) -> tuple[Value, Value, Value]:
    """(r, e^r − 1, n) with x = n·ln2 + r, |r| ≤ ln2/2."""
    n = (x * _LOG2E).rint()
    r = x - n * _EXP_LN2[0] - n * _EXP_LN2[1]
    return r, r + r * r * horner(r, _EXP), n.to_int()


def exp(x: Value) -> Value:
    """e^x; 1 ulp."""
    _, less_one, n = _reduced(clamp(x, -150.0, 100.0))
    return (less_one + 1.0).ldexp(n)


def expm1(x: Value) -> Value:
    """e^x − 1; 2 ulp."""
    _, less_one, n = _reduced(clamp(x, -20.0, 89.0))
    # 2^128 is no float, but half of it and half of the rest are, until the last doubling
    half = n - 1
    sum_ = (less_one.ldexp(half) + (x.program.real(1.0).ldexp(half) - 0.5)).ldexp(x.program.whole(1))
    return x.abs().lt(2.0**-24).where(x, sum_)


def log(x: Value) -> Value:
    """ln x; 1 ulp. Zeros give −inf, negative numbers NaN."""
    tiny = x.lt(2.0**-126)
    bits = tiny.where(x * 2.0**23, x).bits()
    shifted = bits + (0x3F800000 - 0x3F3504F3)  # so that the mantissa starts at sqrt(1/2)
    exponent = ((shifted >> 23) - tiny.where(x.program.whole(127 + 23), 127)).to_float()
    f = ((shifted & 0x7FFFFF) + 0x3F3504F3).from_bits() - 1.0
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    rest = s * (half_square + z * horner(z, _LOG)) + exponent * _LOG_LN2[1]
    value = rest - half_square + f + exponent * _LOG_LN2[0]
    special = x.eq(0.0).where(float("-inf"), x.lt(0.0).where(float("nan"), x))
    ordinary = x.gt(0.0) & x.lt(float("inf"))
    return ordinary.where(value, special)


def log1p(x: Value) -> Value:
    """ln(1+x); 3 ulp. Corrects for the rounding of 1+x (Goldberg, 1991, theorem 4)."""
    up = x + 1.0
    corrected = log(up) * (x / (up - 1.0))
    plain = up.eq(1.0) | up.eq(float("inf"))
    return plain.where(x, up.eq(0.0).where(float("-inf"), corrected))


def tanh(x: Value) -> Value:
    """Hyperbolic tangent; 2 ulp. With e = e^(−2|x|): (1−e)/(1+e) near 0, where e−1 loses nothing, else 1 − 2e/(1+e)."""
    size = clamp(x.abs(), None, 10.0)
    _, less_one, n = _reduced(size * -2.0)
    scale = x.program.real(1.0).ldexp(n)
    part = less_one.ldexp(n)
    e = part + scale
    large = size.gt(0.55)
    quotient = large.where(e + e, part + (scale - 1.0)) / (e + 1.0)
    return with_sign_of(x, large.where(1.0 - quotient, quotient).abs())


def sigmoid(x: Value) -> Value:
    """1/(1+e^−x); 2.5 ulp, subnormal results included."""
    small = exp(-x.abs())
    return x.lt(0.0).where(small, 1.0) / (small + 1.0)


def erf(x: Value) -> Value:
    """Error function; 2 ulp."""
    size = clamp(x.abs(), None, 4.0)
    near = size * horner(size * size, _ERF) + size
    far = 1.0 - exp_small(horner(size, _LN_ERFC))
    return with_sign_of(x, size.gt(0.93).where(far, near))


def exp_small(x: Value) -> Value:
    """e^x for −80 ≤ x ≤ 80, without the clamps."""
    _, less_one, n = _reduced(x)
    return (less_one + 1.0).ldexp(n)


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
