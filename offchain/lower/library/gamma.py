"""The logarithm of the gamma function, and its first two derivatives.

Each is made for x ≥ 0 from polynomials beside the zeros of the function, from recurrence, and from Stirling's series
for large x. Negative numbers are reflected; there the error is absolute, since the zeros are anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import factorial, pi
from typing import Final

import numpy as np

from offchain.ir.program import Value
from offchain.lower.library.basic import INF, NAN, horner
from offchain.lower.library.logarithm import log

# lnΓ(x)/((x − 1)(x − 2)) in x − 2 on 1 ≤ x ≤ 3:
_LN_GAMMA: Final = (
    0.42278432846069336,
    -0.10031726956367493,
    0.03296562656760216,
    -0.012384976260364056,
    0.004991547204554081,
    -0.002102052327245474,
    0.0009443358867429197,
    -0.0004255954409018159,
    0.00013058734475634992,
    -5.2392977522686124e-05,
    7.819374150130898e-05,
    -3.8744536141166463e-05,
)
# x·(lnΓ(x) − (x − ½)·ln x + x − ½·ln 2π) in 1/x² for x ≥ 8:
_STIRLING: Final = (0.0833333358168602, -0.0027777778450399637, 0.0007936457404866815)
_HALF_LN_TAU_LESS_HALF: Final = 0.4189385332046727
# ψ(x)/(x − its zero) in x − 1.5 on 1 ≤ x ≤ 2, and the zero in two words:
_DIGAMMA: Final = (
    0.9510558843612671,
    -0.42362749576568604,
    0.24054262042045593,
    -0.14839878678321838,
    0.0949820801615715,
    -0.06205707788467407,
    0.04087933525443077,
    -0.025781013071537018,
    0.01698041707277298,
    -0.016384093090891838,
    0.011118639260530472,
)
_ZERO: Final = (1.4616321325302124, 1.2438149938918909e-08)
# x²·(ln x − 1/(2x) − ψ(x)), and x³·(ψ′(x) − 1/x − 1/(2x²)), in 1/x² for x ≥ 4:
_FAR: Final = (0.0833333358168602, -0.008333331905305386, 0.003968024160712957, -0.004150043241679668)
_FAR_SLOPE: Final = (0.1666666716337204, -0.033333320170640945, 0.023806612938642502, -0.033121101558208466)
# sin(πr)/(πr) and cos(πr)/(¼ − r²) in r² on |r| ≤ ½:
_SIN_PI: Final = (1.0, -1.6449331045150757, 0.811712384223938, -0.19042637944221497, 0.02468823827803135)
_COS_PI: Final = (4.0, -3.7392079830169678, 1.2779897451400757, -0.22873854637145996, 0.024154096841812134)
MOST_DERIVATIVES: Final = 4  # of digamma
_TERMS: Final = 6  # of the sum for its derivatives from the second on, before its rest
_BERNOULLI: Final = (1 / 6, -1 / 30, 1 / 42, -1 / 30)
_TINY: Final = 2.0**-60
_WHOLE: Final = 2.0**23  # from here on all numbers are integers: poles, on the negative side


def _turn(a: Value) -> tuple[Value, Value]:
    """|a − its nearest integer|, and sin(πa)/π without its sign."""
    r = (a - a.rint()).abs()
    return r, r * horner(r * r, _SIN_PI)


def _ln_gamma_above(a: Value) -> Value:
    """ln Γ(a) for a ≥ 0."""
    small, far = a.lt(1.0), a.ge(8.0)
    y, product = far.where(2.5, a), a.program.real(1.0)
    for _ in range(5):
        lower = y - 1.0
        more = y.ge(3.0)
        product, y = more.where(product * lower, product), more.where(lower, y)
    before, middle = small.where(a, y - 1.0), small.where(a - 1.0, y - 2.0)
    logarithm = log((small | far).where(a, product))
    near = before * middle * horner(middle, _LN_GAMMA) + small.where(-logarithm, logarithm)
    part = 1.0 / a
    series = part * horner(part * part, _STIRLING) + _HALF_LN_TAU_LESS_HALF
    return far.where((a - 0.5) * (logarithm - 1.0) + series, near)


def lgamma(x: Value) -> Value:
    """ln |Γ(x)|; 3 ulp for x ≥ 0, else within 1e-6·(1 + |ln|Γ(x)||). At integers up to 0 +inf."""
    a = x.abs()
    above = _ln_gamma_above(a)
    _, sine = _turn(a)
    reflected = a.lt(_WHOLE).where(-log(a * sine) - above, INF)
    return (x.lt(0.0) & a.gt(_TINY)).where(reflected, above)


def digamma(x: Value) -> Value:
    """Γ′(x)/Γ(x); 4 ulp for x ≥ 0, else within 1e-6 of its largest term. ∓inf at ±0, NaN at negative integers."""
    a = x.abs()
    small, far = a.lt(1.0), a.ge(4.0)
    part = 1.0 / a
    below, twice = a - 1.0, a.ge(3.0)
    y = small.where(a + 1.0, a.lt(2.0).where(a, twice.where(a - 2.0, below)))
    steps = 1.0 / y
    steps = twice.where(steps + 1.0 / below, steps)
    added = small.where(-part, a.lt(2.0).where(0.0, steps))
    near = (y - _ZERO[0] - _ZERO[1]) * horner(y - 1.5, _DIGAMMA) + added
    above = far.where(log(a) - part * 0.5 - part * part * horner(part * part, _FAR), near)
    r, sine = _turn(a)
    cosine = (0.5 - r) * (r + 0.5) * horner(r * r, _COS_PI)
    falling = (a - a.rint()).lt(0.0).where(-cosine, cosine)
    reflected = r.eq(0.0).where(NAN, above + part + falling / sine)
    return a.le(_TINY).where(-1.0 / x, x.lt(0.0).where(reflected, above))


def trigamma(x: Value) -> Value:
    """The derivative of digamma; 3 ulp for x ≥ 0, else within 1e-6 of its largest term. +inf at integers up to 0."""
    a = x.abs()
    small = a.lt(4.0)
    first = 1.0 / a
    rest = x.program.real(0.0)
    for n in (3.0, 2.0, 1.0):
        part = 1.0 / (a + n)
        rest = rest + part * part
    b = 1.0 / small.where(a + 4.0, a)
    series = b * (b * (b * horner(b * b, _FAR_SLOPE) + 0.5) + 1.0)
    after = small.where(series + rest, series - first * first)  # of a + 1
    above = small.where(after + first * first, series)
    _, sine = _turn(a)
    reflected = a.lt(_WHOLE).where(1.0 / (sine * sine) - after, INF)
    return x.lt(0.0).where(reflected, above)


def _power(x: Value, n: int) -> Value:
    if n == 1:
        return x
    half = _power(x * x, n // 2)
    return half * x if n % 2 else half


def _turned(order: int) -> list[float]:
    """The derivative of c = π·cot(πx) of that order as a polynomial in c, divided by c² + π²."""
    whole, found = np.polynomial.Polynomial([0.0, 1.0]), np.polynomial.Polynomial([0.0])
    for _ in range(order):
        found = -whole.deriv()  # the slope of c itself is −(c² + π²)
        whole = found * np.polynomial.Polynomial([pi * pi, 0.0, 1.0])
    return [float(number) for number in found.coef]


@cache
def polygamma(order: int) -> Callable[[Value], Value]:
    """The derivative of digamma of an order from 2 to MOST_DERIVATIVES, by Euler and Maclaurin's sum.

    For x ≥ 0 within 2.5·order ulp, else within 1e-6 of its largest term. As in torch at integers up to 0 +inf for odd
    orders, −inf for even ones.
    """
    sign, whole = (1.0 if order % 2 else -1.0), float(factorial(order))
    tail = [number * factorial(order + 2 * j + 1) / factorial(2 * j + 2) for j, number in enumerate(_BERNOULLI)]

    def above(a: Value) -> Value:
        """Its amount for a ≥ 0."""
        z = 1.0 / (a + float(_TERMS))
        rest = _power(z, order) * (z * (z * horner(z * z, tail) + whole * 0.5) + whole / order)
        near = a.program.real(0.0)
        for n in range(_TERMS - 1, -1, -1):
            near = near + _power(1.0 / (a + float(n)), order + 1)
        return near * whole + rest

    def function(x: Value) -> Value:
        a, negative = x.abs(), x.lt(0.0)
        amount = above(negative.where(a + 1.0, a))
        r, sine = _turn(a)
        cosine = (0.5 - r) * (r + 0.5) * horner(r * r, _COS_PI)
        cotangent = (a - a.rint()).lt(0.0).where(cosine, -cosine) / sine
        turned = horner(cotangent, _turned(order)) / (sine * sine)
        reflected = (r.eq(0.0) | a.ge(_WHOLE)).where(sign * INF, -amount - turned)
        return negative.where(reflected, amount * sign)

    return function
