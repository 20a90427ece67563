"""Points of BN254's two groups as the contracts know them, and what is refused as one.

py-ecc computes. What is here is between its projective points and the words of EIP-196 and EIP-197.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any, Final, NamedTuple

_DEEPEST = sys.getrecursionlimit()
from py_ecc import optimized_bn128  # noqa: E402

from offchain.errors import BadInput  # noqa: E402

# py-ecc lets the whole process recurse 100,000 deep. Then nested JSON from a stranger overflows the stack, where it
# should be refused.
sys.setrecursionlimit(_DEEPEST)

bn: Final[Any] = optimized_bn128  # its types do not say what it exports
P: Final[int] = bn.field_modulus  # coordinates are below it
ORDER: Final[int] = bn.curve_order  # number of points of each group; secrets are below it
Point = Any  # of py-ecc: three projective coordinates


class BadPoint(BadInput):
    """Not a point of the group that it should be of, or the point at infinity, which is never taken."""


class G1(NamedTuple):
    """A point of G1, in affine coordinates."""

    x: int
    y: int


class G2(NamedTuple):
    """A point of G2, in affine coordinates x0 + x1·i and y0 + y1·i, in the order of EIP-197."""

    x1: int
    x0: int
    y1: int
    y0: int


BASE1: Final = G1(1, 2)
BASE2: Final = G2(*(int(part) for axis in bn.normalize(bn.G2) for part in reversed(axis.coeffs)))


def inside1(point: G1) -> Point:
    """A point of G1 for py-ecc. Raises BadPoint."""
    _require_coordinates(point)
    inside = (bn.FQ(point.x), bn.FQ(point.y), bn.FQ(1))
    if not any(point):
        raise BadPoint("the point at infinity is no key and no signature")
    if not bn.is_on_curve(inside, bn.b):
        raise BadPoint(f"({point.x}, {point.y}) is not on the curve")
    return inside


def inside2(point: G2) -> Point:
    """A point of G2 for py-ecc. Raises BadPoint, also for a point of the twist that is not in the subgroup."""
    _require_coordinates(point)
    inside = (bn.FQ2([point.x0, point.x1]), bn.FQ2([point.y0, point.y1]), bn.FQ2([1, 0]))
    if not any(point):
        raise BadPoint("the point at infinity is no key")
    if not bn.is_on_curve(inside, bn.b2):
        raise BadPoint(f"{tuple(point)} is not on the twist")
    if not bn.is_inf(bn.multiply(inside, ORDER)):
        raise BadPoint(f"{tuple(point)} is on the twist, but not in its subgroup")
    return inside


def outside1(inside: Point) -> G1:
    """A point of py-ecc as the contracts know it. Raises BadPoint for infinity."""
    if bn.is_inf(inside):
        raise BadPoint("points add up to infinity")
    x, y = bn.normalize(inside)
    return G1(int(x), int(y))


def outside2(inside: Point) -> G2:
    """A point of py-ecc as the contracts know it. Raises BadPoint for infinity."""
    if bn.is_inf(inside):
        raise BadPoint("points add up to infinity")
    return G2(*(int(part) for axis in bn.normalize(inside) for part in reversed(axis.coeffs)))


def sum1(points: Iterable[G1]) -> G1:
    """Raises BadPoint if one is none, or they add up to infinity."""
    total = bn.Z1
    for point in points:
        total = bn.add(total, inside1(point))
    return outside1(total)


def sum2(points: Iterable[G2]) -> G2:
    """Raises BadPoint if one is none, or they add up to infinity."""
    total = bn.Z2
    for point in points:
        total = bn.add(total, inside2(point))
    return outside2(total)


def _require_coordinates(point: Iterable[int]) -> None:
    for coordinate in point:
        if not 0 <= coordinate < P:
            raise BadPoint(f"coordinate {coordinate} is not in the field, which ends at {P}")
