"""The exponential function and what is made of it."""

from __future__ import annotations

from typing import Final

from offchain.ir.program import Value
from offchain.lower.library.basic import clamp, fast_two_sum, horner

_LOG2E: Final = 1.4426950408889634
_LN2: Final = (0.693359375, -2.12194440e-4)  # ten bits, and the rest

# (e^r − 1 − r)/r² on |r| ≤ ln2/2, relative to r:
_EXP: Final = (
    0.5,
    0.1666666716337204,
    0.04166635125875473,
    0.00833327230066061,
    1.3941206270828843e-3,
    1.9914448785e-4,
)
# (2^g − 1)/g on |g| ≤ 1/2:
_EXP2: Final = (
    0.6931471824645996,
    0.24022650718688965,
    0.055503591895103455,
    0.009618065319955349,
    0.0013391174143180251,
    0.00015461677685379982,
)


def _reduced(x: Value) -> tuple[Value, Value]:
    """(e^r − 1, n) with x = n·ln2 + r, |r| ≤ ln2/2."""
    n = (x * _LOG2E).rint()
    r = x - n * _LN2[0] - n * _LN2[1]
    return r + r * r * horner(r, _EXP), n.to_int()


def exp_parts(x: Value) -> tuple[Value, Value, Value]:
    """(h, l, n) with e^x = (h + l)·2^n, where h is the rounded sum, for −2^16 < x < 2^16."""
    less_one, n = _reduced(x)
    return *fast_two_sum(x.program.real(1.0), less_one), n


def exp(x: Value) -> Value:
    """e^x; 1 ulp."""
    return exp_small(clamp(x, -150.0, 100.0))


def exp_small(x: Value) -> Value:
    """e^x for −150 ≤ x ≤ 100, without the clamps; 1 ulp."""
    less_one, n = _reduced(x)
    return (less_one + 1.0).ldexp(n)


def exp_of_sum(big: Value, small: Value, factor: Value) -> Value:
    """factor·e^(big + small) for |big| < 2^16, |small| ≤ 1 and a factor near 1, so that small results round once."""
    n = (big * _LOG2E).rint()
    r = (big - n * _LN2[0]) + (small - n * _LN2[1])
    return ((r + r * r * horner(r, _EXP) + 1.0) * factor).ldexp(n.to_int())


def exp2(x: Value) -> Value:
    """2^x; 1.5 ulp."""
    return exp2_of_sum(clamp(x, -200.0, 200.0), x.program.real(0.0))


def exp2_of_sum(big: Value, small: Value) -> Value:
    """2^(big + small) for |big| < 2^16, |small| ≤ 1; 1.5 ulp."""
    n = (big + small).rint()
    g = (big - n) + small
    return (g * horner(g, _EXP2) + 1.0).ldexp(n.to_int())


def expm1(x: Value) -> Value:
    """e^x − 1; 2 ulp."""
    less_one, n = _reduced(clamp(x, -20.0, 89.0))
    # 2^128 is no float, but half of it and half of the rest are, until the last doubling
    half = n - 1
    total = (less_one.ldexp(half) + (x.program.real(1.0).ldexp(half) - 0.5)).ldexp(x.program.whole(1))
    return x.abs().lt(2.0**-24).where(x, total)


def sigmoid(x: Value) -> Value:
    """1/(1 + e^−x), below 0 as e^x/(1 + e^x); 1.5 ulp.

    The quotient is corrected for what the roundings of e^−|x| and of its sum with 1 have lost.
    """
    top, rest, n = exp_parts(clamp(-x.abs(), -110.0, None))
    bottom, lost = fast_two_sum(x.program.real(1.0), top.ldexp(n))
    negative = x.lt(0.0)
    quotient = negative.where(top, 1.0) / bottom
    missing = negative.where(rest, 0.0) - quotient * (lost + rest.ldexp(n))
    return (missing / bottom + quotient).ldexp(negative.where(n, 0))
