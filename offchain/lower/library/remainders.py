"""Remainders of floats, exact for all pairs of finite numbers.

A quotient may have 277 bits. Long division takes 12 of them at a time: `rest·2^12 − n·b`, where n is the nearest whole
quotient, is exact because n and both halves of b have at most 12 bits.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import frexp
from typing import Final

from offchain.ir.primitives import Op
from offchain.ir.program import Value, as_float
from offchain.lower.library.basic import INF, NAN, head, with_sign_of
from offchain.lower.library.rounding import floor, trunc

DIGIT: Final = 12  # bits of a quotient that a step of the division takes
SHIFTS: Final = 276  # the most by which the exponents of two finite numbers differ
HALF: Final = 12  # steps of a division in its first program
SHORT: Final = 1e-30  # by constants from here on a division fits one program
_LEAST: Final = 2.0**-126  # normal number
_BIAS: Final = 150  # of the exponent of a number as an integer of 24 bits times a power of two


def fmod(x: Value, y: Value, begun: Value | None = None) -> Value:
    """x − y·trunc(x/y), exact, with the sign of x. NaN for infinite x and for y = 0.

    Where y is no constant of at least SHORT, this is too long for one program: then `begun` is the first half's result.
    """
    return with_sign_of(x, remainder_of_sizes(x.abs(), y.abs(), begun))


def fmod_begun(x: Value, y: Value) -> Value:
    """The first half of the division in fmod."""
    b = y.abs()
    return _Divisor.of(b, _number(b)).begin(x.abs())


def modulo(x: Value, y: Value, rest: Value) -> Value:
    """x − y·⌊x/y⌋, given rest = fmod(x, y): correctly rounded."""
    across = rest.ne(0.0) & (rest.lt(0.0) ^ y.lt(0.0))
    return across.where(rest + y, rest)


def floor_quotient(x: Value, y: Value, rest: Value) -> Value:
    """⌊x/y⌋, also where x/y rounds up to a whole number, given rest = fmod(x, y); rounded as torch does it."""
    quotient = (x - rest) / y
    across = rest.ne(0.0) & (rest.lt(0.0) ^ y.lt(0.0))
    quotient = across.where(quotient - 1.0, quotient)
    whole = floor(quotient)
    whole = (quotient - whole).gt(0.5).where(whole + 1.0, whole)
    direct = x / y
    return y.eq(0.0).where(direct, quotient.eq(0.0).where(with_sign_of(direct, whole.abs()), whole))


def remainder_of_sizes(a: Value, b: Value, begun: Value | None = None) -> Value:
    """a mod b for a, b ≥ 0, exact. NaN for infinite a and for b = 0."""
    number = _number(b)
    if number and frexp(number)[0] == 0.5:
        rest = _of_power(a, frexp(number)[1] - 1)
    else:
        rest = _Divisor.of(b, number).divide(a, begun)
    return (a.lt(INF) & b.gt(0.0)).where(a.lt(b).where(a, rest), NAN)


def _of_power(a: Value, exponent: int) -> Value:
    """a mod 2^exponent."""
    whole = a.program.whole
    quotient = trunc(a.ldexp(whole(-exponent)))
    return quotient.lt(2.0**24).where(a - quotient.ldexp(whole(exponent)), 0.0)


@dataclass(frozen=True, slots=True)
class _Divisor:
    """whole·2^exponent, where whole = head + tail is an integer of 24 bits.

    shifts  by how many bits a dividend may have to be shifted right to be as large as this
    """

    whole: Value
    head: Value
    tail: Value
    inverse: Value
    exponent: Value
    shifts: int

    @classmethod
    def of(cls, b: Value, number: float) -> _Divisor:
        if number:
            fraction, exponent = frexp(number)
            whole, power = b.program.real(fraction * 2.0**24), b.program.whole(exponent - 24)
        else:
            whole, power = _parts(b)
            exponent = 128 - SHIFTS
        high = b.program.real(_top(fraction)) if number else head(whole)
        return cls(whole, high, whole - high, 1.0 / whole, power, 128 - exponent)

    def divide(self, a: Value, begun: Value | None = None) -> Value:
        """a modulo this, for a at least this."""
        rest = self._steps(a, self.begin(a) if begun is None else begun, HALF)
        return rest.lt(0.0).where(rest + self.whole, rest).ldexp(self.exponent)

    def begin(self, a: Value) -> Value:
        """The rest after the first digits of the quotient: all that the number of digits leaves over, then HALF."""
        whole, exponent = _parts(a)
        left = exponent - self.exponent
        return self._steps(a, self._step(whole.ldexp(left - self._digits(a) * DIGIT)), 0, HALF)

    def _digits(self, a: Value) -> Value:
        """How many whole digits the shift of a holds."""
        left = _parts(a)[1] - self.exponent
        return (left * 171) >> 11  # left / 12, rounded down, below 512

    def _steps(self, a: Value, rest: Value, first: int, last: int | None = None) -> Value:
        digits, most = self._digits(a), self.shifts // DIGIT
        for done in range(first, most if last is None else min(last, most)):
            rest = digits.gt(done).where(self._step(rest * 2.0**DIGIT), rest)
        return rest

    def _step(self, rest: Value) -> Value:
        """`rest` minus the nearest multiple of the divisor, for quotients up to 2^12."""
        n = (rest * self.inverse).rint()
        return (rest - n * self.head) - n * self.tail


def _top(fraction: float) -> float:
    """The first 12 bits of a fraction in [0.5, 1) as an integer of 24 bits."""
    return float(int(fraction * 2.0**DIGIT) << DIGIT)


def _parts(x: Value) -> tuple[Value, Value]:
    """x > 0 as an integer of 24 bits, whose first is set, and the exponent of two that it is multiplied by."""
    small = x.lt(_LEAST)
    normal = small.where(x * 2.0**24, x).bits()
    exponent = normal.shr(23) - small.where(x.program.whole(_BIAS + 24), _BIAS)
    return ((normal & 0x7FFFFF) | 0x800000).to_float(), exponent


def _number(x: Value) -> float:
    """The size of a constant that is finite; 0 for all others."""
    instr = x.program.instr(x)
    if instr.op is Op.ABS:
        instr = x.program.instrs[instr.a]
    size = abs(float(as_float(instr.word))) if instr.op is Op.CONST_F32 else 0.0
    return size if size < INF else 0.0
