"""Simulated markets: every task is done by one machine at a time, and true bids reach the optimum."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from statistics import fmean

import numpy as np
import pytest

from offchain.economics.auction import Auction
from offchain.economics.bidding import choose, first
from offchain.economics.comparison import RULES, compare
from offchain.economics.optimum import least_cost, optimum, total_cost
from offchain.economics.simulation import Market, Outcome, Windows
from offchain.economics.world import TOKEN, Machine, Posted, World, draw, shown_habits, typical_habits

LOADS = (0.1, 0.3, 0.6)


def world(throughputs: Sequence[float], posted: Sequence[float], urgency: int = 0) -> World:
    """Machines of a token an hour, and tasks of an hour's work at throughput 1."""
    terms = Auction(100 * TOKEN, 400, 100, 100_000, urgency)
    machines = [Machine(throughput, TOKEN) for throughput in throughputs]
    fit = np.ones((len(machines), len(posted)))
    return World(machines, [Posted(at, 3_600, terms) for at in posted], fit)


def test_a_task_is_done_by_the_best_machine_when_its_auction_has_ended() -> None:
    found = Market(world([1, 4, 2], [100]), windows=Windows(20, 10)).run()
    assert found == Outcome([1], [130.0], [130.0 + 900], auctions=1)


def test_an_auction_without_bids_is_held_again() -> None:
    found = Market(world([1], [0, 0]), first, Windows(20, 10)).run()
    assert found.machine == [0, 0] and found.began[0] == 30
    assert 3_630 <= found.began[1] < 3_630 + 60
    assert found.auctions > 100


def test_machines_that_know_each_other_share_a_burst_in_one_round() -> None:
    """The fast machine is best for all tasks, which are alike."""
    place = world([4, 1, 0.9, 0.8], [0, 0, 0, 0], urgency=1)
    found = Market(place, choose, habits=shown_habits(place, 3, 0)).run()
    assert sorted(found.machine) == [0, 1, 2, 3] and found.auctions == 4


def test_a_busy_machine_bids_ahead_where_waiting_for_it_costs_less() -> None:
    """The slow one would need ten hours; the fast one is free in half an hour."""
    place = world([1, 0.1], [0, 1_800], urgency=TOKEN // 3_600)
    assert Market(place, first).run().machine == [0, 1]
    ahead = Market(place, first, ahead=1).run()
    assert ahead.machine == [0, 0] and ahead.began[1] == ahead.ended[0]


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_machine_works_on_one_task_at_a_time_and_every_task_is_done(ahead: int) -> None:
    drawn = draw(8, 60, 0.8, seed=3)
    market = Market(drawn, ahead=ahead, typical=typical_habits(8))
    found = market.run()
    assert min(found.machine) >= 0
    for machine in range(8):
        spans = sorted((found.began[task], found.ended[task]) for task, by in enumerate(found.machine) if by == machine)
        assert all(done <= begun + 1e-6 for (_, done), (begun, _) in pairwise(spans))
    assert sum(record.done for record in market.records) == sum(task.auction.reserve for task in drawn.tasks)


def test_the_optimum_may_wait_for_a_busy_machine_and_nothing_is_below_the_bound() -> None:
    place = world([1, 0.1], [0, 1_800], urgency=TOKEN // 3_600)
    assert optimum(place).machine == [0, 1]
    waited = optimum(place, may_wait=True)
    assert waited.machine == [0, 0] and waited.began == [0, 3_600]
    assert least_cost(place) < total_cost(place, waited) < total_cost(place, optimum(place))
    hours = 1 + 1 + 1.5  # of work, and until the results
    assert total_cost(place, waited) == pytest.approx((2 + hours - 1) * TOKEN, rel=1e-3)


def test_worlds_are_drawn_alike_from_one_seed_and_machines_are_100_fold_apart() -> None:
    one, two = draw(30, 20, 0.3, 5), draw(30, 20, 0.3, 5)
    assert one.tasks == two.tasks and one.machines == two.machines
    spreads = [max(speeds) / min(speeds) for seed in range(20) if (speeds := speeds_of(seed))]
    assert 50 < np.median(spreads) < 250


def speeds_of(seed: int) -> list[float]:
    return [machine.throughput for machine in draw(30, 1, 0.3, seed).machines]


@pytest.mark.parametrize("load", LOADS)
def test_arrivals_reach_97_percent_of_the_optimum(load: float) -> None:
    drawn = [draw(30, 120, load, seed) for seed in range(2)]
    for rule in ("score, forecast", "score, one ahead"):
        assert fmean(reached(one, rule) for one in drawn) >= 0.97, rule
    assert fmean(reached(one, "price only") for one in drawn) < 0.8


def test_bursts_reach_90_percent_of_the_optimum_and_one_ahead_all_of_it() -> None:
    bursts = [draw(30, 30, None, seed) for seed in range(3)]
    known = [one.knowing(shown_habits(one, 5, 0)) for one in bursts]
    assert fmean(reached(one, "score, forecast") for one in known) >= 0.9
    assert fmean(reached(one, "score, one ahead") for one in known) >= 0.97
    assert fmean(reached(one, "score, one ahead") for one in bursts) >= 0.9
    assert fmean(reached(one, "score, one by one") for one in known) < 0.85


def reached(drawn: World, rule: str) -> float:
    return total_cost(drawn, optimum(drawn)) / total_cost(drawn, RULES[rule](drawn, Windows()))


def test_a_comparison_has_every_rule_in_every_scenario() -> None:
    blocks = list(compare([0.5], machines=6, tasks=12, worlds=2, seed=0, windows=Windows()))
    assert [[row.rule for row in block] for block in blocks] == [list(RULES)] * 3
    assert [block[0].scenario for block in blocks] == ["load 0.5", "burst, strangers", "burst"]
    for row in (row for block in blocks for row in block):
        assert 0 < row.worst <= row.optimum and 0 < row.bound <= 1
        assert 0 <= row.idle <= 1 and 0 < row.crowding <= 1
        assert row.rule != "optimum" or row.optimum == row.worst == 1
