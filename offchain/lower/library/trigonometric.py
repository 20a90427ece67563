"""Sine, cosine and tangent, with Cody and Waite's reduction by π/2 in six parts.

Up to |x| = 10^5 the multiple n of π/2 has 16 bits and the first five parts 8, so that their products are exact, and
so are the first two differences; from then on a second word keeps what the differences lose. So the reduced argument
has full relative precision even where x is next to a multiple of π/2. Beyond, it is off by some spacings of x, and is
clamped, so that values still are sines and cosines of something.
"""

from __future__ import annotations

from typing import Final

from offchain.ir.program import Value
from offchain.lower.library.basic import Pair, clamp, fast_two_sum, horner

_TWO_OVER_PI: Final = 0.6366197723675814
_HALF_PI: Final = (
    1.5703125,
    0.000484466552734375,
    -6.407499313354492e-07,
    9.89530235528946e-10,
    2.5579538487363607e-12,
    5.390302953474238e-15,
)
_LIMIT: Final = 0.7925  # π/4, and what the rounding of n adds

# (sin(r)/r − 1)/r², and (cos(r) − 1 + r²/2)/r⁴, in r² on |r| ≤ _LIMIT:
_SIN: Final = (-0.16666653752326965, 0.008332104422152042, -0.00019507382239680737)
_COS: Final = (0.04166664555668831, -0.0013887302484363317, 2.4430906705674715e-05)


def _reduced(x: Value) -> tuple[Pair, Value]:
    """(r, rest), q: x = n·π/2 + r + rest, |r| ≤ _LIMIT; q is n mod 4, from −2 to 2."""
    n = (x * _TWO_OVER_PI).rint()
    r = x - n * _HALF_PI[0] - n * _HALF_PI[1]
    rest = n * -_HALF_PI[5]
    for part in _HALF_PI[2:5]:
        r, lost = fast_two_sum(r, n * -part)
        rest = lost + rest
    r, rest = fast_two_sum(r, rest)
    inside = clamp(r, -_LIMIT, _LIMIT)
    return (inside, inside.eq(r).where(rest, 0.0)), (n - (n * 0.25).rint() * 4.0).to_int()


def _sine(r: Value, rest: Value) -> Value:
    z = r * r
    return r + (r * (z * horner(z, _SIN)) + rest)


def _cosine(r: Value, rest: Value) -> Value:
    z = r * r
    half = z * 0.5
    main, lost = fast_two_sum(r.program.real(1.0), -half)
    return main + (lost + (z * (z * horner(z, _COS)) - r * rest))


def _turned(r: Pair, quarter: Value) -> Value:
    """sin(r + quarter·π/2)."""
    value = (quarter & 1).where(_cosine(*r), _sine(*r))
    return (value.bits() ^ ((quarter & 2) << 30)).from_bits()


def sin(x: Value) -> Value:
    """Sine; 1 ulp for |x| ≤ 10^5, NaN for infinities."""
    return x.eq(0.0).where(x, _turned(*_reduced(x)))


def cos(x: Value) -> Value:
    """Cosine; 1 ulp for |x| ≤ 10^5, NaN for infinities."""
    r, quarter = _reduced(x)
    return _turned(r, quarter + 1)


def tan(x: Value) -> Value:
    """Tangent; 3 ulp for |x| ≤ 10^5, NaN for infinities."""
    r, quarter = _reduced(x)
    odd = quarter & 1
    sine, cosine = _sine(*r), _cosine(*r)
    value = odd.where(cosine, sine) / odd.where(sine, cosine)
    return x.eq(0.0).where(x, (value.bits() ^ (odd << 31)).from_bits())
