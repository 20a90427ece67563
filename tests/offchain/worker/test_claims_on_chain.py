"""Audits of what steps output by workers on a chain: their verdicts, and the disputes that follow."""

from __future__ import annotations

from typing import Any

import pytest

from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.dispute.points import Point
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.spans import FusedSpans
from offchain.market.view import Status
from offchain.store.race import Places
from offchain.worker.claimed import NotAhead, OutputWrong
from offchain.worker.claims import Claims
from offchain.worker.course import Course
from offchain.worker.events import Audited, Challenged, DisputeOver, Failed
from offchain.worker.holders import Holders
from offchain.worker.making import executor_factory
from tests.offchain.worker.test_claimed_outputs import INTERVAL, text
from tests.support.town import Town, lying

FUSED = executor_factory("fused")


@pytest.fixture
def right(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many steps were right, of each time that many were made at once."""
    seen: list[int] = []
    ahead = FusedSpans.ahead

    def noting(*given: Any) -> Any:
        state, count = ahead(*given)
        seen.append(count)
        return state, count

    monkeypatch.setattr(FusedSpans, "ahead", noting)
    return seen


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that the challenger made one by one in the dispute."""
    seen: list[int] = []
    after = Point.after

    def noting(point: Point) -> Point:
        if type(point.executor) is FusedExecutor:
            seen.append(point.count)
        return after(point)

    monkeypatch.setattr(Point, "after", noting)
    return seen


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The steps that the verifier made one by one in its audits, but for the one that settles a doubt."""
    seen: list[int] = []
    go_on = Course._go_on

    def noting(course: Course) -> None:
        before = course.done
        go_on(course)
        if not course.ahead and course.done == before + 1:
            seen.append(before)

    monkeypatch.setattr(Course, "_go_on", noting)
    return seen


def until_convicted(town: Town, falsehood: Falsehood) -> None:
    task = town.post(text(), clock=300)
    town.worker("cheat", "solver", "solver", executors=lying(falsehood), replays=FalsifiedReplay)
    town.worker("verifier", "challenger", "verifier", executors=FUSED)
    town.until(lambda: town.status(task) is Status.SLASHED, idle=30)
    town.until(lambda: town.told(DisputeOver, "verifier"))
    assert town.told(DisputeOver, "verifier")[0].won
    assert town.told(Challenged, "verifier")[0].checkpoint == falsehood.step // INTERVAL


def test_an_honest_text_is_vouched_for_without_a_single_step(town: Town, right: list[int]) -> None:
    town.post(text())
    town.worker("solver", "solver", "solver", executors=FUSED)
    verifier = town.worker("verifier", "challenger", "verifier", executors=FUSED)
    town.until(lambda: len(town.told(Audited, "verifier")) == 2)
    assert all(event.right for event in town.told(Audited))
    assert right == [INTERVAL, INTERVAL]
    assert not list(verifier.materials.blobs.folder.glob("*.outputs"))  # only the solver serves them
    assert not list((town.folder / "verifier" / "claims").iterdir())


def test_outputs_that_nobody_serves_are_audited_step_by_step(
    town: Town, right: list[int], made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Places((town.folder.joinpath("away").as_uri(),))
    monkeypatch.setattr(Holders, "of_outputs", lambda *_: away)
    town.post(text())
    town.worker("solver", "solver", "solver", executors=FUSED)
    town.worker("verifier", "challenger", "verifier", executors=FUSED)
    town.until(lambda: len(town.told(Audited, "verifier")) == 2)
    assert all(event.right for event in town.told(Audited)) and not right
    assert made == [*range(2 * INTERVAL)]


def test_a_solver_that_swaps_a_token_is_convicted(
    town: Town, right: list[int], replayed: list[int], made: list[int]
) -> None:
    (last,) = [slot.index for slot in text().graph.slots if slot.spec.name == "last"]
    claims = town.folder / "verifier" / "claims"
    claims.mkdir(parents=True)
    claims.joinpath(f"{bytes(32).hex()}.outputs").touch()  # of a task that is gone
    until_convicted(town, Falsehood(7, last, 1, 3))
    assert not list(claims.iterdir())
    assert [(e.checkpoint, e.step) for e in town.told(OutputWrong, "verifier")] == [(1, 7)]
    assert right[-1] == 2
    assert town.told(Audited, "verifier")[-1].computed == b""  # a step was enough
    assert replayed == [7] and not made


FAILURES = {
    "planning": ("offchain.worker.claims.ahead_of", 0),
    "an audit": ("offchain.exec.fused.spans.FusedSpans.ahead", 0),
    "a dispute": ("offchain.dispute.replay.Guesses.agreed", 1),
}


@pytest.mark.parametrize("where", FAILURES)
def test_an_error_in_running_ahead_costs_a_line_and_no_verdict(
    town: Town, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The audit, or the dispute, goes on step by step at once."""
    place, interval = FAILURES[where]

    def fails(*_: Any) -> Any:
        raise IndexError("no such row")

    monkeypatch.setattr(place, fails)
    (last,) = [slot.index for slot in text().graph.slots if slot.spec.name == "last"]
    until_convicted(town, Falsehood(7, last, 1, 3))
    said = [(event.checkpoint, event.why) for event in town.told(NotAhead, "verifier")]
    assert said == [(interval, "IndexError: no such row")] and not town.told(Failed, "verifier")


def test_a_false_state_that_nobody_shows_is_contradicted_step_by_step(
    town: Town, made: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Claims, "end", lambda *_: [])
    (last,) = [slot.index for slot in text().graph.slots if slot.spec.name == "last"]
    until_convicted(town, Falsehood(7, last, 1, 3))
    assert made == [5, 6, 7]


def test_a_solver_that_swaps_no_token_but_a_key_is_convicted(
    town: Town, right: list[int], replayed: list[int], made: list[int]
) -> None:
    (keys,) = [slot.index for slot in text().graph.slots if slot.spec.name == "cache.0.keys"]
    until_convicted(town, Falsehood(INTERVAL - 1, keys, 0, 1 << 20))
    assert not town.told(OutputWrong) and right == [INTERVAL]
    assert replayed == [INTERVAL - 1] and not made
