"""A task from its post to its last coin while things break, and what must be true at the end."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, Final

from offchain.chain.client import GraphHeader
from offchain.chain.deployment import COIN
from offchain.chain.reader import Reader
from offchain.dispute.falsified import Falsehood
from offchain.errors import ChainError, ChainUnavailable
from offchain.market.view import ChainView, Status, TaskView, Terms
from offchain.store.taskfile import save_task
from offchain.training import Run
from offchain.worker.events import Audited, BidSent
from tests.faults.faults import LONGEST, Heal, drawn
from tests.faults.island import CREW, Island
from tests.support.fortunes import pots
from tests.support.works import NEW, every_kind

KINDS: Final = ("honest", "cheat", "accused")
TASK: Final = every_kind(12, 3)
LIE: Final = Falsehood(step=7, node=NEW, element=5, xor=0x00400000)
PRICE: Final = 100 * COIN
AT_ONCE: Final = 2  # faults
PHASES: Final = 4  # of a task, at the least: each has its share of the faults
QUIET: Final = 3.0  # seconds in which nobody has said anything, and nothing was broken
LEAP: Final = 60  # seconds by which the clock is put forward then, at the least: a part of every window below
REST: Final = 8.0  # seconds between two faults of one worker
LIMIT: Final = 900.0  # seconds that a task may take
TIMES: Final = ("bidding_time", "reveal_time", "handover_time", "interval_time", "challenge_window", "clock")
WINDOWS: Final = dict.fromkeys(TIMES, 300)  # seconds: to come up again may take a minute
MONEY: Final = {"max_price": PRICE, "urgency": 0, "risk_bps": 500, "attempts": 3, "stake": 0, "bond": 0} | {
    "audit_fee": COIN // 10,
    "audit_rate_bps": 10_000,
    "keepers": 0,
    "keeper_bps": 0,
}


@dataclass
class Struck:
    """A fault that was made."""

    fault: str
    victim: str
    phase: str


@dataclass
class Story:
    """One task on an island, with so many faults, drawn from `random`."""

    island: Island
    random: Random
    kind: str
    faults: int
    struck: list[Struck] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._harmed: dict[str, tuple[float, Heal]] = {}  # victim -> when it is over, and how
        self._rested: dict[str, float] = {}  # victim -> when it was over
        self._heard = (0.0, 0)  # when somebody last said something, and how much has been said
        self._next = self._freed = 0.0
        self._phase = "bidding"
        self._accused = self.kind != "accused"
        self._reader = Reader(self.island.chains["requester"], ended=True)

    def play(self) -> list[str]:
        """Everything until nothing is locked any more. Returns what is wrong: nothing."""
        island = self.island
        if self.kind == "cheat":
            island.start_cheat("cheat", LIE)
            island.wait_until_registered(["cheat"])
        before = {name: island.balance(name) for name in (*CREW, "cheat", "solver-c")}
        number, limit = self._post(), time.monotonic() + LIMIT
        view: TaskView | None = None
        while view is None or not self._over(view):
            if time.monotonic() > limit:
                return [f"task {number} did not end in {LIMIT:g} s: {view}; locked: {self._locked()}"]
            self._tick()
            view = self._look(number) or view
            time.sleep(0.1)
        island.stop("cheat")
        return self._wrong(view, before)

    def _post(self) -> int:
        file = self.island.file("shelf") / f"{TASK.graph_root.hex()}.task"
        save_task(TASK, file)
        chain = self.island.chains["requester"]
        names = ("graph_root", "state_root", "steps", "interval")
        terms = Terms(
            **{name: getattr(TASK, name) for name in names},
            **MONEY,
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
        if "node" not in self._harmed:
            with suppress(ChainUnavailable):  # a busy machine: the next tick asks again
                self._care(now)
        self.island.revive()

    def _care(self, now: float) -> None:
        """Keeps the chain's clock and its pool going."""
        self.island.heartbeat()
        if now >= self._freed + REST:
            self._freed = now
            self.island.free_node()

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
            self._phase = phase_of(task, view.now, bool(view.disputes))
            if not self._accused:
                self._accuse(task, view.now)
            moving = any(dispute.mover in self._crew for dispute in view.disputes)
            if self._quiet() and not moving and self._nobody_is_due(task, view.now):
                self.island.skip(leap(view, task))
        except ChainUnavailable:
            return None
        return task

    @property
    def _crew(self) -> set[str]:
        return {self.island.chains[name].address for name in CREW}

    def _accuse(self, task: TaskView, now: int) -> None:
        """Somebody disputes a right checkpoint, and then says nothing."""
        chain = self.island.chains["solver-c"]
        for k, point in enumerate(task.checkpoints):
            if task.status is Status.TRAINING and task.challengeable(k, now):
                with suppress(ChainError):  # it was reorganised away
                    chain.open(task.id, k, GraphHeader.of(TASK.graph), point.root)
                    self._accused = True
                return

    def _nobody_is_due(self, task: TaskView, now: int) -> bool:
        """Whether all have bid, revealed or audited who can; where the task waits for one solver, it is due."""
        said = self.island.said
        if task.status is Status.BIDDING:
            solvers = [name for name in CREW if CREW[name][0] == "solver"]
            if now < task.bidding_ends:
                return all(said(name, BidSent, task.id) for name in solvers)
            return not any(self._sealed(name, task) for name in solvers)
        if task.status is not Status.TRAINING:
            return True
        seen = {(entry["checkpoint"], entry["claimed"]) for entry in said("verifier-b", Audited, task.id)}
        return len(task.checkpoints) == task.terms.intervals and seen >= {
            (k, point.root.hex()) for k, point in enumerate(task.checkpoints)
        }

    def _sealed(self, name: str, task: TaskView) -> bool:
        """Whether a bid is to be revealed. One that was reorganised away in the last moment is not."""
        chain = self.island.chains[name]
        return any(chain.call("auction", "committed", task.id, task.attempt, chain.address))

    def _quiet(self) -> bool:
        """Whether everybody is up, nothing is broken, and nobody has said anything for a while."""
        now, said = time.monotonic(), sum(map(self.island.said_up_to, (*CREW, "cheat")))
        if self._harmed or said != self._heard[1] or not all(map(self.island.is_up, CREW)):
            self._heard = now, said
        if now < self._heard[0] + QUIET:
            return False
        self._heard = now, said
        return True

    def _over(self, task: TaskView) -> bool:
        return task.status.ended and not self._harmed and not self._locked()

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
        gained = {name: self.island.balance(name) - had for name, had in before.items()}
        roots = [point.root for point in task.checkpoints]
        found = []
        if task.status is not Status.COMPLETED:
            found.append(f"task {task.id} is {task.status.name}")
        elif roots != right_roots():
            found.append(f"task {task.id} was completed with other roots")
        if task.solver not in {self.island.chains[name].address for name in ("solver-a", "solver-b")}:
            found.append(f"task {task.id} was completed by {self.island.name_of(task.solver)}")
        for name in CREW:
            if name != "requester" and gained[name] < 0:
                found.append(f"{name} lost {-gained[name] / COIN:g}")
        if self.island.name_of(task.solver) in CREW and gained[self.island.name_of(task.solver)] <= 0:
            found.append(f"{self.island.name_of(task.solver)} was not paid")
        for name in ("cheat", "solver-c"):
            if gained[name] > 0:
                found.append(f"{name} gained {gained[name] / COIN:g}")
        return found


def leap(view: ChainView, task: TaskView) -> int:
    """Seconds until the next window ends, or the time of somebody who says nothing."""
    windows = [end for point in task.checkpoints for end in (point.claimable_until, point.challengeable_until)]
    silent = [dispute.deadline for dispute in view.disputes]
    ends = (task.bidding_ends, task.reveal_ends, task.handover_ends, *windows, *silent)
    return max(LEAP, min((end - view.now + 1 for end in ends if end >= view.now), default=LEAP))


def right_roots() -> list[bytes]:
    run = Run(TASK, "reference")
    run.run()
    return run.state_roots


def phase_of(task: TaskView, now: int, disputed: bool) -> str:
    """What a task waits for."""
    if disputed and task.status is Status.TRAINING:
        return "disputing"
    if task.status is Status.BIDDING:
        return "bidding" if now <= task.bidding_ends else "revealing"
    if task.status is Status.TRAINING:
        return "training" if len(task.checkpoints) < task.terms.intervals else "auditing"
    return {Status.VACANT: "taking over", Status.NONE: "posting"}.get(task.status, "settling")
