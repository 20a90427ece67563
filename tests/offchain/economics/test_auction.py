"""The auction's rules: who wins, what it is paid, and that nobody gains by bidding anything but the truth."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from offchain.economics.auction import (
    STANDBY_BPS,
    Auction,
    Bid,
    Record,
    award,
    burden,
    payments,
    risk,
    score,
    takeover_pay,
    time_left,
)
from offchain.errors import BadTerms
from offchain.market.money import BPS
from tests.support.bidders import Draw, deviation, draws
from tests.support.draws import examples

TASK = Auction(max_price=10_000, steps=25, interval=10, interval_time=600, urgency=2)


def test_the_lowest_score_wins_and_is_paid_the_second_score_less_its_own_burden() -> None:
    slow, fast, dear = Bid(1_000, 500), Bid(2_000, 40), Bid(3_000, 40)
    found = award(TASK, [slow, fast, dear])
    assert found is not None
    assert [score(TASK, bid) for bid in (slow, fast, dear)] == [1_000 + 2 * 1_250, 2_000 + 2 * 100, 3_000 + 2 * 100]
    assert (found.winner, found.standby, found.second_score) == (1, 2, 3_200)
    assert found.pay == 3_200 - 200


def test_who_bids_alone_is_paid_the_reserve_and_a_tie_goes_to_who_committed_first() -> None:
    bid = Bid(1, 1)
    alone, tie = award(TASK, [bid]), award(TASK, [bid, bid])
    assert alone is not None and tie is not None
    assert (alone.pay, alone.standby, alone.second_score) == (10_000, None, None)
    assert (tie.winner, tie.standby, tie.pay) == (0, 1, 1)
    assert award(TASK, []) is None


def test_pay_is_never_above_the_reserve() -> None:
    found = award(TASK, [Bid(9_000, 1), Bid(10_000, 600)])
    assert found is not None and found.pay == 10_000


def test_an_auction_of_the_rest_has_its_share_of_the_price_and_of_the_time() -> None:
    rest = replace(TASK, first=2)
    assert (rest.steps_left, rest.intervals_left, rest.reserve) == (5, 1, 2_000)
    assert time_left(rest, 7) == 4  # half an interval, rounded up
    assert takeover_pay(1_001, TASK, rest) == 200


@pytest.mark.parametrize("bid", [Bid(10_001, 1), Bid(-1, 1), Bid(1, 0), Bid(1, 601)])
def test_a_bid_that_cannot_be_revealed_is_refused(bid: Bid) -> None:
    with pytest.raises(BadTerms, match=r"bid 1: .* not in"):
        award(TASK, [Bid(1, 1), bid])


def test_risk_counts_value_with_a_prior_of_the_reserve() -> None:
    risky = replace(TASK, risk_bps=5_000)
    assert risk(risky, Record()) == 500  # half of a tenth of 10,000
    assert risk(risky, Record(done=90_000)) == 50
    assert risk(risky, Record(done=10_000, failed=80_000)) == 4_050
    assert risk(risky, Record(done=20)) == 500  # small tasks wash nothing
    assert risk(replace(risky, max_price=0), Record()) == 0


def test_an_interval_pays_its_share_less_lateness_and_the_fee() -> None:
    on_time, late, later = payments(TASK, 10_000, 100, [100, 250, 320])
    assert (on_time.gross, on_time.requester, on_time.standby) == (4_000, 0, 80)
    assert (on_time.burned, on_time.solver) == (40, 3_960)
    assert (late.requester, late.burned, late.solver) == (2 * 50, 39, 3_861)
    assert later.gross == 2_000 and later.requester == 2 * 20  # 70 s late now, of which 50 s were charged
    assert sum(payment.gross for payment in (on_time, late, later)) == 10_000


def test_lateness_takes_at_most_the_pay_and_is_owed_to_the_next_interval() -> None:
    first, second, third = payments(TASK, 10_000, 100, [50_000, 200, 250])
    assert (first.solver, first.burned, first.requester) == (0, 0, 4_000)
    assert (second.requester, third.requester) == (0, 0)  # what is on time owes nothing
    always = payments(TASK, 10_000, 100, [50_000, 50_000, 50_000])
    assert [part.requester for part in always] == [4_000, 4_000, 2_000]


# --- bidding the truth -------------------------------------------------------------------------------------------


@settings(max_examples=examples(250))
@given(draws(even=True), st.data())
def test_no_other_price_or_time_gains(case: Draw, data: st.DataObject) -> None:
    """But for what rounding to units may give, in each interval one for pay and one for the fee."""
    other = deviation(data, case)
    assert case.profit(other) <= case.profit(case.truth) + 2 * case.auction.intervals_left + 2


@settings(max_examples=examples(250))
@given(draws(), st.data())
def test_where_the_last_interval_is_short_another_time_gains_less_than_a_second_is_worth(
    case: Draw, data: st.DataObject
) -> None:
    """A promise for a part of an interval is rounded up to whole seconds, as the chain's clock is."""
    other = deviation(data, case)
    rounding = 2 * case.auction.intervals_left + 2
    assert case.profit(other) <= case.profit(case.truth) + case.auction.urgency + rounding


@settings(max_examples=examples(100))
@given(draws())
def test_the_truth_never_loses_money(case: Draw) -> None:
    assert case.profit(case.truth) >= 0


@settings(max_examples=examples(100))
@given(draws(even=True), st.data())
def test_with_the_standbys_wage_another_bid_gains_at_most_that_wage(case: Draw, data: st.DataObject) -> None:
    other = deviation(data, case)
    gain = case.profit(other) + case.wage(other) - case.profit(case.truth) - case.wage(case.truth)
    assert gain <= case.auction.reserve * STANDBY_BPS // BPS + 2 * case.auction.intervals_left + 2


def test_a_third_bidder_can_gain_the_wage_by_bidding_below_its_cost() -> None:
    """Why the wage must not exceed what readiness costs: it is the one thing here that rewards a rank and no work."""
    others = [Bid(1_000, 10), Bid(5_000, 10)]
    case = Draw(TASK, cost=6_000, seconds=10, record=Record(), before=others, after=[])
    assert case.truth is not None and case.wage(case.truth) == 0
    assert case.wage(Bid(4_999, 10)) == (4_999 * STANDBY_BPS) // BPS


@settings(max_examples=examples(100))
@given(draws())
def test_pay_is_between_the_winners_price_and_the_reserve(case: Draw) -> None:
    bids = [*case.before, *case.after]
    found = award(case.auction, bids)
    assume(found is not None)
    assert found is not None
    assert bids[found.winner].price <= found.pay <= case.auction.reserve
    assert found.score == min(bid.price + burden(case.auction, bid) for bid in bids)


@settings(max_examples=examples(100))
@given(draws(), st.data())
def test_payments_add_up_to_the_pay_however_late(case: Draw, data: st.DataObject) -> None:
    pay = data.draw(st.integers(0, case.auction.reserve))
    waits = data.draw(st.lists(st.integers(0, 500), min_size=(n := case.auction.intervals_left), max_size=n))
    committed = [sum(waits[: i + 1]) for i in range(n)]
    paid = payments(case.auction, pay, case.seconds, committed)
    assert sum(part.gross for part in paid) == pay
    assert all(min(part.solver, part.requester, part.burned, part.standby) >= 0 for part in paid)
