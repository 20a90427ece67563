"""The lottery: winners follow the stakes, and nobody gains by splitting one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import islice
from math import sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.bls.points import G1, bn, inside1, outside1
from offchain.bls.signing import hash_to_g1, sign
from offchain.market.money import BPS
from offchain.market.tickets import Audited, winning, wins

AUDITED = Audited(1337, "0x" + "11" * 20, 5, 0, 7, bytes(32), 0)
DRAWS = 10_000
FAR = 4  # standard deviations
stakes = st.integers(0, 2**96)


def tickets(audited: Audited) -> Iterator[G1]:
    """Of the verifiers whose secrets are 1, 2, 3, … Each is the one before, plus the point of the message."""
    base = inside1(hash_to_g1(audited.message()))
    ticket = base
    while True:
        yield outside1(ticket)
        ticket = bn.add(ticket, base)


@pytest.fixture(scope="module")
def drawn() -> list[G1]:
    return list(islice(tickets(AUDITED), DRAWS))


def is_close(count: int, draws: int, share: float) -> bool:
    """Whether a fair coin with that share could have fallen so."""
    return abs(count - draws * share) <= FAR * sqrt(draws * share * (1 - share))


def test_the_tickets_of_this_page_are_what_verifiers_sign(drawn: list[G1]) -> None:
    for secret in (1, 2, 3, 777, DRAWS):
        assert drawn[secret - 1] == sign(secret, AUDITED.message())


def test_winners_follow_the_stakes(drawn: list[G1]) -> None:
    """10,000 draws of verifiers with a tenth, two, three and four tenths of all stakes."""
    rate, shares = 2_500, (1, 2, 3, 4)
    for turn, own in enumerate(shares):
        of_one = drawn[turn :: len(shares)]
        count = sum(wins(ticket, rate, own, sum(shares)) for ticket in of_one)
        assert is_close(count, len(of_one), rate / BPS * own / sum(shares)), own


@pytest.mark.parametrize("rate", [100, 1_000, 10_000])
def test_a_checkpoint_is_audited_at_the_rate(drawn: list[G1], rate: int) -> None:
    """1,000 checkpoints, ten verifiers with a tenth each."""
    count = sum(wins(ticket, rate, 1, 10) for ticket in drawn)
    assert is_close(count, DRAWS, rate / BPS / 10)


def test_splitting_a_stake_gains_nothing(drawn: list[G1]) -> None:
    """Of half of all stakes: one name in 2,000 checkpoints, or four names in the same."""
    whole, parts = drawn[:2_000], drawn[2_000:]
    one = sum(wins(ticket, BPS, 4, 8) for ticket in whole)
    four = sum(wins(ticket, BPS, 1, 8) for ticket in parts)
    assert is_close(one, len(whole), 4 / 8) and is_close(four, len(parts), 1 / 8)
    assert abs(one - four) <= FAR * sqrt(len(whole) * (1 / 4 + 4 * 7 / 64))


@given(st.lists(stakes, min_size=1, max_size=8), stakes, st.integers(0, BPS))
def test_the_chances_of_parts_add_up_to_that_of_the_whole(parts: list[int], others: int, rate: int) -> None:
    """Exactly: so many of the 2^256 draws win, but for the rounding up of each."""
    total = sum(parts) + others
    if total:
        whole = winning_draws(rate, sum(parts), total)
        assert 0 <= sum(winning_draws(rate, part, total) for part in parts) - whole < len(parts)


def winning_draws(rate: int, own: int, total: int) -> int:
    """Number of draws that win: all below rate · own · 2^256 / (10,000 · total)."""
    return min(2**256, -(-(rate * own << 256) // (BPS * total)))


@given(stakes, stakes, st.integers(0, BPS), st.integers(1, 2**64))
def test_exactly_those_draws_win(own: int, others: int, rate: int, seed: int) -> None:
    ticket = G1(seed, seed)
    draw = int.from_bytes(hashlib.sha256(seed.to_bytes(32) * 2).digest())
    total = own + others
    assert wins(ticket, rate, own, total) == (total > 0 and draw < winning_draws(rate, own, total))


def test_only_a_winner_has_something_to_send() -> None:
    assert winning(3, AUDITED, BPS, 5, 5) == sign(3, AUDITED.message())
    assert winning(3, AUDITED, 0, 5, 5) is None
    assert winning(3, AUDITED, BPS, 0, 5) is None


def test_no_ticket_wins_without_stakes() -> None:
    assert not wins(G1(1, 2), BPS, 0, 0)
