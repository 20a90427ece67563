"""Scores, ranks and pay: the contract's and the twin's, in random auctions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings
from web3 import Web3

from offchain.economics.auction import Auction, Award, Bid, Record, award, burden
from tests.conftest import Deploy
from tests.support.bidders import Draw, deviation, draws
from tests.support.draws import examples

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


@st.composite
def played(draw: st.DrawFn) -> tuple[Auction, list[Bid]]:
    auction = draw(auctions())
    prices = st.one_of(st.integers(0, auction.reserve), st.sampled_from([0, auction.reserve]))
    bid = st.builds(Bid, prices, st.integers(1, auction.interval_time), records)
    return auction, draw(st.lists(bid, min_size=1, max_size=6))


Outcome = tuple[list[int], tuple[Any, ...], tuple[Any, ...], int]  # burdens, leader, standby, pay
Contract = Callable[[Auction, Sequence[Bid]], Outcome]


@pytest.fixture
def contract(w3: Web3, deploy: Deploy) -> Contract:
    """Runs an auction in the contract. A bidder's address is its place + 1, in which order they commit and reveal."""
    run = deploy("ScoresHarness").functions.run

    def judge(auction: Auction, bids: Sequence[Bid]) -> Outcome:
        ask = (0, 0, 0, auction.steps_left, auction.interval, auction.interval_time, auction.risk_bps)
        made = [(f"0x{n + 1:040x}", bid.seconds, n, bid.price, 0) for n, bid in enumerate(bids)]
        past = [(bid.record.done, bid.record.failed) for bid in bids]
        burdens, leader, standby, pay = run((*ask, auction.reserve, auction.urgency), past, made).call()
        return burdens, leader, standby, pay

    return judge


def place_of(shown: tuple[Any, ...]) -> int | None:
    """Of a bid that the contract answers; None for no bidder."""
    return int(shown[0], 16) - 1 if int(shown[0], 16) else None


def test_random_auctions_end_alike(contract: Contract) -> None:
    @settings(max_examples=examples(300), deadline=None, suppress_health_check=list(HealthCheck))
    @given(played())
    def same(game: tuple[Auction, list[Bid]]) -> None:
        auction, bids = game
        burdens, leader, standby, pay = contract(auction, bids)
        assert burdens == [burden(auction, bid) for bid in bids]
        expected = award(auction, bids)
        assert expected is not None
        assert (place_of(leader), place_of(standby), pay) == (expected.winner, expected.standby, expected.pay)

    same()


def test_no_other_price_or_time_gains_where_the_contract_judges(contract: Contract) -> None:
    def judge(auction: Auction, bids: Sequence[Bid]) -> Award | None:
        _, leader, standby, pay = contract(auction, bids)
        winner = place_of(leader)
        return None if winner is None else Award(winner, place_of(standby), pay, 0, None)

    @settings(max_examples=examples(60), deadline=None, suppress_health_check=list(HealthCheck))
    @given(draws(even=True), st.data())
    def holds(case: Draw, data: st.DataObject) -> None:
        other = deviation(data, case)
        assert case.profit(other, judge) <= case.profit(case.truth, judge) + 2 * case.auction.intervals_left + 2

    holds()
