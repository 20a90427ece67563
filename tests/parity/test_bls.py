"""Bn254.sol and offchain.bls know the same points, make the same sums and hashes, and take the same signatures."""

from __future__ import annotations

from typing import Any

import pytest
from eth_utils.crypto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st
from web3.contract import Contract

from offchain.bls import points, signing
from offchain.bls.points import BASE1, BASE2, G1, G2, ORDER, BadPoint, P
from offchain.bls.signing import BadSigners
from tests.support.bls import NEGATED, NO_G1, SECRETS, aggregate, bitmap, committee, no_g2, outsider
from tests.support.draws import examples
from tests.support.reverts import reverts

CASES = settings(max_examples=examples(30))
DOMAIN = b"test: "
secrets = st.integers(1, ORDER - 1)
messages = st.binary(max_size=300)
members = st.sets(st.integers(0, len(SECRETS) - 1), min_size=1).map(sorted)


@pytest.fixture(scope="module")
def harness(deploy: Any) -> Contract:
    return deploy("BlsHarness")


@CASES
@given(messages)
def test_hashing(harness: Contract, message: bytes) -> None:
    assert tuple(harness.functions.hashToG1(message).call()) == signing.hash_to_g1(message)


@settings(max_examples=examples(5))
@given(secrets, messages)
def test_signing(harness: Contract, secret: int, message: bytes) -> None:
    """What py-ecc signs, the precompiles take, with either check."""
    key = signing.public_key(secret)
    signature = signing.sign(secret, message)
    harness.functions.requireSigned(key.twin, message, signature).call()
    harness.functions.requireSignedByBoth(key.point, key.twin, message, signature).call()


def test_the_precompiles_verdict_is_py_eccs(harness: Contract) -> None:
    key, signature = signing.public_key(ORDER - 1), signing.sign(ORDER - 1, DOMAIN)
    assert signing.verify(key.twin, DOMAIN, signature)
    harness.functions.requireSigned(key.twin, DOMAIN, signature).call()


def test_known_multiples(harness: Contract) -> None:
    """The sums of 2 and 3 generators, as everybody knows them."""
    two = G1(
        1368015179489954701390400359078579693043519447331113978918064868415326638035,
        9918110051302171585080402603319702774565515993150576347155970296011118125764,
    )
    three = G1(
        3353031288059533942658390886683067124040920775575537747144343083137631628272,
        19321533766552368860946552437480515441416830039777911637913418824951667761761,
    )
    assert (signing.public_key(2).point, signing.public_key(3).point) == (two, three)
    assert tuple(harness.functions.sumOf([BASE1, two], 3).call()) == three == points.sum1([BASE1, two])


@CASES
@given(members)
def test_sums_of_keys(harness: Contract, chosen: list[int]) -> None:
    keys = [key.point for key in committee()]
    assert tuple(harness.functions.sumOf(keys, bitmap(chosen)).call()) == signing.sum_of(keys, bitmap(chosen))


@settings(max_examples=examples(5))
@given(members, messages)
def test_aggregates(harness: Contract, chosen: list[int], message: bytes) -> None:
    keys = [key.point for key in committee()]
    total, signature = aggregate(message, chosen)
    harness.functions.requireSignedByAll(keys, bitmap(chosen), total, message, signature).call()


@CASES
@given(st.integers(3, P - 1), st.integers(3, P - 1))
def test_random_coordinates_are_no_points(harness: Contract, x: int, y: int) -> None:
    with reverts(harness, "NotOnCurve", x, y):
        harness.functions.requireG1((x, y)).call()
    with pytest.raises(BadPoint):
        points.inside1(G1(x, y))
    with reverts(harness, "NotOnTwist", x, y, y, x):
        harness.functions.requireTwist((x, y, y, x)).call()
    with pytest.raises(BadPoint):
        points.inside2(G2(x, y, y, x))


@settings(max_examples=examples(10))
@given(secrets)
def test_points_of_the_groups_are_taken(harness: Contract, secret: int) -> None:
    key = signing.public_key(secret)
    harness.functions.requireG1(key.point).call()
    harness.functions.requireTwist(key.twin).call()
    assert points.outside1(points.inside1(key.point)) == key.point
    assert points.outside2(points.inside2(key.twin)) == key.twin


# --- what is refused -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", NO_G1)
def test_what_is_no_point_of_g1(harness: Contract, error: str) -> None:
    point, said = NO_G1[error]
    with reverts(harness, error):
        harness.functions.requireSigned(BASE2, DOMAIN, point).call()
    with reverts(harness, error):
        harness.functions.requireG1(point).call()
    with pytest.raises(BadPoint, match=said):
        signing.verify(BASE2, DOMAIN, point)


@pytest.mark.parametrize("error", no_g2())
def test_what_is_no_point_of_the_twist(harness: Contract, error: str) -> None:
    point, said = no_g2()[error]
    signature = signing.sign(1, DOMAIN)
    with reverts(harness, error):
        harness.functions.requireSigned(point, DOMAIN, signature).call()
    with reverts(harness, error):
        harness.functions.requireSignedByBoth(BASE1, point, DOMAIN, signature).call()
    with pytest.raises(BadPoint, match=said):
        signing.verify(point, DOMAIN, signature)


def test_a_point_outside_of_the_subgroup(harness: Contract) -> None:
    """It costs the caller no more than the pairing's share of gas."""
    signature = signing.sign(1, DOMAIN)
    harness.functions.requireTwist(outsider()).call()
    for call in (
        harness.functions.requireSigned(outsider(), DOMAIN, signature),
        harness.functions.requireSignedByBoth(BASE1, outsider(), DOMAIN, signature),
    ):
        with reverts(harness, "NotInSubgroup", *outsider()):
            call.call({"gas": 400_000})
    with pytest.raises(BadPoint, match="subgroup"):
        points.inside2(outsider())


@settings(max_examples=examples(3))
@given(messages, messages, secrets)
def test_a_wrong_signature(harness: Contract, message: bytes, other: bytes, secret: int) -> None:
    """Over another message, under another domain, of another key."""
    key = committee()[0]
    right = signing.sign(SECRETS[0], DOMAIN + message)
    seed = keccak(DOMAIN + message)
    wrong = [signing.sign(SECRETS[0], message), signing.sign(secret, DOMAIN + message), other_root(right)]
    if other != message:
        wrong.append(signing.sign(SECRETS[0], DOMAIN + other))
    for signature in wrong:
        with reverts(harness, "WrongSignature", seed, *signature):
            harness.functions.requireSigned(key.twin, DOMAIN + message, signature).call()
    with reverts(harness, "WrongSignature", seed, *wrong[-1]):
        harness.functions.requireSignedByBoth(key.point, key.twin, DOMAIN + message, wrong[-1]).call()


def other_root(point: G1) -> G1:
    """The other point with the same x: a second signature, were it one."""
    return G1(point.x, P - point.y)


def test_two_points_of_two_secrets(harness: Contract) -> None:
    """The signature is right for either of them."""
    first, second = committee()[:2]
    for secret in SECRETS[:2]:
        with reverts(harness, "WrongSignature"):
            harness.functions.requireSignedByBoth(first.point, second.twin, DOMAIN, signing.sign(secret, DOMAIN)).call()
    assert not signing.is_one_key(signing.PublicKey(first.point, second.twin))


@pytest.mark.parametrize("signed_by", [[0, 1], [0, 1, 2, 3], [0, 1, 1, 2], [1, 2, 3]])
def test_an_aggregate_of_others(harness: Contract, signed_by: list[int]) -> None:
    """One too few, one too many, one twice, one instead of another, with the sums that belong to it."""
    keys = [key.point for key in committee()]
    total, signature = aggregate(DOMAIN, signed_by)
    with reverts(harness, "WrongSignature"):
        harness.functions.requireSignedByAll(keys, bitmap([0, 1, 2]), total, DOMAIN, signature).call()


def test_a_key_twice(harness: Contract) -> None:
    keys = [committee()[member].point for member in (0, 1, 2, 1)]
    total, signature = aggregate(DOMAIN, [0, 1, 1])
    with reverts(harness, "KeyTwice", 1, 3):
        harness.functions.requireSignedByAll(keys, 0b1011, total, DOMAIN, signature).call()
    with pytest.raises(BadSigners, match="twice"):
        signing.sum_of(keys, 0b1011)
    assert tuple(harness.functions.sumOf(keys, 0b0111).call()) == signing.sum_of(keys, 0b0111)


@pytest.mark.parametrize("count", [1, 4, 16])
def test_a_bitmap_that_is_too_long(harness: Contract, count: int) -> None:
    keys = [key.point for key in committee()[:count]]
    for signers in (1 << count, (1 << count) | 1, 1 << 255):
        with reverts(harness, "BitmapTooLong", count, signers):
            harness.functions.sumOf(keys, signers).call()
        with pytest.raises(BadSigners, match=f"than the {count} keys"):
            signing.sum_of(keys, signers)


def test_no_signers(harness: Contract) -> None:
    with reverts(harness, "NoSigners"):
        harness.functions.sumOf([BASE1], 0).call()
    with pytest.raises(BadSigners, match="no signer"):
        signing.sum_of([BASE1], 0)


def test_keys_that_add_up_to_infinity(harness: Contract) -> None:
    with reverts(harness, "PointAtInfinity"):
        harness.functions.sumOf([BASE1, NEGATED], 3).call()
    with pytest.raises(BadPoint, match="infinity"):
        signing.sum_of([BASE1, NEGATED], 3)
