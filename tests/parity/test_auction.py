"""Scores, ranks and pay: the contract's and the twin's, in random auctions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import hypothesis.strategies as st
import pytest
from eth_abi import decode, encode
from eth_utils.abi import collapse_if_tuple, function_signature_to_4byte_selector
from hexbytes import HexBytes
from hypothesis import HealthCheck, given, settings
from web3 import Web3

from offchain.economics.auction import Auction, Award, Bid, Record, award, burden
from tests.conftest import Deploy
from tests.support.bidders import Draw, deviation, draws
from tests.support.draws import examples

AT_ONCE = 50  # auctions in one call of the contract
MOST = 2**96 - 1  # TermLimits.MAX_PRICE
amounts = st.one_of(st.integers(0, 50), st.integers(0, 10**21), st.integers(0, MOST))
records = st.builds(Record, amounts, amounts)


@st.composite
def auctions(draw: st.DrawFn) -> Auction:
    steps = draw(st.one_of(st.integers(1, 30), st.integers(1, 2**31 - 1)))
    interval = draw(st.one_of(st.integers(1, min(steps, 10)), st.integers(1, steps)))
    intervals = -(-steps // interval)
    longest = draw(st.integers(1, max(1, min(10**6, (2**32 - 1) // intervals))))
    urgency = draw(st.integers(0, min(2**96 - 1, (2**120 - 1) // (intervals * longest))))
    first = draw(st.integers(0, intervals - 1))
    return Auction(draw(amounts), steps, interval, longest, urgency, draw(st.integers(0, 10_000)), first)


def some_auction(random: Random) -> Auction:
    """As `auctions` draws them, and many times faster."""
    steps = random.choice((random.randint(1, 30), random.randint(1, 2**31 - 1)))
    interval = random.randint(1, random.choice((min(steps, 10), steps)))
    intervals = -(-steps // interval)
    longest = random.randint(1, max(1, min(10**6, (2**32 - 1) // intervals)))
    most = min(2**96 - 1, (2**120 - 1) // (intervals * longest))
    urgency = random.choice((0, random.randint(0, min(most, 1000)), random.randint(0, most), most))
    risk = random.choice((0, random.randint(0, 10_000), 10_000))
    return Auction(some_amount(random), steps, interval, longest, urgency, risk, random.randrange(intervals))


def some_amount(random: Random) -> int:
    return random.choice((0, random.randint(0, 50), random.randint(0, 10**21), random.randint(0, MOST), MOST))


def some_bids(random: Random, auction: Auction) -> list[Bid]:
    """Of up to six, often at the edges, so that scores are equal at times."""

    def one() -> Bid:
        price = random.choice((0, auction.reserve, random.randint(0, auction.reserve)))
        seconds = random.choice((1, auction.interval_time, random.randint(1, auction.interval_time)))
        return Bid(price, seconds, Record(some_amount(random), some_amount(random)))

    return [one() for _ in range(random.randint(1, 6))]


@st.composite
def played(draw: st.DrawFn) -> tuple[Auction, list[Bid]]:
    auction = draw(auctions())
    prices = st.one_of(st.integers(0, auction.reserve), st.sampled_from([0, auction.reserve]))
    bid = st.builds(Bid, prices, st.integers(1, auction.interval_time), records)
    return auction, draw(st.lists(bid, min_size=1, max_size=6))


Outcome = tuple[list[int], tuple[Any, ...], tuple[Any, ...], int]  # burdens, leader, standby, pay
Game = tuple[Auction, Sequence[Bid]]
Contract = Callable[[Sequence[Game]], list[Outcome]]


@pytest.fixture
def contract(w3: Web3, deploy: Deploy) -> Contract:
    """Runs auctions in the contract. A bidder's address is its place + 1, in which order they commit and reveal."""
    harness = deploy("ScoresHarness")
    entry: Any = harness.abi[0]
    [asked], [told] = (tuple(map(collapse_if_tuple, entry[side])) for side in ("inputs", "outputs"))
    head = function_signature_to_4byte_selector(f"run({asked})")

    def written(auction: Auction, bids: Sequence[Bid]) -> tuple[Any, ...]:
        ask = (0, 0, 0, auction.steps_left, auction.interval, auction.interval_time, auction.risk_bps)
        made = [(f"0x{n + 1:040x}", bid.seconds, n, bid.price, 0) for n, bid in enumerate(bids)]
        return (*ask, auction.reserve, auction.urgency), [(b.record.done, b.record.failed) for b in bids], made

    def run(games: Sequence[Game]) -> list[Outcome]:
        sent = head + encode([asked], [[written(*game) for game in games]])  # web3's own way takes ten times as long
        [outcomes] = decode([told], w3.eth.call({"to": harness.address, "data": HexBytes(sent)}))
        return list(outcomes)

    return run


def place_of(shown: tuple[Any, ...]) -> int | None:
    """Of a bid that the contract answers; None for no bidder."""
    return int(shown[0], 16) - 1 if int(shown[0], 16) else None


def requires_the_same(game: Game, outcome: Outcome) -> None:
    burdens, leader, standby, pay = outcome
    expected = award(*game)
    assert expected is not None
    assert list(burdens) == [burden(game[0], bid) for bid in game[1]], game
    assert (place_of(leader), place_of(standby), pay) == (expected.winner, expected.standby, expected.pay), game


def test_random_auctions_end_alike(contract: Contract) -> None:
    @settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
    @given(played())
    def same(game: Game) -> None:
        requires_the_same(game, *contract([game]))

    same()


def test_thousands_of_auctions_end_alike(contract: Contract) -> None:
    random, tied = Random(15), 0
    for _ in range(examples(60)):
        games = [(auction, some_bids(random, auction)) for auction in (some_auction(random) for _ in range(AT_ONCE))]
        for game, outcome in zip(games, contract(games), strict=True):
            requires_the_same(game, outcome)
            _, leader, standby, _ = outcome
            tied += place_of(standby) is not None and leader[3] + leader[4] == standby[3] + standby[4]
    assert tied > 0  # the order of commits decided


def test_no_other_price_or_time_gains_where_the_contract_judges(contract: Contract) -> None:
    def judge(auction: Auction, bids: Sequence[Bid]) -> Award | None:
        [(_, leader, standby, pay)] = contract([(auction, bids)])
        winner = place_of(leader)
        return None if winner is None else Award(winner, place_of(standby), pay, 0, None)

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(draws(even=True), st.data())
    def holds(case: Draw, data: st.DataObject) -> None:
        other = deviation(data, case)
        assert case.profit(other, judge) <= case.profit(case.truth, judge) + 2 * case.auction.intervals_left + 2

    holds()
