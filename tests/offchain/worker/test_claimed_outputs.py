"""Audits of what steps output: many steps at once as long as the solver's word holds, one by one where it does not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from offchain.commit.closing import Reached
from offchain.commit.roots import state_root, state_tree
from offchain.exec.ahead import Ahead, ahead_of
from offchain.exec.make import make_executor
from offchain.generation import Generation
from offchain.ir.arrays import Array
from offchain.lower import compile as lower
from offchain.store.checkpoint import output_slots
from offchain.task import Task
from offchain.worker.claims import Claim
from offchain.worker.course import Course
from offchain.worker.materials import Start
from tests.support.tasks import unposted

LONG, INTERVAL = 30.0, 5


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

    def passing(self, *given: Any) -> tuple[list[Any], int]:
        return self._ahead.passing(*given)


@pytest.fixture
def counted() -> Counted:
    task = text()
    executor = make_executor("fused", task.graph, task.constants, task.datasets)
    ahead = ahead_of(executor, output_slots(task))
    assert ahead is not None
    return Counted(executor, ahead)


def reached(
    counted: Counted, claims: dict[int, Claim], shown: Sequence[Sequence[Array]] = ((), ())
) -> tuple[list[bytes], Course]:
    """The roots after both intervals, or until a step contradicts what is claimed. `shown`: the states that are claimed
    at their ends, where they are in doubt."""
    task = text()
    roots = {"graph_root": task.graph_root, "state_root": task.state_root}
    terms = unposted(**roots, steps=task.steps, interval=INTERVAL)
    start = Start(0, list(task.state), state_tree(task.state))
    course = Course(task, counted, start, 1, terms, ahead=False)  # type: ignore[arg-type]
    course.claims.update(claims)
    found: list[Reached] = []
    while len(found) < 2 and course.contradicted is None:
        found += [end] if (end := course.work(LONG, lambda end: None)) else []
        course.settle(shown[course.checkpoint] if course.doubt else ())
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


@pytest.mark.parametrize("step", [0, 3, 7, 9])
def test_the_state_that_is_claimed_leaves_one_step_to_make(counted: Counted, step: int) -> None:
    claims = swapped(counted, step)
    false = [[*end] for end in ends()]
    for slot, tokens in claims[step // INTERVAL].outputs.items():
        false[step // INTERVAL][slot] = tokens
    roots, course = reached(counted, claims, false)
    assert roots == [state_root(end) for end in ends()[: step // INTERVAL]]
    assert (course.wrong, course.contradicted, counted.one) == (step, step, 1)


@pytest.mark.parametrize("step", [1, 6])
def test_a_false_key_is_found_by_its_step_before_its_first_wrong_output(counted: Counted, step: int) -> None:
    """From the false key on everything follows: only that one step is wrong."""
    task, k = text(), step // INTERVAL
    (keys,) = [n for n, slot in enumerate(task.graph.slots) if slot.spec.name == "cache.0.keys"]
    state, false = counted.executor.load(task.state), [[*end] for end in ends()]
    for t in range((k + 1) * INTERVAL):
        state = counted.executor.step(state, t)
        if t == step:
            falsified = counted.executor.dump(state)
            falsified[keys].reshape(task.graph.slots[keys].spec.shape)[:, :, t] *= -3
            state = counted.executor.load(falsified)
    false[k] = counted.executor.dump(state)
    claims = {k: Claim(state_root(end), outputs(end), counted) for k, end in enumerate(false)}
    _, course = reached(counted, claims, false)
    assert course.contradicted == step and counted.one <= 2
    assert course.wrong is None or course.wrong > step


def test_a_doubt_that_raises_an_error_is_settled_step_by_step(
    counted: Counted, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> Any:
        raise IndexError("no such row")

    monkeypatch.setattr(Broken, "passing", fails)
    broken = Broken(counted.executor, counted)
    claims = {k: Claim(state_root(end), outputs(end), broken) for k, end in enumerate(ends())}
    roots, course = reached(broken, claims, ends())
    assert roots == [state_root(end) for end in ends()]
    assert (course.failed, course.contradicted) == ((0, "IndexError: no such row"), None)


def test_a_state_that_is_shown_and_right_is_not_contradicted(counted: Counted) -> None:
    """Whatever many at once say of it."""
    broken = Broken(counted.executor, counted)
    claims = {k: Claim(state_root(end), outputs(end), broken) for k, end in enumerate(ends())}
    roots, course = reached(broken, claims, ends())
    assert roots == [state_root(end) for end in ends()]
    assert (course.wrong, course.contradicted, broken.one) == (2, None, 2 + 2 * INTERVAL)


@pytest.mark.parametrize("token", [-1, 40, 2**31 - 1, -(2**31)])
def test_what_is_no_token_is_contradicted_like_another_one(counted: Counted, token: int) -> None:
    """The next steps are made from it, many at once."""
    claims = swapped(counted, 3)
    for tokens in claims[0].outputs.values():
        tokens.reshape(INTERVAL, -1)[3:] = token
    roots, course = reached(counted, claims)
    assert (roots, course.wrong, course.contradicted, course.failed) == ([], 3, 3, None)


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

    def passing(self, state: Any, *given: Any) -> tuple[list[Any], int]:
        return [state], 2


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
