"""A task from its post to its last coin while things break, and what must be true at the end."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from offchain.chain.deployment import COIN
from offchain.chain.reader import Reader
from offchain.errors import ChainUnavailable
from offchain.market.view import Status, TaskView, Terms
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.training import Run
from tests.faults.faults import LONGEST, Heal, drawn
from tests.faults.island import CREW, RECEIPT, SLEEPER, Island
from tests.faults.strangers import ACCUSER, CHEAT, STRANGERS
from tests.faults.waiting import SOLVERS, leap, phase_of, somebody_is_due
from tests.support.fortunes import pots

KINDS: Final = tuple(STRANGERS)
WICKED: Final = (CHEAT, ACCUSER, SLEEPER)
PRICE: Final = 100 * COIN
AT_ONCE: Final = 2  # faults
PHASES: Final = 4  # of a task, at the least: each has its share of the faults
QUIET: Final = RECEIPT + 1  # seconds in which nobody has said anything, and nothing was broken
REST: Final = 8.0  # seconds between two faults of one worker
LIMIT: Final = 900.0  # seconds that a task may take
TIMES: Final = ("bidding_time", "reveal_time", "handover_time", "interval_time", "challenge_window", "clock")
WINDOWS: Final = dict.fromkeys(TIMES, 300)  # seconds: to come up again may take a minute
MONEY: Final = {"max_price": PRICE, "urgency": 0, "risk_bps": 500, "attempts": 3, "stake": 0, "bond": 0} | {
    "audit_fee": COIN // 10,
    "audit_rate_bps": 10_000,
    "keepers": 16,
    "keeper_bps": 300,
}


@dataclass
class Struck:
    """A fault that was made."""

    fault: str
    victim: str
    phase: str


@dataclass
class Story:
    """One task, `work`, on an island, with so many faults, drawn from `random`."""

    island: Island
    work: Task
    random: Random
    kind: str
    faults: int
    struck: list[Struck] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._harmed: dict[str, tuple[float, Heal]] = {}  # victim -> when it is over, and how
        self._rested: dict[str, float] = {}  # victim -> when it was over
        self._heard = (0.0, 0)  # when somebody last said something, and how much has been said
        self._next = self._freed = 0.0
        self._waits = False  # whether something is to follow from what the stranger has done
        self._phase = "bidding"
        self._stranger = STRANGERS[self.kind](self.island, self.work)
        self._reader = Reader(self.island.chains["requester"], ended=True)

    def play(self) -> list[str]:
        """Everything until nothing is locked any more. Returns what is wrong: nothing."""
        island = self.island
        before = island.wealth()
        self._stranger.begin()
        number, limit = self._post(), time.monotonic() + LIMIT
        view: TaskView | None = None
        while view is None or not self._over(view):
            if time.monotonic() > limit:
                return [f"task {number} did not end in {LIMIT:g} s: {view}; locked: {self._locked()}"]
            self._tick()
            view = self._look(number) or view
            time.sleep(0.1)
        self._stranger.end()
        return self._wrong(view, before)

    def _post(self) -> int:
        file = self.island.file("shelf") / f"{self.work.state_root.hex()}.task"
        save_task(self.work, file)
        chain = self.island.chains["requester"]
        names = ("graph_root", "state_root", "steps", "interval")
        terms = Terms(
            **{name: getattr(self.work, name) for name in names},
            **(MONEY | self._stranger.terms),
            **WINDOWS,
            uri=f"{self.island.shelf.url}/{file.name}",
        )
        terms = replace(terms, stake=chain.required_stake(terms))
        return chain.post(replace(terms, bond=chain.required_bond(terms)))

    # --- what breaks

    def _tick(self) -> None:
        now = time.monotonic()
        for victim, (until, heal) in list(self._harmed.items()):
            if now >= until:
                heal()
                del self._harmed[victim]
                self._rested[victim] = now
        here = sum(each.phase == self._phase for each in self.struck)
        left = len(self.struck) < self.faults and here < max(1, self.faults // PHASES)
        if now >= self._next and left and len(self._harmed) < AT_ONCE:
            self._strike(now)
        if "node" not in self._harmed and self._node_is_stuck(now):
            self.island.kill_node()
            self.island.start_node()
        self.island.revive()

    def _node_is_stuck(self, now: float) -> bool:
        """Keeps the chain's clock going, and looks now and then whether the node mines what it is sent."""
        with suppress(ChainUnavailable):  # a busy machine: the next tick asks again
            self.island.heartbeat()
            if now >= self._freed + REST:
                self._freed = now
                return self.island.is_stuck()
        return False

    def _strike(self, now: float) -> None:
        self._next = now + self.random.uniform(0.2, 2.0)
        tired = {name for name, when in self._rested.items() if now < when + REST}
        fault = drawn(self.island, self.random, tired | set(self._harmed))
        if fault is None:
            return
        self.struck.append(Struck(fault.name, fault.victim, self._phase))
        self._harmed[fault.victim] = now + self.random.uniform(0.5, LONGEST), fault.strike()

    # --- what is seen

    def _look(self, number: int) -> TaskView | None:
        """The task as it is now; None while the node is away. Puts the clock forward where all wait only for that."""
        if "node" in self._harmed:
            return None
        try:
            view = self._reader.read()
            task = view.task(number)
            waits = self._stranger.waits(task)
            self._phase = phase_of(task, view.now, bool(view.disputes), bool(waits))
            self._stranger.act(view, task)
            moving = any(dispute.mover in self._crew for dispute in view.disputes) or any(w < view.now for w in waits)
            if self._quiet() and not moving and not somebody_is_due(self.island, view, task, self._served(task)):
                self.island.skip(leap(view, task, self._served(task), waits))
        except ChainUnavailable:
            return None
        self._waits = bool(waits)
        return task

    @property
    def _crew(self) -> set[str]:
        return {self.island.chains[name].address for name in CREW}

    def _served(self, task: TaskView) -> bool:
        """Whether the checkpoints of the running attempt can be had."""
        return self._stranger.served or self.island.name_of(task.solver) in CREW

    def _quiet(self) -> bool:
        """Whether everybody is up, nothing is broken, and nobody has said or sent anything for a while."""
        now, said = time.monotonic(), sum(map(self.island.said_up_to, (*CREW, *WICKED)))
        if self._harmed or said != self._heard[1] or not all(map(self.island.is_up, CREW)):
            self._heard = now, said
        if now < self._heard[0] + QUIET:
            return False
        self._heard = now, said
        return not self.island.unmined()

    def _over(self, task: TaskView) -> bool:
        return task.status.ended and not self._harmed and not self._waits and not self._locked()

    def _locked(self) -> dict[Any, Any]:
        """Pots that are not empty, apart from verifiers' stakes."""
        stakes = self.island.deployment.verifiers
        try:
            found = pots(self.island.chains["requester"])
        except ChainUnavailable:
            return {"unknown": True}
        return {pot: held for pot, held in found.items() if pot[0] != stakes}

    # --- what must be true

    def _wrong(self, task: TaskView, before: dict[str, int]) -> list[str]:
        after = self.island.wealth()
        gained = {name: after[name] - had for name, had in before.items()}
        roots = [point.root for point in task.checkpoints]
        found = list(self._stranger.wrong(task, gained))
        if sum(gained.values()):
            found.append(f"{-sum(gained.values())} units are lost")
        if task.status is not Status.COMPLETED:
            found.append(f"task {task.id} is {task.status.name}")
        elif roots != right_roots(self.work):
            found.append(f"task {task.id} was completed with other roots")
        who, earns = self.island.name_of(task.solver), self._stranger.earns(task)
        if who not in SOLVERS and not earns:
            found.append(f"task {task.id} was completed by {who}")
        if who in SOLVERS and gained[who] <= 0:
            found.append(f"{who} was not paid")
        for name in CREW:
            if name != "requester" and gained[name] < 0:
                found.append(f"{name} lost {-gained[name] / COIN:g}")
        for name in (CHEAT, ACCUSER) if not earns else ():
            if gained[name] > 0:
                found.append(f"{name} gained {gained[name] / COIN:g}")
        return found


def right_roots(task: Task) -> list[bytes]:
    run = Run(task, "reference")
    run.run()
    return run.state_roots
