"""The lottery: fees follow the stakes, and nobody gains by splitting one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import islice, pairwise
from math import exp, sqrt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.bls.points import G1, bn, inside1, outside1
from offchain.bls.signing import hash_to_g1, sign
from offchain.market import tickets as module
from offchain.market.money import BPS
from offchain.market.tickets import ONE, Audited, fees, fees_of, winning

AUDITED = Audited(1337, "0x" + "11" * 20, 5, 0, 7, bytes(32), 0)
DRAWS = 10_000
FAR = 4  # standard deviations
HIGHEST = 2**16 - 1  # rate
EXACT = Fraction(1, 2**74)  # how far a probability may be off
MOST = 50  # fees that a ticket can win
stakes = st.integers(0, 2**96)
means = st.integers(0, ONE * HIGHEST // BPS)  # in 2^-80


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


def is_close(count: int, draws: int, mean: float, variance: float) -> bool:
    """Whether so many draws of that mean and variance each could have added up so."""
    return abs(count - draws * mean) <= FAR * sqrt(draws * variance)


def chance(p: float) -> float:
    """Of winning at all: of looking."""
    return 1 - exp(-p)


def test_the_tickets_of_this_page_are_what_verifiers_sign(drawn: list[G1]) -> None:
    for secret in (1, 2, 3, 777, DRAWS):
        assert drawn[secret - 1] == sign(secret, AUDITED.message())


def test_fees_follow_the_stakes(drawn: list[G1]) -> None:
    """10,000 draws of verifiers with a tenth, two, three and four tenths of all stakes. So do looks, nearly."""
    rate, shares = 2_500, (1, 2, 3, 4)
    for turn, own in enumerate(shares):
        won = [fees(ticket, rate, own, sum(shares)) for ticket in drawn[turn :: len(shares)]]
        p = rate / BPS * own / sum(shares)
        assert is_close(sum(won), len(won), p, p), own
        assert is_close(sum(map(bool, won)), len(won), chance(p), chance(p) * exp(-p)), own


@pytest.mark.parametrize("rate", [100, 1_000, 10_000, HIGHEST])
def test_a_checkpoint_pays_fees_at_the_rate(drawn: list[G1], rate: int) -> None:
    """1,000 checkpoints, ten verifiers with a tenth each."""
    p = rate / BPS / 10
    assert is_close(sum(fees(ticket, rate, 1, 10) for ticket in drawn), DRAWS, p, p)


@pytest.mark.parametrize(("rate", "names"), [(BPS, 4), (BPS, 9), (HIGHEST, 4)])
def test_splitting_a_stake_gains_nothing(drawn: list[G1], rate: int, names: int) -> None:
    """Of half of all stakes: one name in some checkpoints, or several in as many. One replay serves all that are drawn.

    Neither the fees nor the checkpoints that have to be replayed are others.
    """
    number, p = DRAWS // (names + 1), rate / BPS / 2
    whole = [fees(ticket, rate, names, 2 * names) for ticket in drawn[:number]]
    parts = [fees(ticket, rate, 1, 2 * names) for ticket in drawn[number : number * (names + 1)]]
    split = [sum(parts[k::number]) for k in range(number)]
    for won in (whole, split):
        assert is_close(sum(won), number, p, p)
        assert is_close(sum(map(bool, won)), number, chance(p), chance(p) * exp(-p))


# --- exactly -----------------------------------------------------------------------------------------------------


def draws_below(sums: Sequence[int], fees: int) -> int:
    """How many of the 2^256 draws win at least so many fees."""
    if fees > len(sums):
        return 0
    return 2**256 if fees == 0 else 2**256 - -(-(sums[fees - 1] << 256) // sums[-1])


def law(mean: int) -> list[Fraction]:
    """The probability of each number of fees, by the draws that win it."""
    sums = module._sums(mean)
    least = [draws_below(sums, k) for k in range(len(sums) + 2)]
    return [Fraction(more - fewer, 2**256) for more, fewer in pairwise(least)]


def poisson(mean: int) -> list[Fraction]:
    """The true law, but for less than 2^-180: in 2^-200, to the 100th term."""
    terms = [1 << 200]
    for i in range(1, 100):
        terms.append(terms[-1] * mean // (i * ONE))
    return [Fraction(term, sum(terms)) for term in terms]


def tails(law: Sequence[Fraction]) -> list[Fraction]:
    found, rest = [], Fraction(0)
    for probability in reversed(law):
        rest += probability
        found.append(rest)
    return found[::-1]


@given(means)
def test_the_law_is_poissons(mean: int) -> None:
    true, drawn = tails(poisson(mean)), tails(law(mean))
    for k in range(1, MOST + 2):
        assert abs((drawn[k] if k < len(drawn) else 0) - true[k]) < EXACT, k
    assert len(module._sums(mean)) <= MOST + 1


@given(st.lists(means, min_size=1, max_size=3))
def test_fees_and_looks_of_parts_are_those_of_the_whole(parts: list[int]) -> None:
    """The law of a sum of names' fees, and so how often none of them has to look, is that of one with all of it."""
    parts = [part // len(parts) for part in parts]
    together = [Fraction(1)]
    for part in parts:
        together = convolved(together, law(part), MOST + 1)
    whole = law(sum(parts))
    for k in range(20):
        assert abs(together[k] - (whole[k] if k < len(whole) else 0)) < 2 * (len(parts) + 1) * EXACT, k


def convolved(a: Sequence[Fraction], b: Sequence[Fraction], length: int) -> list[Fraction]:
    def at(k: int) -> Fraction:
        return sum((a[i] * b[k - i] for i in range(k + 1) if i < len(a) and k - i < len(b)), Fraction(0))

    return [at(k) for k in range(length)]


@given(stakes, stakes, st.integers(0, HIGHEST), st.integers(0, 2**256 - 1))
def test_exactly_those_draws_win(own: int, others: int, rate: int, draw: int) -> None:
    total = own + others
    won = fees_of(draw, rate, own, total)
    sums = module._sums(rate * own * ONE // (BPS * total)) if own else [ONE]
    assert draws_below(sums, won + 1) <= draw < draws_below(sums, won)


@given(st.integers(1, 2**64))
def test_a_ticket_is_drawn_by_its_hash(seed: int) -> None:
    draw = int.from_bytes(hashlib.sha256(seed.to_bytes(32) * 2).digest())
    assert fees(G1(seed, seed), HIGHEST, 3, 4) == fees_of(draw, HIGHEST, 3, 4)


@pytest.mark.parametrize(
    ("draw", "rate", "own", "total", "won"),
    [
        (0, HIGHEST, 1, 1, MOST),  # the most that there is
        (0, 1, 1, 2**60, 1),  # hardly a chance
        (0, 1, 1, 2**192 - 1, 0),  # less than 2^-80 is none
        (2**256 - 1, HIGHEST, 1, 1, 0),
        (0, 0, 1, 1, 0),
        (0, HIGHEST, 0, 1, 0),
        (0, HIGHEST, 0, 0, 0),
        (0, HIGHEST, 2**192 - 1, 2**192 - 1, MOST),
    ],
)
def test_edges(draw: int, rate: int, own: int, total: int, won: int) -> None:
    assert fees_of(draw, rate, own, total) == won


def test_only_a_winner_has_something_to_send() -> None:
    ticket = sign(3, AUDITED.message())
    assert winning(3, AUDITED, HIGHEST, 5, 5) == (ticket, fees(ticket, HIGHEST, 5, 5))
    assert winning(3, AUDITED, 0, 5, 5) is None
    assert winning(3, AUDITED, BPS, 0, 5) is None
