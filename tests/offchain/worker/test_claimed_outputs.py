"""Audits of what steps output: many steps at once as long as the solver's word holds, one by one where it does not."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from offchain.commit.closing import Reached
from offchain.commit.roots import state_root, state_tree
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.dispute.points import Point
from offchain.exec.ahead import Ahead, ahead_of
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.spans import FusedSpans
from offchain.exec.make import make_executor
from offchain.generation import Generation
from offchain.ir.arrays import Array
from offchain.lower import compile as lower
from offchain.market.view import Status
from offchain.store.checkpoint import output_slots
from offchain.store.race import Places
from offchain.task import Task
from offchain.worker.claimed import NotAhead, OutputWrong
from offchain.worker.claims import Claim
from offchain.worker.course import Course
from offchain.worker.events import Audited, Challenged, DisputeOver, Failed
from offchain.worker.holders import Holders
from offchain.worker.making import executor_factory
from offchain.worker.materials import Start
from tests.support.tasks import unposted
from tests.support.town import Town, lying

LONG, INTERVAL = 30.0, 5
FUSED = executor_factory("fused")


@cache
def text() -> Task:
    """Two intervals of a generation."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, num_hidden_layers=1, max_position_embeddings=32, **sizes))
    return lower(Generation(model, [[1, 2, 3], [4]], 8, interval=INTERVAL, bits=13, temperature=0.9))


@cache
def ends() -> list[list[Array]]:
    """The states after the intervals, by the definition."""
    task = text()
    executor = make_executor("torch", task.graph, task.constants, task.datasets)
    state, found = executor.load(task.state), []
    for t in range(task.steps):
        state = executor.step(state, t)
        if (t + 1) % INTERVAL == 0:
            found.append(executor.dump(state))
    return found


def outputs(state: list[Array]) -> dict[int, Array]:
    return {slot: state[slot].copy() for slot in output_slots(text())}


class Counted:
    """Steps of an executor, by how they were made."""

    def __init__(self, executor: Any, ahead: Ahead[Any]) -> None:
        self.executor, self._ahead, self.steps, self.one, self.many = executor, ahead, ahead.steps, 0, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.executor, name)

    def step(self, state: Any, t: int) -> Any:
        self.one += 1
        return self.executor.step(state, t)

    def ahead(self, state: Any, t: int, claimed: Mapping[int, Array]) -> tuple[Any, int]:
        self.many += 1
        return self._ahead.ahead(state, t, claimed)


@pytest.fixture
def counted() -> Counted:
    task = text()
    executor = make_executor("fused", task.graph, task.constants, task.datasets)
    ahead = ahead_of(executor, output_slots(task))
    assert ahead is not None
    return Counted(executor, ahead)


def reached(counted: Counted, claims: dict[int, Claim]) -> tuple[list[bytes], Course]:
    """The roots after both intervals, or until a step contradicts what is claimed."""
    task = text()
    roots = {"graph_root": task.graph_root, "state_root": task.state_root}
    terms = unposted(**roots, steps=task.steps, interval=INTERVAL)
    start = Start(0, list(task.state), state_tree(task.state))
    course = Course(task, counted, start, 1, terms, ahead=False)  # type: ignore[arg-type]
    course.claims.update(claims)
    found: list[Reached] = []
    while len(found) < 2 and course.contradicted is None:
        found += [end] if (end := course.work(LONG, lambda end: None)) else []
    assert [end.checkpoint for end in found] == [0, 1][: len(found)] and course.due == len(found)
    return [end.root for end in found], course


def test_a_true_claim_is_audited_at_once(counted: Counted) -> None:
    claims = {k: Claim(state_root(end), outputs(end), counted) for k, end in enumerate(ends())}
    roots, course = reached(counted, claims)
    assert roots == [state_root(end) for end in ends()]
    assert (counted.one, counted.many, course.wrong, course.told) == (0, 2, None, True)


def swapped(counted: Counted, step: int) -> dict[int, Claim]:
    """All outputs from a step on are said to be others."""
    claims = {k: Claim(state_root(end), outputs(end), counted) for k, end in enumerate(ends())}
    k, at = divmod(step, INTERVAL)
    for tokens in claims[k].outputs.values():
        tokens.reshape(INTERVAL, -1)[at:] += 1
    return claims


@pytest.mark.parametrize("step", [0, 3, 7, 9])
def test_a_false_output_is_contradicted_by_its_step_and_no_later_one_is_made(counted: Counted, step: int) -> None:
    k = step // INTERVAL
    roots, course = reached(counted, swapped(counted, step))
    assert roots == [state_root(end) for end in ends()[:k]]
    assert (course.wrong, course.contradicted, course.told, counted.many) == (step, step, False, k + 1)
    assert counted.one == step % INTERVAL + 1


def test_a_false_output_that_a_later_step_could_write_over_proves_nothing(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("offchain.worker.course.keeps_rows", lambda *given: False)
    roots, course = reached(counted, swapped(counted, 7))
    assert roots == [state_root(end) for end in ends()]  # whatever was claimed
    assert (course.wrong, course.contradicted, counted.one) == (7, None, INTERVAL)


class Broken(Counted):
    """Says that a true output is wrong, and has another state."""

    def ahead(self, state: Any, t: int, claimed: Mapping[int, Array]) -> tuple[Any, int]:
        super().ahead(state, t, claimed)
        return state, 2


def test_many_steps_that_are_wrong_themselves_contradict_nobody(counted: Counted) -> None:
    broken = Broken(counted.executor, counted)
    claims = {k: Claim(state_root(end), outputs(end), broken) for k, end in enumerate(ends())}
    roots, course = reached(broken, claims)
    assert roots == [state_root(end) for end in ends()]
    assert (course.wrong, course.contradicted, broken.one) == (2, None, 2 * INTERVAL)


class Failing(Counted):
    """Raises an error the second time."""

    def ahead(self, state: Any, t: int, claimed: Mapping[int, Array]) -> tuple[Any, int]:
        if self.many:
            raise IndexError("no such row")
        return super().ahead(state, t, claimed)


def test_many_steps_that_fail_are_made_one_by_one_at_once(counted: Counted) -> None:
    failing = Failing(counted.executor, counted)
    claims = {k: Claim(state_root(end), outputs(end), failing) for k, end in enumerate(ends())}
    roots, course = reached(failing, claims)
    assert roots == [state_root(end) for end in ends()]
    assert (course.failed, course.told, course.wrong) == ((1, "IndexError: no such row"), False, None)
    assert (failing.many, failing.one) == (1, INTERVAL)


class Second(Counted):
    """Has another state after the first interval, and then says that a true output is wrong."""

    def ahead(self, state: Any, t: int, claimed: Mapping[int, Array]) -> tuple[Any, int]:
        after, _ = super().ahead(state, t, claimed)
        return (state, INTERVAL) if self.many == 1 else (after, 2)


def test_an_interval_that_was_run_ahead_before_a_wrong_output_is_no_ground_either(counted: Counted) -> None:
    """Its root is still being computed when the next interval is found wrong."""
    second = Second(counted.executor, counted)
    claims = {k: Claim(state_root(end), outputs(end), second) for k, end in enumerate(ends())}
    roots, course = reached(second, claims)
    assert roots == [state_root(end) for end in ends()]
    assert (course.contradicted, second.one) == (None, 2 * INTERVAL)


def test_a_root_that_lies_about_something_else_is_replayed(counted: Counted) -> None:
    claims = {k: Claim(state_root(end), outputs(end), counted) for k, end in enumerate(ends())}
    claims[0] = Claim(bytes(32), claims[0].outputs, counted)
    roots, course = reached(counted, claims)
    assert roots == [state_root(end) for end in ends()]
    assert (course.wrong, course.told, counted.one) == (None, False, 2 * INTERVAL)


def test_outputs_that_nobody_tells_are_computed_step_by_step(counted: Counted) -> None:
    roots, _ = reached(counted, {k: Claim(bytes(32), {}, counted) for k in (0, 1)})
    assert roots == [state_root(end) for end in ends()]
    assert (counted.one, counted.many) == (2 * INTERVAL, 0)


# --- workers on a chain -----------------------------------------------------------------------------------------------


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
    town: Town, right: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    away = Places((town.folder.joinpath("away").as_uri(),))
    monkeypatch.setattr(Holders, "of_outputs", lambda *_: away)
    town.post(text())
    town.worker("solver", "solver", "solver", executors=FUSED)
    town.worker("verifier", "challenger", "verifier", executors=FUSED)
    town.until(lambda: len(town.told(Audited, "verifier")) == 2)
    assert all(event.right for event in town.told(Audited)) and not right


def test_a_solver_that_swaps_a_token_is_convicted(town: Town, right: list[int], replayed: list[int]) -> None:
    (last,) = [slot.index for slot in text().graph.slots if slot.spec.name == "last"]
    claims = town.folder / "verifier" / "claims"
    claims.mkdir(parents=True)
    claims.joinpath(f"{bytes(32).hex()}.outputs").touch()  # of a task that is gone
    until_convicted(town, Falsehood(7, last, 1, 3))
    assert not list(claims.iterdir())
    assert [(e.checkpoint, e.step) for e in town.told(OutputWrong, "verifier")] == [(1, 7)]
    assert right[-1] == 2
    assert town.told(Audited, "verifier")[-1].computed == b""  # a step was enough
    assert replayed == [7]


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


def test_a_solver_that_swaps_no_token_but_a_key_is_convicted(town: Town, right: list[int], replayed: list[int]) -> None:
    (keys,) = [slot.index for slot in text().graph.slots if slot.spec.name == "cache.0.keys"]
    until_convicted(town, Falsehood(INTERVAL - 1, keys, 0, 1 << 20))
    assert not town.told(OutputWrong) and right == [INTERVAL]
    assert replayed == [INTERVAL - 1]
