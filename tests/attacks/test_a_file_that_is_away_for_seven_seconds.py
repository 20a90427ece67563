"""Attack 16, the worker's part: what passes by itself was a verdict for ever.

The requester's file offline for seven seconds, the worker's own disk full, one slow step: each was noted as the task's
fault, and the honest task was never bid on. Now such a verdict holds for a while, and says for how long.
"""

from __future__ import annotations

import errno
from typing import Any

import pytest

from offchain.market.view import Status, TaskView
from offchain.store import blobs
from offchain.worker import database
from offchain.worker.events import BidSent, CommitSent, TaskFit, TaskUnfit
from offchain.worker.trial import Trials
from tests.support.town import Town
from tests.support.works import every_kind


@pytest.fixture(autouse=True)
def _quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "FIRST_REST", 0.05)


def away(town: Town, monkeypatch: pytest.MonkeyPatch) -> Any:
    path = town.folder / "task.file"
    path.rename(town.folder / "elsewhere")
    return lambda: (town.folder / "elsewhere").rename(path)


def full(town: Town, monkeypatch: pytest.MonkeyPatch) -> Any:
    def write(*given: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(blobs.os, "fsync", write)
    return monkeypatch.undo


def slow(town: Town, monkeypatch: pytest.MonkeyPatch) -> Any:
    measured = Trials.run

    def slowly(self: Trials, *given: Any) -> Any:
        figures = measured(self, *given)
        return type(figures)(type(figures.cost)(1e6, 0.0, 1e6, 0, 0), figures.memory)

    monkeypatch.setattr(Trials, "run", slowly)
    return monkeypatch.undo


@pytest.fixture
def failures(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The tasks of tries that failed."""
    seen: list[int] = []
    add = database.Database.add_failure

    def noting(of: database.Database, task: TaskView, most: float) -> float:
        seen.append(task.id)
        return add(of, task, most)

    monkeypatch.setattr(database.Database, "add_failure", noting)
    return seen


@pytest.mark.parametrize("trouble", [away, full, slow])
def test_a_file_that_is_away_for_seven_seconds(
    town: Town, monkeypatch: pytest.MonkeyPatch, failures: list[int], trouble: Any
) -> None:
    before = town.fortunes()
    task = town.post(every_kind(6, 3), bidding_time=300)
    over = trouble(town, monkeypatch)
    town.worker("solver", "solver", "solver")
    town.meanwhile(lambda: len(failures) >= 2)
    (told,) = town.told(TaskUnfit)  # once, however often it is tried
    assert told.retry_in
    assert not town.told(TaskFit)
    over()
    town.meanwhile(lambda: town.told(BidSent))
    assert town.told(TaskFit)
    town.clock.travel(300)
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows()
    town.until(lambda: town.status(task) is Status.COMPLETED)
    net = town.net(before)
    assert net["solver"] > 0
    assert net["rival"] == net["stranger"] == net["challenger"] == 0
