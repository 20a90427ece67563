"""Binary32 as it must be: by the hardware (NumPy) where that has the operation, else by exact arithmetic (Fraction).

`OPERATIONS` are those of Float32.sol; `crossed` and `random_case` give operands that are worth trying.
"""

from __future__ import annotations

import math
import operator
import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import product

import numpy as np

NAN = 0x7FC00000
INFINITY = 0x7F800000
SIGN = 0x80000000
INT32_MIN, INT32_MAX = -(2**31), 2**31 - 1

Case = tuple[int, ...]

# ------------------------------------------------------------------ what is right


def float_of(bits: int) -> np.float32:
    return np.uint32(bits).view(np.float32)


def bits_of(value: np.floating) -> int:
    bits = int(np.float32(value).view(np.uint32))
    return NAN if bits & ~SIGN > INFINITY else bits


def is_nan(bits: int) -> bool:
    return bits & ~SIGN > INFINITY


def is_finite(bits: int) -> bool:
    return bits & ~SIGN < INFINITY


def fraction_of(bits: int) -> Fraction:
    return Fraction(float(float_of(bits)))


def nearest(value: Fraction, negative: bool) -> int:
    """Bits of the float nearest to `value`, ties to even, by the definition; `negative` signs a zero."""
    sign = SIGN if negative else 0
    if value == 0:
        return sign
    size = abs(value)
    top = size.numerator.bit_length() - size.denominator.bit_length()
    top -= size < Fraction(2) ** top
    last = max(top - 23, -149)
    units = round(size / Fraction(2) ** last)
    if units * Fraction(2) ** last >= 2**128:
        return sign | INFINITY
    return sign | bits_of(np.float32(math.ldexp(units, last)))


def hardware(operation: Callable[..., np.floating]) -> Callable[..., int]:
    def run(*words: int) -> int:
        with np.errstate(all="ignore"):
            return bits_of(operation(*map(float_of, words)))

    return run


def compared(comparison: Callable[..., bool]) -> Callable[[int, int], int]:
    return lambda a, b: int(comparison(float_of(a), float_of(b)))


def ldexp(a: int, n: int) -> int:
    if not is_finite(a):
        return NAN if is_nan(a) else a
    return nearest(fraction_of(a) * Fraction(2) ** bounded(n), a >= SIGN)


def bounded(exponent: int) -> int:
    """An exponent beyond +-1000 has the effect of one at +-1000, and Fraction can hold that one."""
    return max(-1000, min(exponent, 1000))


def from_scaled(s: int, k: int) -> int:
    return nearest(s * Fraction(2) ** bounded(k), s < 0)


def to_int(a: int) -> int:
    if is_nan(a):
        return 0
    if not is_finite(a):
        return INT32_MIN if a >= SIGN else INT32_MAX
    return max(INT32_MIN, min(math.trunc(fraction_of(a)), INT32_MAX))


def exponent(a: int) -> int:
    if not is_finite(a):
        return 129
    return math.frexp(float_of(a))[1] if a & ~SIGN else -149


def quant(a: int, e: int, p: int) -> int:
    limit = 2 ** (p - 1) - 1
    if is_nan(a):
        return 0
    if not is_finite(a):
        return -limit if a >= SIGN else limit
    return max(-limit, min(round(fraction_of(a) * Fraction(2) ** bounded(p - 1 - e)), limit))


def order_key(a: int) -> int:
    if is_nan(a):
        return NAN
    return -1 - (a ^ SIGN) if a >= SIGN else a


@dataclass(frozen=True)
class Operation:
    """Index in the harness's enum, the kinds of its operands, and what it should give."""

    index: int
    operands: str  # f float bits, i int32, s integer sum, k its exponent, e shared exponent, p bits
    reference: Callable[..., int]


OPERATIONS = {
    name: Operation(index, operands, reference)
    for index, (name, operands, reference) in enumerate(
        [
            ("add", "ff", hardware(np.add)),
            ("sub", "ff", hardware(np.subtract)),
            ("mul", "ff", hardware(np.multiply)),
            ("div", "ff", hardware(np.divide)),
            ("sqrt", "f", hardware(np.sqrt)),
            ("neg", "f", hardware(np.negative)),
            ("abs", "f", hardware(np.abs)),
            ("rint", "f", hardware(np.rint)),
            ("ldexp", "fi", ldexp),
            ("canonical", "f", hardware(np.positive)),
            ("eq", "ff", compared(operator.eq)),
            ("lt", "ff", compared(operator.lt)),
            ("le", "ff", compared(operator.le)),
            ("orderKey", "f", order_key),
            ("toInt", "f", to_int),
            ("fromInt", "i", lambda i: bits_of(np.int64(i).astype(np.float32))),
            ("fromScaled", "sk", from_scaled),
            ("exponent", "f", exponent),
            ("quant", "fep", quant),
        ],
        start=1,
    )
}

# ------------------------------------------------------------------ what is asked

MAGNITUDES = [
    0x00000000,  # zero
    0x00000001,  # the least subnormal
    0x00400000,  # half of the least normal
    0x007FFFFF,  # the largest subnormal
    0x00800000,  # the least normal
    0x1A000000,  # 2^-75: its square is half of the least subnormal
    0x1A000001,
    0x1FFFFFFF,  # its square is just below the least normal
    0x33800000,  # 2^-24: half of the last bit of 1
    0x3F000000,  # 1/2
    0x3F7FFFFF,
    0x3F800000,  # 1
    0x3F800001,
    0x3FC00000,  # 1.5, a tie of rint
    0x40200000,  # 2.5, one that goes down
    0x4AFFFFFF,  # 2^23 - 1/2, the last
    0x4B800000,  # 2^24
    0x4EFFFFFF,
    0x4F000000,  # 2^31
    0x5F7FFFFF,  # its square is just below 2^128
    0x5F800000,  # 2^64
    0x7F7FFFFF,  # the largest finite
    INFINITY,
    0x7F800001,  # NaNs: signalling, canonical, all ones
    NAN,
    0x7FFFFFFF,
]
FLOATS = [sign | magnitude for magnitude in MAGNITUDES for sign in (0, SIGN)]
INT32S = sorted(
    {sign * (2**k + d) for k in (0, 1, 24, 25, 30) for d in (-1, 0, 1) for sign in (-1, 1)}
    | {sign * n for n in (23, 126, 127, 128, 149, 150, 151, 276, 277, 278) for sign in (-1, 1)}
    | {INT32_MIN, INT32_MIN + 1, INT32_MAX}
)
SUMS = sorted(
    {sign * (2**k + d) for k in (0, 1, 23, 24, 25, 47, 53, 61) for d in (-1, 0, 1) for sign in (-1, 1)}
    | {(0xFFFFFF << 38) + (1 << 37) + d for d in (-1, 0, 1)}  # rounds up to a power of two, or not
    | {(0x800001 << 38) + (1 << 37) + d for d in (-1, 0, 1)}
)
SCALES = [-(2**33), -1000, -212, -211, -210, -196, -174, -173, -172, -151, -150, -149, -148, -126, -40, 0]
SCALES += [1, 40, 65, 66, 67, 80, 103, 104, 105, 127, 128, 2**33]
EXPONENTS = [INT32_MIN, -149, -148, -1, 0, 1, 24, 31, 128, 129, INT32_MAX]
BITS = [2, 8, 21, 31]
SPECIAL = {"f": FLOATS, "i": INT32S, "s": SUMS, "k": SCALES, "e": EXPONENTS, "p": BITS}


def crossed(operands: str) -> list[Case]:
    return list(product(*(SPECIAL[kind] for kind in operands)))


def random_float(rng: random.Random) -> int:
    """Any bits; or few ones or zeros in the mantissa, where rounding is close to a tie."""
    bits = rng.getrandbits(32)
    pattern = rng.randrange(4)
    if pattern == 0:
        bits &= ~0 << rng.randrange(24)
    elif pattern == 1:
        bits |= (1 << rng.randrange(24)) - 1
    elif pattern == 2:
        bits = bits & 0xFF800000 | 1 << rng.randrange(23)
    return bits & 0xFFFFFFFF


def biased(exponent: int) -> int:
    return max(0, min(exponent, 254)) << 23


def near_pair(name: str, rng: random.Random) -> Case:
    """Operands whose result is likely to be inexact, to cancel, or to lie at the subnormal border or
    the largest finite number, and not far away as for most random pairs."""
    a, b = random_float(rng), random_float(rng)
    e = a >> 23 & 0xFF
    border = rng.choice([rng.randrange(-26, 4), rng.randrange(250, 258)])  # biased exponent of the result
    partner = {"mul": border - e + 127, "div": e - border + 127}.get(name, e + rng.randrange(-27, 28))
    if rng.randrange(3) == 0 and name not in ("mul", "div"):
        return a, (a + rng.randrange(-3, 4)) & 0xFFFFFFFF ^ rng.choice([0, SIGN])
    return a, b & 0x807FFFFF | biased(partner)


def near_tie_sum(rng: random.Random) -> Case:
    """s * 2^k beside a tie of the result's last bit, in the normal and the subnormal range."""
    cut = rng.randrange(1, 38)
    kept = rng.getrandbits(rng.randrange(1, 25)) | 1
    last = rng.choice([-149, -149, rng.randrange(-149, 105)])
    if last > -149:
        kept |= 1 << 23
    s = (kept << cut) + (1 << (cut - 1)) + rng.randrange(-1, 2)
    return rng.choice([-1, 1]) * s, last - cut


def random_case(name: str, rng: random.Random) -> Case:
    near = rng.randrange(2) == 0
    match OPERATIONS[name].operands:
        case "ff":
            return near_pair(name, rng) if near else (random_float(rng), random_float(rng))
        case "f" if name in ("rint", "toInt") and near:
            return (random_float(rng) & 0x807FFFFF | biased(rng.randrange(120, 162)),)
        case "f" if name == "sqrt" and near:  # beside the square of a float, or of a tie between two
            root = rng.randrange(2**23, 2**25)
            return ((bits_of(np.float32(root * root)) + rng.randrange(-1, 2)) & ~SIGN,)
        case "f":
            return (random_float(rng),)
        case "fi":
            a = random_float(rng)
            border = rng.choice([rng.randrange(-26, 4), rng.randrange(252, 258)])
            return a, border - (a >> 23 & 0xFF) if near else rng.randrange(INT32_MIN, INT32_MAX + 1)
        case "i":
            return (rng.randrange(INT32_MIN, INT32_MAX + 1) >> (rng.randrange(32) if near else 0),)
        case "sk":
            if near:
                return near_tie_sum(rng)
            return rng.randrange(-(2**62) + 1, 2**62) >> rng.randrange(62), rng.randrange(-240, 160)
        case "fep":
            a, p = random_float(rng), rng.randrange(2, 32)
            e = exponent(a) + rng.randrange(-3, 34) if near else rng.randrange(-300, 300)
            return a, e, p
    raise AssertionError(name)
