"""Where the policy bids is where a machine expects most for itself."""

from __future__ import annotations

from statistics import fmean

from offchain.economics.assignment import best_assignment
from offchain.economics.bidding import choose, gain
from offchain.economics.simulation import Market
from offchain.economics.world import draw, shown_habits


def expectations(market: Market, expected: list[list[float]], machine: int) -> tuple[float, float]:
    """A machine's profit where the policy bids, and the most elsewhere, if its forecast of the others comes true."""
    bids = [market.bid(machine, task, 0) for task in market.open]
    mine = [float(gain(market.auctions[task], bid)) for task, bid in zip(market.open, bids, strict=True)]
    gains = [*expected[:machine], mine, *expected[machine + 1 :]]
    winners = {task: by for by, task in enumerate(best_assignment(gains)) if task is not None}
    profits = [0.0] * len(bids)
    for task, bid in enumerate(bids):
        if bid is not None:
            alone = float(market.auctions[task].reserve - bid.price)
            rival = winners.get(task, machine)
            profits[task] = alone if rival == machine else max(0.0, min(alone, mine[task] - gains[rival][task]))
    chosen = choose(gains, machine)
    assert chosen is not None
    return profits[chosen], max(profits)


def test_hardly_a_machine_of_a_burst_expects_more_in_another_auction() -> None:
    found = list[tuple[float, float]]()
    for seed in range(4):
        burst = draw(30, 30, None, seed)
        market = Market(burst, habits=shown_habits(burst, 5, seed))
        market.open = list(range(30))
        expected = [market.expected_gains(machine, 0) for machine in range(30)]
        found += [expectations(market, expected, machine) for machine in range(30)]
    assert fmean(most > 1.001 * chosen for chosen, most in found) <= 0.05
    assert sum(most - chosen for chosen, most in found) <= 0.001 * sum(chosen for chosen, _ in found)
