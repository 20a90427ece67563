"""Where a worker bids, and that being busy can be bid truthfully."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.economics.auction import Auction, Bid, Record, burden, payments, score
from offchain.economics.bidding import HOUR, Habit, choose, first, gain, price_for, truthful_bid
from tests.support.draws import examples

TASK = Auction(max_price=10_000, steps=30, interval=10, interval_time=600, urgency=2, risk_bps=500)


def test_a_truthful_bid_is_what_the_machines_time_costs_with_expenses_and_fee() -> None:
    bid = truthful_bid(TASK, hourly=3 * HOUR, seconds=100, expenses=24)
    assert bid == Bid(price_for(3 * 300 + 24, 3), 100)
    assert truthful_bid(TASK, hourly=300 * HOUR, seconds=100) is None  # above the reserve
    assert truthful_bid(TASK, hourly=1, seconds=601) is None  # slower than the terms allow
    assert truthful_bid(TASK, hourly=1, seconds=500, wait=101) is None  # would miss its first deadline


@settings(max_examples=examples(100))
@given(st.integers(1, 60), st.integers(0, 100), st.integers(0, 10**6))
def test_who_begins_late_is_left_with_its_cost_and_has_the_score_of_the_true_time(
    seconds: int, wait: int, hourly: int
) -> None:
    """As long as an interval's pay covers what the wait costs."""
    task = replace(TASK, max_price=10**6)
    bid = truthful_bid(task, hourly, seconds, wait=wait)
    at_once = truthful_bid(task, hourly, seconds)
    assert bid is not None and at_once is not None
    assert score(task, bid) == score(task, at_once) + task.urgency * wait
    pay = bid.price + 3 * task.urgency * wait  # what a second score leaves is at least the price
    paid = payments(task, pay, bid.seconds, [wait + seconds * (i + 1) for i in range(3)])
    assert sum(part.requester for part in paid) == task.urgency * wait
    assert sum(part.solver for part in paid) >= -(-hourly * 3 * seconds // HOUR)


def test_a_late_start_costs_what_the_wait_costs_up_to_all_pay() -> None:
    """Who is an hour late has nothing left here: what one interval does not cover the next ones pay."""
    paid = payments(TASK, 3_000, 10, [3_600 + 10 * (i + 1) for i in range(3)])
    assert [part.requester for part in paid] == [1_000, 1_000, 1_000] and TASK.urgency * 3_600 > 3_000


# --- habits ------------------------------------------------------------------------------------------------------


def test_a_habit_expects_what_was_shown_in_proportion_to_work() -> None:
    habit = Habit().seen(TASK, 300, Bid(600, 40)).seen(TASK, 100, Bid(200 + 2 * 50, 20), wait=50)
    assert habit == Habit(work=400, price=800, seconds=3 * 40 + 3 * 20)
    assert habit.expected(TASK, 200) == Bid(400, 30)
    assert habit.expected(TASK, 200, wait=7) == Bid(414, 30)
    assert habit.expected(TASK, 2_000, wait=301) is None  # 300 s and the wait miss the first deadline
    assert habit.expected(TASK, 6_000) is None  # above the reserve
    assert Habit().expected(TASK, 200) is None  # nothing is known


def test_a_gain_falls_with_the_score_and_is_positive_for_every_bid_that_may_be_revealed() -> None:
    worst, best = Bid(10_000, 600, Record(failed=10**12)), Bid(0, 1, Record(done=10**12))
    assert gain(TASK, None) == 0 < gain(TASK, worst) < gain(TASK, best)
    assert gain(TASK, best) - gain(TASK, worst) == 10_000 + burden(TASK, worst) - burden(TASK, best)


# --- where to bid ------------------------------------------------------------------------------------------------


def test_each_bids_where_the_best_assignment_puts_it() -> None:
    fast, slow = [10.0, 9.0], [8.0, 3.0]
    assert choose([fast, slow], 0) == 1  # although it would win both
    assert choose([fast, slow], 1) == 0


def test_who_is_not_needed_is_second_where_it_is_the_best_of_the_others() -> None:
    gains = [[10.0, 0.0], [9.0, 6.0], [8.0, 5.0], [7.0, 5.5], [0.0, 1.0]]
    assert [choose(gains, me) for me in range(5)] == [0, 1, 0, 1, 1]


def test_tasks_that_are_alike_are_shared_out_although_each_knows_only_its_own_gain_exactly() -> None:
    known = [[float(gain)] * 5 for gain in (9, 8, 7, 6, 5)]
    exact = [[gain + 0.9 * (-1) ** gain] * 5 for gain in (9, 8, 7, 6, 5)]
    chosen = [choose([*known[:me], exact[me], *known[me + 1 :]], me) for me in range(5)]
    assert sorted(map(str, chosen)) == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("policy", [choose, first])
def test_nothing_is_bid_where_nothing_can_be(policy: object) -> None:
    assert callable(policy)
    assert policy([[]], 0) is None
    assert policy([[0.0, 0.0], [1.0, 1.0]], 0) is None
    assert policy([[0.0, 4.0]], 0) == 1
