"""Logarithms, and powers as 2^(y·log2 x) with a logarithm of some 36 bits."""

from __future__ import annotations

from typing import Final

from offchain.ir.program import Value
from offchain.lower.library.basic import INF, NAN, Pair, clamp, fast_two_sum, head, horner, sign_bit
from offchain.lower.library.exponential import exp2_of_sum, exp_parts

_LN2: Final = (6.9313812256e-01, 9.0580006145e-06)  # seventeen bits, and the rest
_TWO_LOG2E: Final = (2.8857421875, -0.000352105722073)  # twelve bits, and the rest
_LOG10_2: Final = (0.301025390625, 4.6050389811952137e-06)  # eleven bits, and the rest

# (ln(1+f) − 2s)/s in s², s = f/(2+f), as in fdlibm's logf:
_LOG: Final = (0.66666662693, 0.40000972152, 0.28498786688, 0.24279078841)
# (artanh(s)/s − 1)/s² in s² on |s| ≤ 0.172:
_ARTANH: Final = (0.3333333134651184, 0.20000486075878143, 0.14249396324157715, 0.12139414995908737)

_ONE: Final = 0x3F800000
_SQRT_HALF: Final = 0x3F3504F3


def _split(x: Value, subnormal: bool = True) -> Pair:
    """(k, f) with x = 2^k·(1 + f), 1 + f from √½ to √2, for finite x > 0."""
    bits, bias = x.bits(), x.program.whole(127)
    if subnormal:
        tiny = x.lt(2.0**-126)
        bits, bias = tiny.where(x * 2.0**23, x).bits(), tiny.where(bias + 23, bias)
    shifted = bits + (_ONE - _SQRT_HALF)
    return ((shifted >> 23) - bias).to_float(), ((shifted & 0x7FFFFF) + _SQRT_HALF).from_bits() - 1.0


def _log_sum(k: Value, f: Value, rest: Value | None = None) -> Value:
    """k·ln2 + ln(1 + f) + rest."""
    s = f / (f + 2.0)
    z = s * s
    half_square = f * f * 0.5
    low = k * _LN2[1]
    low = low if rest is None else low + rest
    return s * (half_square + z * horner(z, _LOG)) + low - half_square + f + k * _LN2[0]


def _on_positive(x: Value, value: Value) -> Value:
    """`value` where x is positive and finite; −inf at zeros, NaN below, x for inf and NaN."""
    special = x.eq(0.0).where(-INF, x.lt(0.0).where(NAN, x))
    return (x.gt(0.0) & x.lt(INF)).where(value, special)


def log(x: Value) -> Value:
    """ln x; 1 ulp. Zeros give −inf, negative numbers NaN."""
    return _on_positive(x, _log_sum(*_split(x)))


def _log1p(x: Value, rest: Value | None = None) -> Value:
    """ln(1 + x + rest) for x > −1, from ln of the rounded sum and the derivative times what the rounding lost."""
    up = x + 1.0
    part = up - x
    lost = (x - (up - part)) + (1.0 - part)  # two-sum (Knuth): exact whichever is greater
    lost = lost if rest is None else lost + rest
    k, f = _split(up, subnormal=False)
    near = k.eq(0.0)
    return _log_sum(k, near.where(x, f), near.where(0.0 if rest is None else rest, lost) / up)


def log1p(x: Value) -> Value:
    """ln(1 + x); 1 ulp."""
    up = x + 1.0
    return up.eq(1.0).where(x, _on_positive(up, _log1p(x)))


def softplus(x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    """ln(1 + e^(βx))/β, and x where βx > threshold; 2 ulp for β = 1, of βx rounded otherwise.

    As max(z, 0) + ln(1 + e^−|z|), where the logarithm corrects for the rounding of the exponential.
    """
    z = x * beta
    top, rest, n = exp_parts(clamp(-z.abs(), -110.0, None))
    total = z.gt(0.0).where(z, 0.0) + _log1p(top.ldexp(n), rest.ldexp(n))
    return z.gt(threshold).where(x, total / beta)


def _log2_sum(x: Value) -> Pair:
    """log2 x, as a rounded sum and the rest, for finite x > 0: 2/ln2·artanh(s), with s = f/(2+f) in two words."""
    k, f = _split(x)
    below, lost = fast_two_sum(x.program.real(2.0), f)
    s = f / below
    s_head, below_head = head(s), head(below)
    s_rest = ((f - s_head * below_head) - s_head * ((below - below_head) + lost)) / below
    z = s * s
    tail = s_rest + s * (z * horner(z, _ARTANH))
    total, error = fast_two_sum(k, s_head * _TWO_LOG2E[0])
    return fast_two_sum(total, (s_head * _TWO_LOG2E[1] + tail * sum(_TWO_LOG2E)) + error)


def log2(x: Value) -> Value:
    """Binary logarithm; 1 ulp, exact for powers of two."""
    return _on_positive(x, _log2_sum(x)[0])


def log10(x: Value) -> Value:
    """Decimal logarithm; 1 ulp."""
    big, small = _log2_sum(x)
    big_head = head(big)
    rest = big_head * _LOG10_2[1] + ((big - big_head) + small) * sum(_LOG10_2)
    return _on_positive(x, big_head * _LOG10_2[0] + rest)


def power(x: Value, y: Value) -> Value:
    """x^y; 8 ulp. Special cases as in C99, F.9.4.4: 1^y and x^0 are 1 even for NaN."""
    size = x.abs()
    whole, half = y.rint().eq(y), y * 0.5
    odd = whole & half.rint().ne(half)
    at_zero = size.eq(0.0)
    to_zero = at_zero ^ y.lt(0.0)
    ends = to_zero.where(x.program.real(0.0), INF)
    magnitude = (at_zero | size.eq(INF)).where(ends, _power_of_positive(size, y))
    value = (magnitude.bits() | odd.where(sign_bit(x), 0)).from_bits()
    undefined = (x.lt(0.0) & size.lt(INF) & whole.negated()) | x.ne(x) | y.ne(y)
    return (x.eq(1.0) | y.eq(0.0)).where(1.0, undefined.where(NAN, value))


def _power_of_positive(x: Value, y: Value) -> Value:
    """x^y for finite x > 0. Beyond 2^32, y gives 1, 0 or infinity whatever it is."""
    big, small = _log2_sum(x)
    y = clamp(y, -(2.0**32), 2.0**32)
    x_head, y_head = head(big), head(y)
    rest = (y - y_head) * x_head + y * ((big - x_head) + small)
    return exp2_of_sum(clamp(x_head * y_head, -300.0, 300.0), clamp(rest, -1.0, 1.0))
