"""Keys of a committee, and points that are no keys."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Final

from offchain.bls.points import BASE2, G1, G2, ORDER, P, bn, sum1, sum2
from offchain.bls.signing import PublicKey, public_key, sign

SECRETS: Final = tuple(pow(7, n, ORDER) for n in range(1, 17))
NEGATED: Final = G1(1, P - 2)  # −g1: with g1 it adds up to infinity
NO_G1: Final = {  # what is no point of G1: the contract's error, what Python says
    "CoordinateTooLarge": (G1(P + 1, 2), "not in the field"),
    "PointAtInfinity": (G1(0, 0), "infinity"),
    "NotOnCurve": (G1(1, 3), "not on the curve"),
}


@cache
def key_of(secret: int) -> PublicKey:
    """The key of a secret, computed once."""
    return public_key(secret)


def committee() -> tuple[PublicKey, ...]:
    """The keys of SECRETS."""
    return tuple(map(key_of, SECRETS))


def aggregate(message: bytes, members: Sequence[int]) -> tuple[G2, G1]:
    """The sum in G2 of some members' keys, and of their signatures."""
    twins = [committee()[member].twin for member in members]
    return sum2(twins), sum1([sign(SECRETS[member], message) for member in members])


def bitmap(members: Sequence[int]) -> int:
    return sum(1 << member for member in members)


@cache
def outsider() -> G2:
    """A point of the twist that is not in G2: almost none of them is."""
    return next(_points_of_the_twist())


def no_g2() -> dict[str, tuple[G2, str]]:
    """What is no point of the twist: the contract's error, what Python says."""
    return {
        "CoordinateTooLarge": (BASE2._replace(y0=BASE2.y0 + P), "not in the field"),
        "PointAtInfinity": (G2(0, 0, 0, 0), "infinity"),
        "NotOnTwist": (BASE2._replace(x1=BASE2.x0, x0=BASE2.x1), "not on the twist"),
    }


def _points_of_the_twist() -> Iterator[G2]:
    """Those whose x is a small number of the field."""
    for x in range(1, P):
        a0, a1 = (int(part) for part in (bn.FQ2([x, 0]) ** 3 + bn.b2).coeffs)
        norm = _root((a0 * a0 + a1 * a1) % P)
        for sign_of in (1, -1):
            y0 = None if norm is None else _root((a0 + sign_of * norm) * pow(2, -1, P) % P)
            if y0:
                yield G2(0, x, a1 * pow(2 * y0, -1, P) % P, y0)


def _root(square: int) -> int | None:
    root = pow(square, (P + 1) // 4, P)
    return root if root * root % P == square else None
