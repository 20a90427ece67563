"""BLS signatures with points of G1, keys in both groups: docs/protocol.md, section 6.

A signature is unique: who knows the key can make only one for a message, and nobody else can know it. py-ecc computes
in Python integers, whose time depends on the secret. Whoever shares this machine might learn from it; a worker that
signs for whoever asks would be measured from outside, and signs only its own tickets.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from offchain.bls.points import (
    BASE1,
    BASE2,
    G1,
    G2,
    ORDER,
    BadPoint,
    P,
    Point,
    bn,
    inside1,
    inside2,
    outside1,
    outside2,
    sum1,
)
from offchain.errors import BadInput

MAX_TRIES: Final = 256
WHOLE: Final = 5 * P  # the largest multiple of P that 256 bits hold
ROOT: Final = (P + 1) // 4  # a^ROOT is a square root of a, if a has one
POSSESSION: Final = b"offchain.possession.1"


class BadSigners(BadInput):
    """Signers that are none, not of the committee, or named twice."""


class PublicKey(NamedTuple):
    """Both points of a key: keys are added in G1, signatures are checked in G2."""

    point: G1
    twin: G2


def new_secret() -> int:
    """A secret of 1 to ORDER - 1, from the system's generator."""
    return 1 + secrets.randbelow(ORDER - 1)


@lru_cache(maxsize=8)  # each lot asks for it
def public_key(secret: int) -> PublicKey:
    """Raises BadInput unless the secret is 1 to ORDER - 1; the message does not quote it."""
    _require_secret(secret)
    point = outside1(bn.multiply(inside1(BASE1), secret))
    return PublicKey(point, outside2(bn.multiply(_as_is(BASE2), secret)))


def hash_to_g1(message: bytes) -> G1:
    """The point that stands for a message, as Bn254.hashToG1 finds it.

    Raises:
        BadPoint: none of MAX_TRIES tries found one, whose probability is below 2^-235.
    """
    seed = keccak(message)
    for number in range(MAX_TRIES):
        if point := point_of_try(seed, number):
            return point
    raise BadPoint(f"no point stands for the message with hash 0x{seed.hex()}")


def point_of_try(seed: bytes, number: int) -> G1 | None:
    """What a try to hash to the curve finds. `seed` is the message's keccak256."""
    hashed = int.from_bytes(keccak(seed + number.to_bytes(32)))
    x = hashed % P
    square = (x**3 + 3) % P
    y = pow(square, ROOT, P)
    if hashed >= WHOLE or y * y % P != square:
        return None
    return G1(x, y if y % 2 == 0 else P - y)


def sign(secret: int, message: bytes) -> G1:
    """The only signature of that key over a message. Raises BadInput as `public_key`."""
    _require_secret(secret)
    return outside1(bn.multiply(inside1(hash_to_g1(message)), secret))


def verify(key: G2, message: bytes, signature: G1) -> bool:
    """Whether a signature is the key's. Takes some tenths of a second. Raises BadPoint for points that are none."""
    left = bn.pairing(_as_is(BASE2), inside1(signature), final_exponentiate=False)
    right = bn.pairing(inside2(key), bn.neg(inside1(hash_to_g1(message))), final_exponentiate=False)
    return bool(bn.final_exponentiate(left * right) == bn.FQ12.one())


def is_one_key(key: PublicKey) -> bool:
    """Whether both points have one secret. Raises BadPoint for points that are none."""
    left = bn.pairing(_as_is(BASE2), inside1(key.point), final_exponentiate=False)
    right = bn.pairing(inside2(key.twin), bn.neg(inside1(BASE1)), final_exponentiate=False)
    return bool(bn.final_exponentiate(left * right) == bn.FQ12.one())


def sum_of(keys: Sequence[G1], signers: int) -> G1:
    """The sum of the keys that a bitmap chooses: bit i stands for keys[i].

    Raises:
        BadSigners: none is chosen, one that is not there, or one key twice.
        BadPoint: a key is no point, or they add up to infinity.
    """
    if signers <= 0:
        raise BadSigners("no signer is chosen")
    if signers >> len(keys):
        raise BadSigners(f"bitmap {signers:#x} chooses more than the {len(keys)} keys")
    chosen = [key for index, key in enumerate(keys) if signers >> index & 1]
    if len(set(chosen)) < len(chosen):
        raise BadSigners(f"bitmap {signers:#x} chooses one key twice")
    return sum1(chosen)


def verify_aggregate(keys: Sequence[G1], signers: int, total: G2, message: bytes, signature: G1) -> bool:
    """Whether a signature is the sum of those of the signers, whose keys in G2 add up to `total`.

    Raises BadSigners, and BadPoint, as `sum_of`.
    """
    return is_one_key(PublicKey(sum_of(keys, signers), total)) and verify(total, message, signature)


def possession_message(chain_id: int, verifiers: str, account: str, point: G1) -> bytes:
    """What an account signs to show that a key is its own, as IVerifiers.possession says."""
    kinds = ("bytes32", "uint256", "address", "address", "uint256", "uint256")
    return encode(kinds, (POSSESSION, chain_id, verifiers, account, point.x, point.y))


def _as_is(point: G2) -> Point:
    """A point of G2 that needs no check."""
    return bn.FQ2([point.x0, point.x1]), bn.FQ2([point.y0, point.y1]), bn.FQ2([1, 0])


def _require_secret(secret: int) -> None:
    if not 0 < secret < ORDER:
        raise BadInput("a secret is a number from 1 to the order of the group - 1")
