"""Tickets.sol and offchain.market.tickets sign the same bytes, and draw the same winners."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web3 import Web3
from web3.contract import Contract

from offchain.bls.points import G1
from offchain.market.tickets import Audited, fees, fees_of
from tests.support.draws import examples

CASES = settings(max_examples=examples(30))
HIGHEST = 2**16 - 1  # rate
words = st.integers(0, 2**256 - 1)
rates = st.integers(0, HIGHEST)
stakes = st.integers(0, 2**191)


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
@given(words, words, rates, stakes, stakes)
def test_draws(harness: Contract, x: int, y: int, rate: int, own: int, others: int) -> None:
    ticket, total = G1(x, y), min(own + others, 2**192 - 1)
    assert harness.functions.fees(ticket, rate, own, total).call() == fees(ticket, rate, own, total)


@CASES
@given(words, rates, st.integers(1, 2**192 - 1), st.integers(1, 200))
def test_draws_of_large_shares(harness: Contract, x: int, rate: int, total: int, part: int) -> None:
    """Among them who has everything."""
    own = max(1, total // part)
    assert harness.functions.feesOf(x, rate, own, total).call() == fees_of(x, rate, own, total)


@CASES
@given(words, st.integers(1, 2**16 - 1), st.integers(2**150, 2**192 - 1))
def test_draws_that_just_win_as_many(harness: Contract, x: int, rate: int, total: int) -> None:
    """The least stakes with which a ticket wins a fee, and all that it can win: a unit less decides."""
    most = fees_of(x, rate, total, total)
    for won in {1, most} if most else ():
        own = least(x, rate, total, won)
        for stake in (own, own - 1):
            assert harness.functions.feesOf(x, rate, stake, total).call() == fees_of(x, rate, stake, total)


def least(draw: int, rate: int, total: int, won: int) -> int:
    """A stake with which it wins so many fees, and with a unit less it does not."""
    low, high = 0, total
    while low + 1 < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fees_of(draw, rate, middle, total) >= won else (middle, high)
    return high


EDGES = [
    (HIGHEST, 1, 1),
    (HIGHEST, 2**192 - 1, 2**192 - 1),
    (1, 1, 2**60),
    (1, 1, 2**192 - 1),
    (0, 1, 1),
    (HIGHEST, 0, 1),
    (HIGHEST, 0, 0),
]


@pytest.mark.parametrize(("rate", "own", "total"), EDGES)
@pytest.mark.parametrize("draw", [0, 1, 2**255, 2**256 - 2, 2**256 - 1])
def test_edges(harness: Contract, draw: int, rate: int, own: int, total: int) -> None:
    """Of hashes that nobody finds."""
    assert harness.functions.feesOf(draw, rate, own, total).call() == fees_of(draw, rate, own, total)
