# mypy: disable-error-code="no-untyped-def, untyped-decorator, no-any-return"
"""Words, exponents and roundings as Triton functions. The definitions are in `offchain.exec.reference`.

No operation is used where Triton or the hardware leaves the result open: a NaN's bits, a conversion out of range, an
overflow.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def bits(x):
    return x.to(tl.int32, bitcast=True)


@triton.jit
def real(word):
    return word.to(tl.float32, bitcast=True)


@triton.jit
def magnitude(x):
    """|x| as an int32 that orders like it: finite < infinite < NaN."""
    return bits(x) & 0x7FFFFFFF


@triton.jit
def canonical_bits(x):
    word = bits(x)
    return tl.where((word & 0x7FFFFFFF) > 0x7F800000, 0x7FC00000, word)


@triton.jit
def canonical(x):
    return real(canonical_bits(x))


# --- primitives of a program ---------------------------------------------------------------------------------------


@triton.jit
def neg(x):
    return real(bits(x) ^ -2147483648)


@triton.jit
def absolute(x):
    return real(magnitude(x))


@triton.jit
def rint(x):
    """Ties to even: adding 2^23 rounds what is below it to an integer. The sign is put back, for a zero's sake."""
    y = real(magnitude(x))
    whole = tl.where(y < 8388608.0, (y + 8388608.0) - 8388608.0, y)
    return real(bits(whole) | (bits(x) & -2147483648))


@triton.jit
def to_int(x):
    """Towards zero, saturating; NaN gives 0."""
    inside = tl.where((x > -2147483648.0) & (x < 2147483648.0), x, 0.0).to(tl.int32)
    return tl.where(x >= 2147483648.0, 2147483647, tl.where(x <= -2147483648.0, -2147483648, inside))


@triton.jit
def power_f64(n):
    """2^n for -1022 <= n <= 1023."""
    return ((n.to(tl.int64) + 1023) << 52).to(tl.float64, bitcast=True)


@triton.jit
def power_f32(n):
    """2^n for -126 <= n <= 127."""
    return real((n + 127) << 23)


@triton.jit
def ldexp(x, n):
    """x·2^n with one rounding: the product is exact in binary64, whose clamp of n changes no result."""
    return (x.to(tl.float64) * power_f64(tl.minimum(tl.maximum(n, -400), 400))).to(tl.float32)


@triton.jit
def shift_right_logical(a, n):
    return (a.to(tl.uint32, bitcast=True) >> (n & 31).to(tl.uint32, bitcast=True)).to(tl.int32, bitcast=True)


# --- order of `max` --------------------------------------------------------------------------------------------------


@triton.jit
def swapped(word):
    return word ^ ((word >> 31) & 0x7FFFFFFF)


@triton.jit
def order_key(x):
    return swapped(canonical_bits(x))


# --- sums ------------------------------------------------------------------------------------------------------------


@triton.jit
def exponent(word):
    """e(x), int32, of a magnitude. A subnormal is m·2^-149; float32 holds m, so that its exponent is m's bit length."""
    length = tl.maximum((bits(word.to(tl.float32)) >> 23) - 126, 0)
    return tl.where(word < 0x00800000, length - 149, (word >> 23) - 126)


@triton.jit
def quantised(x, top, P: tl.constexpr):
    """quant(x, e, p), int32, where `top` is the greatest magnitude of what is summed. Means nothing where e is 129.

    In binary32 where that holds the integer. The scaling is two steps there, as 2^(p-1-e) may be none: each is exact,
    or its result is so small that it rounds to 0 with or without the bits it lost.
    """
    shift = P - 1 - exponent(top)
    x = tl.where(magnitude(x) < 0x7F800000, x, 0.0)
    if P <= 24:
        half = shift >> 1
        q = rint((x * power_f32(half)) * power_f32(shift - half)).to(tl.int32)
    else:
        q = ((x.to(tl.float64) * power_f64(shift) + 6755399441055744.0) - 6755399441055744.0).to(tl.int32)
    return tl.minimum(tl.maximum(q, 1 - (1 << (P - 1))), (1 << (P - 1)) - 1)


@triton.jit
def back(top, P: tl.constexpr):
    """The binary64 that brings a sum back: 2^(e-(p-1)), NaN where e is 129."""
    e = exponent(top)
    return tl.where(e < 129, power_f64(e - (P - 1)), float("nan"))
