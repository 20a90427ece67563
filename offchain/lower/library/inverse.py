"""Inverse trigonometric functions."""

from __future__ import annotations

from typing import Final

from offchain.ir.program import Value
from offchain.lower.library.basic import horner, sign_bit, with_sign_of

_HALF_PI: Final = (1.5707963705062866, -4.371138828673793e-08)  # rounded, and the rest

# (atan(t)/t − 1)/t² in t² on |t| ≤ 1:
_ATAN: Final = (
    -0.33333152532577515,
    0.19993768632411957,
    -0.14211024343967438,
    0.1066589206457138,
    -0.07551988959312439,
    0.04320932924747467,
    -0.01636642962694168,
    0.0029203281737864017,
)
# (asin(x)/x − 1)/x² in x² on |x| ≤ 1/2:
_ASIN: Final = (
    0.16666755080223083,
    0.07495199143886566,
    0.04548222944140434,
    0.02412274107336998,
    0.04226054251194,
)


def _atan_up_to_1(t: Value) -> Value:
    z = t * t
    return t * (z * horner(z, _ATAN)) + t


def _from_right_angle(angle: Value, turns: float = 1.0) -> Value:
    """turns·π/2 − angle."""
    return (_HALF_PI[0] * turns - angle) + _HALF_PI[1] * turns


def atan(x: Value) -> Value:
    """Inverse tangent; 2 ulp."""
    size = x.abs()
    steep = size.gt(1.0)
    angle = _atan_up_to_1(steep.where(1.0 / size, size))
    return with_sign_of(x, steep.where(_from_right_angle(angle), angle))


def atan2(y: Value, x: Value) -> Value:
    """Angle of the point (x, y); 2.5 ulp. Special cases as in C99, F.9.1.4."""
    width, height = x.abs(), y.abs()
    steep = width.lt(height)
    low, high = steep.where(width, height), steep.where(height, width)
    same = width.eq(height)  # also both zero, or both infinite
    slope = same.where(high.eq(0.0).where(high, 1.0), low / high)
    angle = _atan_up_to_1(slope)
    angle = steep.where(_from_right_angle(angle), angle)
    angle = sign_bit(x).where(_from_right_angle(angle, 2.0), angle)
    return with_sign_of(y, angle)


def asin(x: Value) -> Value:
    """Inverse sine; 2 ulp. Beyond ½ as π/2 − 2·asin(√((1 − x)/2)); NaN beyond ±1."""
    far, core = _asin_core(x)
    return with_sign_of(x, far.where(_from_right_angle(core + core), core))


def acos(x: Value) -> Value:
    """Inverse cosine; 1.5 ulp. NaN beyond ±1."""
    far, core = _asin_core(x)
    near = _from_right_angle(with_sign_of(x, core))
    return far.where(x.lt(0.0).where(_from_right_angle(core + core, 2.0), core + core), near)


def _asin_core(x: Value) -> tuple[Value, Value]:
    """Whether |x| > ½, and asin |x|, or there asin √((1 − |x|)/2)."""
    size = x.abs()
    far = size.gt(0.5)
    z = far.where((1.0 - size) * 0.5, size * size)
    root = far.where(z.sqrt(), size)
    return far, root * (z * horner(z, _ASIN)) + root
