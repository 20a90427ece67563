"""What all library functions share: polynomials, signs, sums and products of two words.

There is no fused multiply-add. A number is split into a head of 12 bits and a tail, so that products of heads are
exact (Dekker, 1971), and constants that are subtracted in parts have so few bits in each that its product with an
integer is exact (Cody and Waite, 1980).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from offchain.ir.program import Value

_SIGN: Final = -(1 << 31)
_HEAD: Final = -(1 << 12)
INF: Final = float("inf")
NAN: Final = float("nan")

Pair = tuple[Value, Value]  # an unevaluated sum, the second far smaller than the first


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


def sign_bit(x: Value) -> Value:
    return x.bits() & _SIGN


def with_sign_of(x: Value, magnitude: Value) -> Value:
    """`magnitude` (not negative) with the sign bit of `x`."""
    return (magnitude.bits() | sign_bit(x)).from_bits()


def head(x: Value) -> Value:
    """The first 12 bits of x, so that products of two heads are exact."""
    return (x.bits() & _HEAD).from_bits()


def fast_two_sum(a: Value, b: Value) -> Pair:
    """a + b, rounded, and the rounding error, for |a| ≥ |b|, a = 0, or a a multiple of b's last place (Dekker)."""
    total = a + b
    return total, (a - total) + b
