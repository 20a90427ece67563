"""Word arithmetic on tensors: exponents, quantisation, rounding, order. The definitions are in `reference`."""

from __future__ import annotations

from typing import Final

import torch

Tensor = torch.Tensor

NO_NUMBER: Final = 129  # exponent of infinities and NaN
_MAGNITUDE: Final = 0x7FFFFFFF
_FURTHEST: Final = 400  # powers of two beyond which a scaled float32, or sum, is 0 or infinite


def canonical(x: Tensor) -> Tensor:
    """Every NaN as 0x7FC00000. Inside a program any NaN may stand for that one."""
    return torch.where(torch.isnan(x), torch.nan, x) if x.dtype is torch.float32 else x


def power_of_two(n: Tensor) -> Tensor:
    """2^n in float64, exact; n is an integer tensor, clipped to where it makes no difference to a float32."""
    return (n.long().clamp(-_FURTHEST, _FURTHEST) + 1023).bitwise_left_shift(52).view(torch.float64)


def ldexp(x: Tensor, n: Tensor) -> Tensor:
    """x·2^n, one rounding: the product is exact in float64."""
    return (x.double() * power_of_two(n)).float()


def scale(e: Tensor, bits: int) -> Tensor:
    """2^(e-(p-1)) in float64, NaN for e >= 129. A sum times one or two of these is exact in float64."""
    return torch.where(e >= NO_NUMBER, torch.nan, power_of_two(e - (bits - 1)))


def sqrt(x: Tensor) -> Tensor:
    """Square root, correctly rounded: torch's own float32 kernel is not, on CPUs with MKL.

    A float64 root within one unit in the last place rounds to the right float32: the exact root of a float32 is never
    closer than 2^-51 (relative) to the middle of two float32.
    """
    return x.double().sqrt().float()


def to_int(x: Tensor) -> Tensor:
    """float32 to int32 towards zero, saturating; NaN gives 0."""
    wide = x.double().nan_to_num(nan=0.0).clamp(-(2.0**31), 2.0**31 - 1)
    return wide.to(torch.int32)


def shift_right_logical(a: Tensor, n: Tensor) -> Tensor:
    """a >> (n mod 32) of unsigned words: the arithmetic shift with the sign bits cleared that it brought in."""
    n = n & 31
    kept = ((torch.full_like(n, -1) << (31 - n)) << 1).bitwise_not()
    return (a >> n) & kept


def magnitude(x: Tensor) -> Tensor:
    """|x| as an int32 that orders like it: finite < infinite < NaN."""
    return x.view(torch.int32) & _MAGNITUDE


def exponent_of_magnitude(words: Tensor) -> Tensor:
    """e(x), int32, from `magnitude(x)`; e grows with |x|, so a maximum may be taken before."""
    biased = words >> 23
    # a subnormal is m·2^-149; float32 holds m, so that its own exponent is the bit length of m
    length = ((words.float().view(torch.int32) >> 23) - 126).clamp(min=0)
    return torch.where(biased == 0, length - 149, biased - 126)


def order_key(x: Tensor) -> Tensor:
    """The order of `max` as int32: -inf < … < -0 < +0 < … < +inf < NaN."""
    return _swap(canonical(x).view(torch.int32))


def order_unkey(keys: Tensor) -> Tensor:
    """Inverse of `order_key`."""
    return _swap(keys).view(torch.float32)


def _swap(words: Tensor) -> Tensor:
    return words ^ ((words >> 31) & _MAGNITUDE)


def quantise(x: Tensor, e: Tensor, bits: int, dtype: torch.dtype) -> Tensor:
    """quant(x, e, p) as integers in `dtype`, for |x| < 2^e; where e is 129 the values are meaningless.

    In float32 (p up to 24) the scaling is two steps, as 2^(p-1-e) may be none: each is exact, or its result is so
    small that it rounds to 0 with or without the bits it lost.
    """
    shift = bits - 1 - e
    if dtype is torch.float32:
        half = shift >> 1
        q = x * _single_power(half)
        q.mul_(_single_power(shift - half))
    else:
        q = x.double()
        q = q.mul_(power_of_two(shift)) if shift.ndim == q.ndim and _fits(shift, q) else q * power_of_two(shift)
    limit = 2 ** (bits - 1) - 1
    return q.round_().clamp_(-limit, limit)


def _fits(small: Tensor, large: Tensor) -> bool:
    """Whether `small` broadcasts to the shape that `large` has, so that it can be applied in place."""
    return all(a in (1, b) for a, b in zip(small.shape, large.shape, strict=True))


def _single_power(n: Tensor) -> Tensor:
    """2^n in float32 for -126 <= n <= 127."""
    return ((n + 127) << 23).view(torch.float32)
