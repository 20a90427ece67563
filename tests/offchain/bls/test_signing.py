"""Keys and signatures without a chain. tests/parity/test_bls.py holds them to the contracts."""

from __future__ import annotations

import pytest

from offchain.bls import points, signing
from offchain.bls.points import BASE1, BASE2, ORDER, BadPoint
from offchain.errors import BadInput
from tests.support.bls import NEGATED, SECRETS, aggregate, bitmap, committee, outsider


@pytest.mark.parametrize("secret", [0, -1, ORDER, ORDER + 1])
def test_a_secret_outside_of_the_group_is_refused_and_not_quoted(secret: int) -> None:
    for use in (signing.public_key, lambda wrong: signing.sign(wrong, b"")):
        with pytest.raises(BadInput) as caught:
            use(secret)
        assert str(ORDER + 1) not in str(caught.value)


def test_new_secrets_differ() -> None:
    drawn = {signing.new_secret() for _ in range(100)}
    assert len(drawn) == 100 and all(0 < secret < ORDER for secret in drawn)


def test_the_least_secret_has_the_generators() -> None:
    assert signing.public_key(1) == (BASE1, BASE2)
    assert signing.public_key(ORDER - 1).point == NEGATED


def test_a_signature() -> None:
    """It is unique, and of one key and one message."""
    key, other = committee()[:2]
    signature = signing.sign(SECRETS[0], b"this")
    assert signature == signing.sign(SECRETS[0], b"this") != signing.sign(SECRETS[0], b"that")
    assert signing.verify(key.twin, b"this", signature)
    assert not signing.verify(key.twin, b"that", signature)
    assert not signing.verify(other.twin, b"this", signature)


def test_an_aggregate_needs_every_signer_once() -> None:
    keys = [key.point for key in committee()[:4]]
    total, signature = aggregate(b"held", [0, 2])
    assert signing.verify_aggregate(keys, bitmap([0, 2]), total, b"held", signature)
    twice_total, twice = aggregate(b"held", [0, 2, 2])
    assert not signing.verify_aggregate(keys, bitmap([0, 2]), twice_total, b"held", twice)
    assert not signing.verify_aggregate(keys, bitmap([0, 2]), total, b"held", twice)


def test_the_subgroup_is_checked() -> None:
    with pytest.raises(BadPoint, match="subgroup"):
        signing.verify(outsider(), b"", signing.sign(1, b""))
    with pytest.raises(BadPoint, match="subgroup"):
        points.sum2([BASE2, outsider()])


def test_nothing_adds_up_to_infinity() -> None:
    for add, none in ((points.sum1, [BASE1, NEGATED]), (points.sum1, []), (points.sum2, [])):
        with pytest.raises(BadPoint, match="infinity"):
            add(none)
