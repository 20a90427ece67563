"""What audits cost: a task of many short intervals, trained by a real worker and audited by others, steps counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import exp, sqrt
from typing import Any, Final

from offchain.chain import claims, verifiers
from offchain.chain.deployment import COIN
from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor, Limits
from offchain.market.money import BPS
from offchain.market.view import Status, TaskView
from offchain.worker.events import CommitSent
from offchain.worker.runner import Worker
from offchain.worker.vouched import LotDrawn
from tests.support.bls import SECRETS
from tests.support.counting import Counting
from tests.support.town import HONEST, POLICY, Town
from tests.support.vouching import close_claiming, enter
from tests.support.works import every_kind

STAKES: Final = {"challenger": 6, "stranger": 4}
SECRET: Final = dict(zip(STAKES, SECRETS, strict=False))
STEPS: Final = 4  # of an interval
ON_DEMAND: Final = replace(POLICY, audit_share=0.0)  # it replays only what it is drawn for
WINDOW: Final = 100_000  # seconds: the clock of the chain runs ahead here
PATIENCE: Final = 3_600.0  # seconds
Steps = Counter[int]


@dataclass(frozen=True)
class Cost:
    """What was computed for a task.

    Attributes:
        trained: how often the solver executed each step.
        replayed: verifier -> how often it did.
        drawn: verifier -> checkpoint -> the fees that its ticket wins, by the contracts.
        paid: verifier -> checkpoint -> the fees that it was paid.
    """

    intervals: int
    rate_bps: int
    trained: Steps
    replayed: Mapping[str, Steps]
    drawn: Mapping[str, Mapping[int, int]]
    paid: Mapping[str, Mapping[int, int]]

    @property
    def share(self) -> float:
        """Of the training's step executions, as many were replayed."""
        return sum(steps.total() for steps in self.replayed.values()) / self.trained.total()

    @property
    def chances(self) -> list[float]:
        """With which each verifier is drawn for a checkpoint: it wins a Poisson number of fees."""
        whole = sum(STAKES.values())
        return [1 - exp(-self.rate_bps / BPS * stake / whole) for stake in STAKES.values()]

    @property
    def expected(self) -> float:
        """The mean of `share`."""
        return sum(self.chances)

    @property
    def spread(self) -> float:
        """The standard deviation of `share`: each verifier draws a lot for each checkpoint."""
        return sqrt(sum(chance * (1 - chance) for chance in self.chances) / self.intervals)


def counted(ledger: Ledger, limits: Limits) -> Executor[Any]:
    return Counting(HONEST(ledger, limits))


def audited(town: Town, intervals: int, rate_bps: int) -> Cost:
    """Everybody is honest; the task is trained, audited, collected and settled."""
    enter(town, STAKES, SECRET)
    work = every_kind(STEPS * intervals, STEPS)
    times = {"interval_time": 1_000, "challenge_window": WINDOW}
    task = town.post(work, audit_fee=COIN // 10, audit_rate_bps=rate_bps, **times)
    town.worker("solver", "solver", "solver", executors=counted)
    for name, secret in SECRET.items():
        town.worker(name, name, "verifier", signing_key=secret, policy=ON_DEMAND, executors=counted)
    town.until(lambda: len(town.told(CommitSent)) == intervals, PATIENCE)
    town.until(lambda: len(town.told(LotDrawn)) == intervals * len(STAKES), PATIENCE)
    drawn = {name: _drawn(town, name, task, intervals) for name in STAKES}
    town.until(lambda: len(claims.claims_of(town.quick("rival"), task)) == sum(map(len, drawn.values())), PATIENCE)
    view = town.workers["solver"].reader.read().task(task)
    steps = {name: _steps(worker, view) for name, worker in town.workers.items()}
    close_claiming(town, task, intervals - 1)
    town.until(lambda: not _open(town, task, claims.Fate.CLAIMED), PATIENCE)
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED and not _open(town, task), PATIENCE)
    found = claims.claims_of(town.quick("rival"), task)
    paid = {
        name: {c.checkpoint: c.fees for c in found if c.verifier == town.address(name) and c.fate is claims.Fate.PAID}
        for name in STAKES
    }
    return Cost(intervals, rate_bps, steps["solver"], {name: steps[name] for name in STAKES}, drawn, paid)


def _drawn(town: Town, name: str, task: int, intervals: int) -> dict[int, int]:
    draws = {k: verifiers.draw(town.quick(name), SECRET[name], task, k) for k in range(intervals)}
    return {k: draw.fees for k, draw in draws.items() if draw is not None}


def _open(town: Town, task: int, *fates: claims.Fate) -> list[claims.Claim]:
    wanted = fates or (claims.Fate.CLAIMED, claims.Fate.VOUCHED)
    return [claim for claim in claims.claims_of(town.quick("rival"), task) if claim.fate in wanted]


def _steps(worker: Worker, view: TaskView) -> Steps:
    """What its executor of the task has computed, without the trial before. Empty: it has not opened the task."""
    opened = worker.materials._opened.get(view.id)
    if opened is None:
        return Counter()
    assert isinstance(opened.executor, Counting)
    return opened.executor.steps
