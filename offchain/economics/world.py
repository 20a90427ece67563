"""Machines and tasks that differ, as they are drawn for simulations."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from offchain.economics.auction import Auction, Bid, Record
from offchain.economics.bidding import HOUR, NEWCOMER, Habit, truthful_bid

TOKEN: Final = 10**9  # units of money in a token, and so of prices in simulations
SECOND: Final = 10**6  # work that the typical machine does in a second

# Spreads are standard deviations of natural logarithms. With 1.2 the fastest of 30 machines is about 100 times as fast
# as the slowest.
THROUGHPUT_SPREAD: Final = 1.2
COST_SPREAD: Final = 0.5  # of what a machine costs for a unit of work
FIT_SPREAD: Final = 0.15  # of a machine's throughput from one task to another, which only its owner measures
WORK_SPREAD: Final = 1.2
URGENCY_SPREAD: Final = 1.5
TYPICAL_WORK: Final = HOUR * SECOND  # an hour of the typical machine, which costs a token
TYPICAL_URGENCY: Final = 0.41 * TOKEN / HOUR  # to the cost of work as in DESIGN.md, section 6
GENEROSITY: Final = 4  # the highest price of a task, in what the typical machine would cost
PATIENCE: Final = 50  # the longest promise that a task accepts, in what the typical machine would need
INTERVALS: Final = 4
RISK_BPS: Final = 1_000


@dataclass(frozen=True, slots=True)
class Machine:
    """Work a second, and what an hour costs, in units."""

    throughput: float
    hourly: int


@dataclass(frozen=True, slots=True)
class Posted:
    """A task: when it is posted (seconds), its work, and its terms."""

    at: float
    work: int
    auction: Auction


@dataclass(frozen=True)
class World:
    """Machines, tasks in the order in which they are posted, and how well each machine fits each task.

    `known` are the habits that machines have shown before.
    """

    machines: list[Machine]
    tasks: list[Posted]
    fit: NDArray[np.float64]
    known: dict[int, Habit] = field(default_factory=dict)

    def knowing(self, habits: dict[int, Habit]) -> World:
        return replace(self, known=habits)

    @cached_property
    def seconds(self) -> NDArray[np.float64]:
        """machines × tasks: how long the work takes."""
        work = np.array([task.work for task in self.tasks], float)
        seconds: NDArray[np.float64] = work / (self.fit * np.array([[machine.throughput] for machine in self.machines]))
        return seconds

    @cached_property
    def cost(self) -> NDArray[np.float64]:
        """machines × tasks: what the work costs its machine, in units."""
        cost: NDArray[np.float64] = self.seconds * np.array([[machine.hourly / HOUR] for machine in self.machines])
        return cost

    @cached_property
    def urgency(self) -> NDArray[np.float64]:
        """For each task, units a second."""
        return np.array([task.auction.urgency for task in self.tasks], float)

    def bid(self, machine: int, auction: Auction, task: int, wait: int, record: Record) -> Bid | None:
        """The truth, for a machine that is busy for `wait` seconds more."""
        promised = ceil(self.seconds[machine, task] / INTERVALS)
        return truthful_bid(auction, self.machines[machine].hourly, promised, wait=wait, record=record)

    def value(self, task: int) -> float:
        """More than any machine that may bid for a task costs, so that no assignment leaves a machine idle in vain."""
        auction = self.tasks[task].auction
        return float(auction.max_price + auction.urgency * auction.interval_time * INTERVALS)


def draw(
    machines: int,
    tasks: int,
    load: float | None,
    seed: int,
    cost_spread: float = COST_SPREAD,
    urgency_spread: float = URGENCY_SPREAD,
) -> World:
    """A world. Tasks arrive at random, so that they need a share `load` of all machines; with None all at once."""
    dice = np.random.default_rng(seed)
    owned = [_machine(dice, cost_spread) for _ in range(machines)]
    capacity = sum(machine.throughput for machine in owned)
    mean = TYPICAL_WORK * float(np.exp(WORK_SPREAD**2 / 2))
    at, posted = 0.0, list[Posted]()
    for _ in range(tasks):
        at += float(dice.exponential(mean / (load * capacity))) if load else 0.0
        posted.append(_task(at, dice, urgency_spread))
    return World(owned, posted, _fit(dice, machines, tasks))


def _machine(dice: np.random.Generator, spread: float = COST_SPREAD) -> Machine:
    throughput = SECOND * float(dice.lognormal(0, THROUGHPUT_SPREAD))
    return Machine(throughput, round(TOKEN * throughput / SECOND * float(dice.lognormal(0, spread))))


def _task(at: float, dice: np.random.Generator, spread: float = URGENCY_SPREAD) -> Posted:
    work = TYPICAL_WORK * float(dice.lognormal(0, WORK_SPREAD))
    seconds = work / SECOND
    terms = Auction(
        max_price=round(GENEROSITY * TOKEN * seconds / HOUR),
        steps=100 * INTERVALS,
        interval=100,
        interval_time=ceil(PATIENCE * seconds / INTERVALS),
        urgency=round(TYPICAL_URGENCY * float(dice.lognormal(0, spread))),
        risk_bps=RISK_BPS,
    )
    return Posted(at, round(work), terms)


def typical_habits(machines: int) -> list[Habit]:
    """What a worker expects of others that have never bid: that they are like the machines that are sold."""
    dice = np.random.default_rng((0, 1))
    return [_habit(_machine(dice)) for _ in range(machines)]


def shown_habits(world: World, bids: int, seed: int) -> dict[int, Habit]:
    """What all machines have shown by each bidding `bids` times, for other tasks, when they were idle."""
    dice = np.random.default_rng((seed, 2))
    past = World(world.machines, [_task(0.0, dice) for _ in range(bids)], _fit(dice, len(world.machines), bids))
    habits = dict[int, Habit]()
    for machine in range(len(world.machines)):
        for task, posted in enumerate(past.tasks):
            if bid := past.bid(machine, posted.auction, task, 0, NEWCOMER):
                habits[machine] = habits.get(machine, Habit()).seen(posted.auction, posted.work, bid)
    return habits


def _fit(dice: np.random.Generator, machines: int, tasks: int) -> NDArray[np.float64]:
    return dice.lognormal(0, FIT_SPREAD, (machines, tasks))


def _habit(machine: Machine) -> Habit:
    seconds = TYPICAL_WORK / machine.throughput
    return Habit(TYPICAL_WORK, round(machine.hourly * seconds / HOUR), ceil(seconds))
