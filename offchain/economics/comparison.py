"""Rules compared in the same worlds: what they reach of the optimum, how long tasks wait, how work is spread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import Final

import numpy as np

from offchain.economics.bidding import choose, first
from offchain.economics.optimum import least_cost, optimum, total_cost
from offchain.economics.simulation import Market, Outcome, Windows
from offchain.economics.world import World, draw, shown_habits, typical_habits

BUSIEST: Final = 0.1  # the share of machines whose share of the work is shown
HARDLY: Final = 0.05  # of the time: a machine that is busy for less counts as idle
BIDS_SHOWN: Final = 5  # by each machine, before a burst among machines that know each other

Run = Callable[[World, Windows], Outcome]


@dataclass(frozen=True, slots=True)
class Figures:
    """One rule in one scenario.

    Attributes:
        optimum: cost of the optimum that uses idle machines, over the rule's.
        worst: the least of these ratios among the worlds; `optimum` is their mean.
        waiting_optimum: cost of the optimum that may keep a task for a busy machine, over the rule's.
        bound: the cost that no schedule goes below, over the rule's.
        wait: mean minutes from the posting of a task to the beginning of its work.
        idle: share of machines that work for less than 5 % of the time.
        crowding: share of all work that the busiest tenth of the machines does.
        auctions: for each task.
    """

    scenario: str
    rule: str
    optimum: float
    worst: float
    waiting_optimum: float
    bound: float
    wait: float
    idle: float
    crowding: float
    auctions: float

    def row(self) -> dict[str, str | float]:
        return asdict(self)


RULES: Final[dict[str, Run]] = {
    "price only": lambda world, windows: Market(world, first, windows, price_only=True).run(),
    "score, one by one": lambda world, windows: Market(world, first, windows).run(),
    "score, forecast": lambda world, windows: _forecast(world, windows, ahead=0),
    "score, one ahead": lambda world, windows: _forecast(world, windows, ahead=1),
    "optimum": lambda world, windows: optimum(world),
    "optimum, may wait": lambda world, windows: optimum(world, may_wait=True),
}


def _forecast(world: World, windows: Windows, ahead: int) -> Outcome:
    return Market(world, choose, windows, ahead, typical=typical_habits(len(world.machines)), habits=world.known).run()


def compare(
    loads: Sequence[float], machines: int, tasks: int, worlds: int, seed: int, windows: Windows
) -> Iterator[list[Figures]]:
    """For each scenario its rules' figures. Raises BadInput without scipy."""
    for load in loads:
        drawn = [draw(machines, tasks, load, seed + world) for world in range(worlds)]
        yield _compared(f"load {load:g}", drawn, windows)
    bursts = [draw(machines, machines, None, seed + world) for world in range(worlds)]
    yield _compared("burst, strangers", bursts, windows)
    yield _compared("burst", [world.knowing(shown_habits(world, BIDS_SHOWN, seed)) for world in bursts], windows)


def _compared(scenario: str, worlds: list[World], windows: Windows) -> list[Figures]:
    outcomes = {rule: [run(world, windows) for world in worlds] for rule, run in RULES.items()}
    costs = {rule: [total_cost(*pair) for pair in zip(worlds, found, strict=True)] for rule, found in outcomes.items()}
    bounds = [least_cost(world) for world in worlds]

    def figures(rule: str) -> Figures:
        ours, found = costs[rule], outcomes[rule]
        ratios = _ratios(costs["optimum"], ours)
        spread = [_spread(world, outcome) for world, outcome in zip(worlds, found, strict=True)]
        wait, idle, crowding = (fmean(values) for values in zip(*spread, strict=True))
        waiting = fmean(_ratios(costs["optimum, may wait"], ours))
        auctions = sum(outcome.auctions for outcome in found) / sum(len(world.tasks) for world in worlds)
        bound = fmean(_ratios(bounds, ours))
        return Figures(scenario, rule, fmean(ratios), min(ratios), waiting, bound, wait, idle, crowding, auctions)

    return [figures(rule) for rule in RULES]


def _ratios(least: list[float], ours: list[float]) -> list[float]:
    return [a / b for a, b in zip(least, ours, strict=True)]


def _spread(world: World, outcome: Outcome) -> tuple[float, float, float]:
    """Mean wait in minutes; share of machines that are hardly used; share of work on the busiest."""
    posted = np.array([task.at for task in world.tasks])
    used, done = np.zeros(len(world.machines)), np.zeros(len(world.machines))
    spent = np.array(outcome.ended) - np.array(outcome.began)
    np.add.at(used, outcome.machine, spent)
    np.add.at(done, outcome.machine, [task.work for task in world.tasks])
    busiest = np.sort(done)[::-1][: max(1, round(BUSIEST * len(done)))]
    wait = (np.array(outcome.began) - posted).mean() / 60
    return float(wait), float((used < HARDLY * max(outcome.ended)).mean()), float(busiest.sum() / done.sum())
