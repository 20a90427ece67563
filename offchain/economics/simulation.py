"""Auctions among machines that bid the truth, in the order of time, with the contract's rules."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import IntEnum
from math import ceil

from offchain.economics.auction import Bid, Record, award
from offchain.economics.bidding import Habit, choose, gain
from offchain.economics.world import World

Choice = Callable[[Sequence[Sequence[float]], int], int | None]


class Event(IntEnum):
    """What happens to a task; what happens at the same moment happens in this order."""

    DONE = 0
    AWARD = 1
    POST = 2
    CLOSE = 3  # commits end


@dataclass(frozen=True, slots=True)
class Windows:
    """Seconds for commits, and for reveals."""

    commit: float = 20
    reveal: float = 20


@dataclass(slots=True)
class Outcome:
    """For each task which machine did it, when its work began and ended; how many auctions were held."""

    machine: list[int]
    began: list[float]
    ended: list[float]
    auctions: int = 0

    @classmethod
    def empty(cls, tasks: int) -> Outcome:
        return cls([-1] * tasks, [0.0] * tasks, [0.0] * tasks)


@dataclass
class Market:
    """Auctions that are open, and machines that have room.

    A machine commits to one auction at a time. When commits end it decides by `choice`, knowing who has committed
    elsewhere. An auction in which nobody reveals is held again at once.

    Attributes:
        ahead: how many tasks a machine may hold behind the one that it works on.
        price_only: scores are prices, as if nobody were in a hurry or failed.
        typical: what is expected of machines that have not bid so far.
        habits: what machines have shown before.
    """

    world: World
    choice: Choice = choose
    windows: Windows = field(default_factory=Windows)
    ahead: int = 0
    price_only: bool = False
    typical: Sequence[Habit] = (Habit(),)
    habits: dict[int, Habit] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.auctions = [task.auction for task in self.world.tasks]
        if self.price_only:
            self.auctions = [replace(auction, urgency=0, risk_bps=0) for auction in self.auctions]
        machines = len(self.world.machines)
        self.habits = dict(self.habits)
        self.records = [Record()] * machines
        self.held = [0] * machines
        self.busy_until = [0.0] * machines
        self.committed = dict[int, int]()  # machine -> task, until the award
        self.revealing = dict[int, dict[int, Bid]]()  # task -> machine -> bid
        self.open = list[int]()
        self.events = list[tuple[float, Event, int]]()
        self.outcome = Outcome.empty(len(self.world.tasks))

    def run(self) -> Outcome:
        """Until every task is done."""
        self.events = [(posted.at, Event.POST, task) for task, posted in enumerate(self.world.tasks)]
        heapq.heapify(self.events)
        while self.events:
            now, event, task = heapq.heappop(self.events)
            if event is Event.CLOSE:
                closing = [task]
                while self.events and self.events[0][:2] == (now, Event.CLOSE):
                    closing.append(heapq.heappop(self.events)[2])
                self.close(closing, now)
            else:
                {Event.DONE: self.done, Event.AWARD: self.award, Event.POST: self.post}[event](task, now)
        return self.outcome

    def post(self, task: int, now: float) -> None:
        self.open.append(task)
        heapq.heappush(self.events, (now + self.windows.commit, Event.CLOSE, task))

    def close(self, closing: list[int], now: float) -> None:
        """Each machine that has room decides, not knowing what the others do at this moment."""
        ready = [m for m, held in enumerate(self.held) if held <= self.ahead and m not in self.committed]
        waits = {machine: self.wait(machine, now + self.windows.reveal) for machine in ready}
        expected = [self.expected_gains(machine, waits[machine]) for machine in ready]
        self.revealing |= {task: {} for task in closing}
        for place, machine in enumerate(ready):
            bids = [self.bid(machine, task, waits[machine]) for task in self.open]
            mine = [gain(self.auctions[task], bid) for task, bid in zip(self.open, bids, strict=True)]
            chosen = self.choice([*expected[:place], mine, *expected[place + 1 :]], place)
            if chosen is not None and (task := self.open[chosen]) in closing and (bid := bids[chosen]):
                self.committed[machine] = task
                self.revealing[task][machine] = bid
        for task in closing:
            self.open.remove(task)
            heapq.heappush(self.events, (now + self.windows.reveal, Event.AWARD, task))
        self.outcome.auctions += len(closing)

    def award(self, task: int, now: float) -> None:
        auction, revealed = self.auctions[task], self.revealing.pop(task)
        for machine, bid in revealed.items():
            del self.committed[machine]
            habit, work = self.habits.get(machine, Habit()), self.world.tasks[task].work
            self.habits[machine] = habit.seen(auction, work, bid, self.wait(machine, now))
        found = award(auction, list(revealed.values()))
        if found is None:
            self.post(task, now)
            return
        solver = list(revealed)[found.winner]
        begins = max(now, self.busy_until[solver])
        ends = begins + float(self.world.seconds[solver, task])
        self.held[solver] += 1
        self.busy_until[solver] = ends
        self.outcome.machine[task], self.outcome.began[task], self.outcome.ended[task] = solver, begins, ends
        heapq.heappush(self.events, (ends, Event.DONE, task))

    def done(self, task: int, now: float) -> None:
        solver = self.outcome.machine[task]
        self.held[solver] -= 1
        record = self.records[solver]
        self.records[solver] = replace(record, done=record.done + self.auctions[task].reserve)

    def wait(self, machine: int, now: float) -> int:
        """Seconds until a machine has done what it holds."""
        return max(0, ceil(self.busy_until[machine] - now))

    def bid(self, machine: int, task: int, wait: int) -> Bid | None:
        return self.world.bid(machine, self.auctions[task], task, wait, self.records[machine])

    def expected_gains(self, machine: int, wait: int) -> list[float]:
        """What others expect of a machine: what it has shown, or else what machines are like."""
        habit = self.habits.get(machine) or self.typical[machine % len(self.typical)]
        tasks = ((self.auctions[task], self.world.tasks[task].work) for task in self.open)
        record = self.records[machine]
        return [gain(auction, habit.expected(auction, work, wait, record)) for auction, work in tasks]
