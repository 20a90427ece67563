"""A network of solvers and verifiers over many tasks: who works, who is paid, who is caught, who loses.

Machines and tasks are those of `world`, auctions and payments those of `auction`. Tasks come one after the other; every
machine that is idle then bids the truth. Some solvers falsify an interval in each of their tasks. Verifiers are drawn
by their stakes for every checkpoint; those who look replay it. A false interval that one of them finds is proved.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import ceil
from typing import Final

import numpy as np
from numpy.typing import NDArray

from offchain.economics.auction import FEE_BPS, STANDBY_BPS, Auction, Bid, award
from offchain.economics.bidding import HOUR, price_for
from offchain.economics.stakes import BURN_BPS, least_stake
from offchain.economics.world import COST_SPREAD, TOKEN, TYPICAL_WORK, URGENCY_SPREAD, World, draw
from offchain.market.money import BPS, part_down, part_up

Amounts = NDArray[np.float64]

PROOF_BPS: Final = 4_000  # of a stake, to who proved it
FEE_RATIO: Final = 2  # an audit's fee, in what the replay costs an ordinary machine
STAKE_SPREAD: Final = 1.0  # standard deviation of the logarithms of verifiers' stakes
HURRIES: Final = 10  # equally many tasks each, by urgency, of which the price of a unit of work is told
CONTENDERS: Final = 4  # of an auction, with the lowest scores; the others can't be paid for or be standby


@dataclass(frozen=True, slots=True)
class Plan:
    """What is simulated. Shares are parts of one; `lazy` verifiers never look, and claim nothing."""

    solvers: int = 1_000
    verifiers: int = 1_000
    tasks: int = 10_000
    intervals: int = 50
    rate_bps: int = 2_500
    honest_bps: int = 5_000  # part of all verifiers' stakes, as a deployment assumes it
    margin_bps: int = 12_000
    cheats: float = 0.05  # of solvers
    lazy: float = 0.5  # of verifiers
    load: float = 0.3
    cost_spread: float = COST_SPREAD
    urgency_spread: float = URGENCY_SPREAD


@dataclass
class Network:
    """A network while it runs. Amounts are in tokens, units of work in hours of the typical machine."""

    plan: Plan
    seed: int = 0
    world: World = field(init=False)

    def __post_init__(self) -> None:
        plan, self.dice = self.plan, np.random.default_rng((self.seed, 3))
        spreads = plan.cost_spread, plan.urgency_spread
        self.world = draw(plan.solvers, plan.tasks, plan.load, self.seed, *spreads)
        self.cheats = self.dice.random(plan.solvers) < plan.cheats
        stakes = self.dice.lognormal(0, STAKE_SPREAD, plan.verifiers)
        self.fees_expected = plan.rate_bps / BPS * stakes / stakes.sum()
        self.looks = self.dice.random(plan.verifiers) >= plan.lazy
        self.hourly = np.array([machine.hourly for machine in self.world.machines], float)
        self.free_at, self.busy = np.zeros(plan.solvers), np.zeros(plan.solvers)
        self.work, self.pay, self.cost, self.lost = (np.zeros(plan.solvers) for _ in range(4))
        self.solver = np.full(plan.tasks, -1)  # of each task; its true work, and what that was paid, without wages
        self.units, self.paid = np.zeros(plan.tasks), np.zeros(plan.tasks)
        self.audits, self.audited, self.fees = (np.zeros(plan.verifiers) for _ in range(3))
        self.rewards, self.spent = np.zeros(plan.verifiers), np.zeros(plan.verifiers)
        self.false = self.convicted = self.undone = 0
        self.burned = 0.0
        self.ended = 0.0

    def run(self) -> Network:
        for task in range(self.plan.tasks):
            self.play(task)
        return self

    def play(self, task: int) -> None:
        posted = self.world.tasks[task]
        auction = self.terms(posted.auction)
        won = self.auctioned(task, auction, posted.at)
        if won is None:
            self.undone += 1
            return
        solver, pay, seconds = won
        done, falsified = self.plan.intervals, -1
        if self.cheats[solver]:
            falsified = int(self.dice.integers(self.plan.intervals))
            self.false += 1
        if falsified >= 0 and self.judged(auction, solver, posted.work, falsified):
            done = falsified
        self.audit(posted.work, done)
        self.settle(task, solver, pay, done, falsified, seconds)

    def terms(self, auction: Auction) -> Auction:
        """The same task in more intervals."""
        steps = self.plan.intervals * auction.interval
        time = ceil(auction.interval_time * auction.intervals_left / self.plan.intervals)
        return replace(auction, steps=steps, interval_time=max(1, time))

    def auctioned(self, task: int, auction: Auction, now: float) -> tuple[int, int, float] | None:
        """The winner among the idle, what it is paid, and how long it works; None if nobody can bid."""
        idle = np.flatnonzero(self.free_at <= now)
        seconds = self.world.seconds[idle, task]
        promised = np.maximum(1, np.ceil(seconds / self.plan.intervals))
        costs = self.hourly[idle] * promised * self.plan.intervals / HOUR
        scores = costs * BPS / (BPS - FEE_BPS) + auction.urgency * promised * self.plan.intervals
        able = (costs * BPS / (BPS - FEE_BPS) < auction.reserve) & (promised <= auction.interval_time)
        scores = np.where(able, scores, np.inf)
        best = np.sort(np.argsort(scores, kind="stable")[:CONTENDERS])
        best = best[able[best]]
        bids = [
            Bid(min(price_for(round(costs[place]), self.plan.intervals), auction.reserve), int(promised[place]))
            for place in best
        ]
        found = award(auction, bids)
        if found is None:
            return None
        if found.standby is not None:
            wage = part_down(found.pay, STANDBY_BPS, BPS)
            self.pay[idle[best[found.standby]]] += wage / TOKEN
        place = best[found.winner]
        return int(idle[place]), found.pay, float(seconds[place])

    def judged(self, auction: Auction, solver: int, work: int, false: int) -> bool:
        """Whether somebody finds a false interval. The stake is then shared out."""
        drawn = np.flatnonzero(self.looks & (self.dice.poisson(self.fees_expected) > 0))
        if not len(drawn):
            return False
        plan = self.plan
        stake = least_stake(auction.max_price, plan.intervals, 1, plan.rate_bps, plan.honest_bps, plan.margin_bps)
        self.convicted += 1
        self.lost[solver] += stake / TOKEN
        self.rewards[self.dice.choice(drawn)] += part_down(stake, PROOF_BPS, BPS) / TOKEN
        self.spent[drawn] += self.interval_cost(work)
        self.burned += part_up(stake, BURN_BPS, BPS) / TOKEN
        return True

    def audit(self, work: int, done: int) -> None:
        """Who looks and is drawn for what became final replays it, once, and is paid each fee that it won."""
        fees = self.dice.poisson(done * self.fees_expected) * self.looks
        who = np.repeat(np.arange(len(fees)), fees)
        where = self.dice.integers(max(1, done), size=len(who))  # all intervals are alike to a fee
        drawn = np.bincount(np.unique(who * max(1, done) + where) // max(1, done), minlength=len(fees))
        self.audits += drawn
        self.audited += drawn * self.interval_hours(work)
        self.fees += fees * FEE_RATIO * self.interval_cost(work)
        self.spent += drawn * self.interval_cost(work)

    def settle(self, task: int, solver: int, pay: int, done: int, falsified: int, seconds: float) -> None:
        """Pay for what became final; a conviction ends the task."""
        plan = self.plan
        true = done - (0 <= falsified < done)
        gross = part_down(pay, done, plan.intervals)
        worked = seconds * true / plan.intervals
        self.solver[task], self.units[task] = solver, self.interval_hours(self.world.tasks[task].work) * true
        self.paid[task] = (gross - part_up(gross, FEE_BPS, BPS)) / TOKEN
        self.pay[solver] += self.paid[task]
        self.work[solver] += self.units[task]
        self.cost[solver] += self.hourly[solver] * worked / HOUR / TOKEN
        self.busy[solver] += worked
        self.free_at[solver] = max(self.free_at[solver], self.world.tasks[task].at) + worked
        self.ended = max(self.ended, self.free_at[solver])

    def interval_hours(self, work: int) -> float:
        """Of the typical machine."""
        return work / TYPICAL_WORK / self.plan.intervals

    def interval_cost(self, work: int) -> float:
        """Tokens, of an ordinary machine: one token an hour."""
        return self.interval_hours(work)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a network shows.

    Attributes:
        pay_by_work: correlation of work done and pay, over honest solvers. Work is a machine's time at what it costs:
            a fast machine's hour is more work than a slow one's, and dearer.
        pay_by_units: the same with work in units, multiply-adds. It is less, because speed is paid for as well.
        pay_by_priced_units: the same with each unit at what was paid for a unit in its tenth of all tasks, which are
            sorted by urgency for that: work in units, for requesters in the same hurry.
        calm_price, urgent_price: of a unit, in the calmest and in the most urgent tenth.
        fees_by_audits: the same of audits, by their work, and fees, over verifiers who look.
        idle: part of the solvers that work for less than 5 % of the time.
        found: part of the false intervals that were found; `expected` by the closed form.
        honest_profit, cheats_profit: for each task that such a solver won, in tokens.
        honest_lost: stakes of honest solvers that were lost, in tokens.
        looking_profit: of a verifier that looks, for each audit.
        undone: tasks that nobody could bid for.
    """

    tasks: int
    solvers: int
    verifiers: int
    pay_by_work: float
    pay_by_units: float
    pay_by_priced_units: float
    calm_price: float
    urgent_price: float
    fees_by_audits: float
    idle: float
    found: float
    expected: float
    false: int
    honest_profit: float
    cheats_profit: float
    honest_lost: float
    cheats_lost: float
    burned: float
    looking_profit: float
    undone: int


def summary(network: Network) -> Summary:
    plan, honest, looks = network.plan, ~network.cheats, network.looks
    profit = network.pay - network.cost - network.lost
    earned = network.fees + network.rewards - network.spent
    prices, priced = priced_units(network)
    return Summary(
        tasks=plan.tasks,
        solvers=plan.solvers,
        verifiers=plan.verifiers,
        pay_by_work=_correlation(network.cost[honest], network.pay[honest]),
        pay_by_units=_correlation(network.work[honest], network.pay[honest]),
        pay_by_priced_units=_correlation(priced[honest], network.pay[honest]),
        calm_price=float(prices[0]),
        urgent_price=float(prices[-1]),
        fees_by_audits=_correlation(network.audited[looks], network.fees[looks]),
        idle=float((network.busy < 0.05 * network.ended).mean()),
        found=network.convicted / max(1, network.false),
        expected=float(-np.expm1(-network.fees_expected[looks].sum())),
        false=network.false,
        honest_profit=float(profit[honest].sum()) / max(1, plan.tasks - network.false - network.undone),
        cheats_profit=float(profit[network.cheats].sum()) / max(1, network.false),
        honest_lost=float(network.lost[honest].sum()),
        cheats_lost=float(network.lost[network.cheats].sum()),
        burned=network.burned,
        looking_profit=float(earned[looks].sum()) / max(1.0, float(network.audits[looks].sum())),
        undone=network.undone,
    )


def priced_units(network: Network) -> tuple[Amounts, Amounts]:
    """What a unit of work was paid in each tenth of tasks, by urgency; each solver's units at those prices."""
    place = np.argsort(np.argsort(network.world.urgency, kind="stable"), kind="stable")
    hurry = place * HURRIES // max(1, len(place))
    units, paid = (np.bincount(hurry, each, HURRIES) for each in (network.units, network.paid))
    prices = paid / np.maximum(units, np.finfo(float).tiny)
    done = network.solver >= 0
    worth = (network.units * prices[hurry])[done]
    return prices, np.bincount(network.solver[done], worth, network.plan.solvers).astype(float)


def _correlation(one: Amounts, other: Amounts) -> float:
    """Pearson's, of linear dependence."""
    return float(np.corrcoef(one, other)[0, 1])
