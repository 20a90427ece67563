"""Tickets.sol and offchain.market.tickets sign the same bytes, and draw the same winners."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3
from web3.contract import Contract

from offchain.bls.points import G1
from offchain.market.money import BPS
from offchain.market.tickets import Audited, encoded, wins
from tests.support.draws import examples

CASES = settings(max_examples=examples(30))
words = st.integers(0, 2**256 - 1)


@pytest.fixture(scope="module")
def harness(deploy: Any) -> Contract:
    return deploy("BlsHarness")


@CASES
@given(
    st.binary(min_size=20, max_size=20), words, st.integers(0, 255), st.integers(0, 2**32 - 1),
    st.binary(min_size=32, max_size=32), st.integers(0, 2**56 - 1),
)  # fmt: skip
def test_message(
    harness: Contract, market: bytes, task: int, attempt: int, checkpoint: int, root: bytes, beacon: int
) -> None:
    about = Web3.to_checksum_address(market), task, attempt, checkpoint, root, beacon
    assert harness.functions.ticketMessage(*about).call() == Audited(harness.w3.eth.chain_id, *about).message()


@CASES
@given(words, words, st.integers(0, 2**16 - 1), st.integers(0, 2**192 - 1), st.integers(0, 2**192 - 1))
def test_draws(harness: Contract, x: int, y: int, rate: int, own: int, total: int) -> None:
    ticket = G1(x, y)
    assert harness.functions.wins(ticket, rate, own, total).call() == wins(ticket, rate, own, total)


@CASES
@given(words, st.integers(1, BPS), st.integers(2**100, 2**192 - 1))
def test_draws_that_just_win(harness: Contract, x: int, rate: int, total: int) -> None:
    """A unit of stake more or less decides."""
    ticket = G1(x, x)
    draw = int.from_bytes(hashlib.sha256(encoded(ticket)).digest())
    least = (draw * BPS * total >> 256) // rate + 1
    if least < 2**192:
        assert harness.functions.wins(ticket, rate, least, total).call() and wins(ticket, rate, least, total)
        assert not harness.functions.wins(ticket, rate, least - 1, total).call()
        assert not wins(ticket, rate, least - 1, total)
