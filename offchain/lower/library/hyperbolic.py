"""Hyperbolic functions and their inverses."""

from __future__ import annotations

from typing import Final

from offchain.ir.program import Value
from offchain.lower.library.basic import INF, NAN, clamp, horner, with_sign_of
from offchain.lower.library.exponential import exp_parts, exp_small
from offchain.lower.library.logarithm import log1p

_LN2: Final = 0.6931471805599453
_GREAT: Final = 2.0**25  # from here on x² + 1 is x², and 1 + x is x

# (tanh(x)/x − 1)/x² in x² on |x| ≤ 0.625:
_TANH: Final = (
    -0.33333277702331543,
    0.1333131343126297,
    -0.053727973252534866,
    0.020597970113158226,
    -0.005656316876411438,
)
# (sinh(x)/x − 1)/x² in x² on |x| ≤ 1:
_SINH: Final = (0.1666671633720398, 0.008330274373292923, 0.00020372832659631968)


def tanh(x: Value) -> Value:
    """Hyperbolic tangent; 2 ulp. A polynomial up to 0.625, then 1 − 2/(e^2x + 1)."""
    size = clamp(x.abs(), None, 10.0)
    z = size * size
    near = size * (z * horner(z, _TANH)) + size
    far = 1.0 - 2.0 / (exp_small(size + size) + 1.0)
    return with_sign_of(x, size.lt(0.625).where(near, far))


def _half_exp(x: Value) -> tuple[Value, Value]:
    """e^|x|/2 rounded, and the rest; finite as long as sinh and cosh are."""
    top, rest, n = exp_parts(clamp(x.abs(), None, 100.0))
    return top.ldexp(n - 1), rest.ldexp(n - 1)


def sinh(x: Value) -> Value:
    """Hyperbolic sine; 1.5 ulp. A polynomial up to 1, then e^x/2 − e^−x/2."""
    size = x.abs()
    z = size * size
    near = size * (z * horner(z, _SINH)) + size
    half, rest = _half_exp(x)
    return with_sign_of(x, size.lt(1.0).where(near, half + (rest - 0.25 / half)))


def cosh(x: Value) -> Value:
    """Hyperbolic cosine; 1.5 ulp."""
    half, rest = _half_exp(x)
    return half + (rest + 0.25 / half)


def _log1p_or_log2x(great: Value, near: Value, size: Value) -> Value:
    """ln(1 + near), or where x is great ln(2x)."""
    return log1p(great.where(size, near)) + great.where(near.program.real(_LN2), 0.0)


def asinh(x: Value) -> Value:
    """Inverse hyperbolic sine; 2.5 ulp. ln(1 + x + x²/(1 + √(x² + 1)))."""
    size = x.abs()
    z = size * size
    near = z / ((z + 1.0).sqrt() + 1.0) + size
    return with_sign_of(x, _log1p_or_log2x(size.ge(_GREAT), near, size))


def acosh(x: Value) -> Value:
    """Inverse hyperbolic cosine; 2.5 ulp. ln(1 + t + √(t(t + 2))) with t = x − 1; NaN below 1."""
    t = x - 1.0
    near = (t * (t + 2.0)).sqrt() + t
    return x.lt(1.0).where(NAN, _log1p_or_log2x(x.ge(_GREAT), near, x))


def atanh(x: Value) -> Value:
    """Inverse hyperbolic tangent; 2.5 ulp. ½·ln(1 + 2x/(1 − x)); NaN beyond ±1."""
    size = x.abs()
    value = log1p((size + size) / (1.0 - size)) * 0.5
    return with_sign_of(x, size.eq(1.0).where(INF, value))
