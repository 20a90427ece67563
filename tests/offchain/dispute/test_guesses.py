"""A challenger that was told what steps output: the same answers as step by step, of few steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import LlamaConfig, LlamaForCausalLM

from offchain.commit.roots import state_root
from offchain.dispute import guesses
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.dispute.points import point_bytes
from offchain.dispute.replay import BUDGET, Ledger, Replay
from offchain.exec.ahead import Ahead, Told
from offchain.exec.fused.engines import known_good
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.spans import FusedSpans, spans_of
from offchain.generation import Generation
from offchain.ir.arrays import Array
from offchain.lower import compile as lower
from offchain.store.checkpoint import output_slots
from offchain.task import Task
from tests.support.counting import Counting

STEPS, ROWS = 20, 2
ENDS = list(range(1, STEPS + 1))
State = list[Any]


@dataclass(frozen=True)
class Text:
    """A generation of one interval, and what makes its steps."""

    task: Task
    ledger: Ledger
    executor: FusedExecutor
    many: FusedSpans

    def node(self, slot: str) -> int:
        return next(s.index for s in self.task.graph.slots if s.spec.name == slot)

    def lied(self, falsehood: Falsehood | None = None) -> list[list[Array]]:
        """The states after each step, honest from a falsehood on."""
        executor: Any = self.executor
        if falsehood:
            executor = FalsifiedExecutor(executor, self.ledger, falsehood)
        state, found = executor.load(self.task.state), []
        for t in range(STEPS):
            state = executor.step(state, t)
            found.append(executor.dump(state))
        return found

    def outputs(self, end: Sequence[Array]) -> dict[int, Array]:
        return {slot: end[slot] for slot in output_slots(self.task)}

    def challenger(
        self, outputs: Mapping[int, Array], ahead: Ahead[Any] | None = None, budget: int = BUDGET
    ) -> tuple[Replay, Counting]:
        executor = Counting(self.executor)
        made = Replay(executor, self.ledger, 0, self.task.state, budget=budget)
        made.told = Told(outputs, ahead or self.many)
        return made, executor


@cache
def text() -> Text:
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=40, num_hidden_layers=1, max_position_embeddings=32, **sizes))
    task = lower(Generation(model, [[1, 2, 3], [4]], STEPS - 2, interval=STEPS, bits=13, temperature=0.9))
    executor = FusedExecutor(task.graph, task.constants, task.datasets, engines=known_good())
    many = spans_of(executor, output_slots(task))
    assert many is not None and many.steps == task.steps == STEPS
    return Text(task, Ledger(task.graph, task.constants, task.datasets), executor, many)


@cache
def truth() -> list[list[Array]]:
    return text().lied()


def roots(states: Sequence[Sequence[Array]]) -> list[bytes]:
    return [state_root(state) for state in states]


def swap(step: int, row: int = 0, xor: int = 1, slot: str = "last") -> Falsehood:
    return Falsehood(step, text().node(slot), row, xor)


def assert_few(counted: Counting, step: int, from_: int | None = None) -> None:
    """One by one only the steps near a wrong one were made, or from one on."""
    first = min(counted.steps)
    assert counted.steps == dict.fromkeys(range(first, step + 1), 1)
    assert first >= (step if from_ is None else from_) - STEPS // guesses.NEAR


def same_record(made: Replay, step: int) -> None:
    """The step from the inside is what a player has who makes all steps."""
    plain = Replay(text().executor, text().ledger, 0, text().task.state)
    assert made.step(step).trace.root == plain.step(step).trace.root
    assert made.step(step).before.leaves == plain.step(step).before.leaves


@given(step=st.integers(0, STEPS - 1), row=st.integers(0, ROWS - 1), xor=st.integers(1, 31), few=st.booleans())
@settings(max_examples=15, deadline=None)
def test_a_swapped_token_costs_few_steps(step: int, row: int, xor: int, few: bool) -> None:
    """Of a cheat that goes on honestly from it."""
    lie = text().lied(swap(step, row, xor))
    made, counted = text().challenger(text().outputs(lie[-1]), budget=0 if few else BUDGET)
    told = roots(lie)
    assert made.contradicted(0, ENDS, told) == step
    assert_few(counted, step)
    same_record(made, step)
    assert_few(counted, step)
    assert counted.passes == {step: 1}


@pytest.mark.parametrize("step", [0, 7, STEPS - 1])
def test_a_swapped_output_costs_few_steps(step: int) -> None:
    """The model goes on from the true token."""
    lie = text().lied(swap(step, step * ROWS + 1, 3, "outputs.token"))
    made, counted = text().challenger(text().outputs(lie[-1]))
    assert made.contradicted(0, ENDS, roots(lie)) == step
    assert_few(counted, step)


@pytest.mark.parametrize("kept", [0, 1, 3, 100])
@pytest.mark.parametrize("step", [0, 9, STEPS - 1])
def test_a_key_that_changes_no_token_is_found_by_halving(step: int, kept: int) -> None:
    lie = text().lied(swap(step, 0, 1, "cache.0.keys"))
    said, true = text().outputs(lie[-1]), text().outputs(truth()[-1])
    assert all((said[slot] == true[slot]).all() for slot in true)
    made, counted = text().challenger(said, budget=2 * kept * point_bytes(text().task.graph))
    assert made.contradicted(0, ENDS, roots(lie)) == step
    if kept > 1:
        assert_few(counted, step)
    assert counted.steps.total() <= STEPS // 4 + 1
    same_record(made, step)


@pytest.mark.parametrize(("said", "played"), [(12, 5), (12, 11), (12, 0), (5, 12), (0, STEPS - 1)])
def test_another_story_in_the_dispute_than_in_the_outputs(said: int, played: int) -> None:
    """Its list of roots is wrong elsewhere than what it said of its tokens."""
    lie = text().lied(swap(played, 1, 5))
    made, counted = text().challenger(text().outputs(text().lied(swap(said))[-1]))
    assert made.contradicted(0, ENDS, roots(lie)) == played
    assert_few(counted, played, from_=min(said, played))
    same_record(made, played)


def test_nothing_wrong_is_only_said_when_all_steps_were_made() -> None:
    made, counted = text().challenger(text().outputs(truth()[-1]))
    assert made.contradicted(0, ENDS, roots(truth())) is None
    assert all(counted.steps[t] for t in range(STEPS))


@pytest.mark.parametrize("step", [0, 6, 7, 18])
def test_pieces_of_several_steps_are_cut_again(step: int) -> None:
    lie, width = text().lied(swap(step)), 4
    told, ends = roots(lie), ENDS[width - 1 :: width]
    made, counted = text().challenger(text().outputs(lie[-1]))
    i = made.contradicted(0, ends, told[width - 1 :: width])
    assert i == step // width
    inner = ENDS[width * i : width * (i + 1)]
    assert made.contradicted(width * i, inner, told[width * i : width * (i + 1)]) == step % width
    same_record(made, step)
    assert counted.steps.total() <= 2 * width


@dataclass
class Broken:
    """Has other states than the steps lead to, and may say another number of right ones."""

    right: int | None
    states: Callable[[list[State], State], list[State]]

    @property
    def steps(self) -> int:
        return text().many.steps

    def ahead(self, *given: Any) -> Any:
        raise NotImplementedError

    def passing(self, state: State, t: int, claimed: Mapping[int, Array], counts: Sequence[int]) -> Any:
        found, right = text().many.passing(state, t, claimed, counts)
        return self.states(found, state), right if self.right is None else self.right


BROKEN = [
    Broken(0, lambda found, start: found),
    Broken(3, lambda found, start: found),
    Broken(STEPS, lambda found, start: found),
    Broken(None, lambda found, start: [start for _ in found]),
    Broken(3, lambda found, start: [start for _ in found]),
    Broken(STEPS, lambda found, start: found[::-1]),
]


@pytest.mark.parametrize("broken", BROKEN, ids=range(len(BROKEN)))
@pytest.mark.parametrize("step", [1, 11])
def test_false_guesses_cost_steps_and_no_answer(broken: Broken, step: int) -> None:
    lie = text().lied(swap(step))
    made, _ = text().challenger(text().outputs(lie[-1]), broken)
    assert made.contradicted(0, ENDS, roots(lie)) == step
    same_record(made, step)
    made, _ = text().challenger(text().outputs(truth()[-1]), broken)
    assert made.contradicted(0, ENDS, roots(truth())) is None


@pytest.mark.parametrize("lie", [None, 9])
def test_guesses_that_fail_are_not_needed(lie: int | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> Any:
        raise IndexError("no such row")

    ends = text().lied(swap(lie)) if lie else truth()
    made, counted = text().challenger(text().outputs(ends[-1]))
    monkeypatch.setattr(FusedSpans, "passing", fails)
    assert made.contradicted(0, ENDS, roots(ends)) == lie
    assert made.failed == "IndexError: no such row" and made.told is None
    assert counted.steps == dict.fromkeys(range(STEPS if lie is None else lie + 1), 1)


def test_a_solver_that_knows_a_false_guess_is_convicted_of_what_follows_from_it() -> None:
    """It reveals the root of the guess: then the guess is what the dispute speaks of."""
    start = text().task.state
    broken = Broken(9, lambda found, begun: [begun for _ in found])
    told = [state_root(start) if n < 9 else root for n, root in enumerate(roots(text().lied(swap(9))))]
    made, counted = text().challenger(text().outputs(truth()[-1]), broken)
    assert made.contradicted(0, ENDS, told) == 9
    record = made.step(9)
    assert record.before.leaves == Replay(text().executor, text().ledger, 0, start).step(0).before.leaves
    assert record.trace.state_root != told[9] and counted.steps == {9: 1}


@given(seed=st.integers(0, 2**32), room=st.sampled_from([1, 2, 5, 15]))
@settings(max_examples=50, deadline=None)
def test_whatever_is_revealed_the_answer_is_a_wrong_step_after_a_right_root(seed: int, room: int) -> None:
    """Roots of which any are true: the named one is wrong, and the one before it is not."""
    rng = Random(seed)
    told = [root if rng.random() < 0.5 else rng.randbytes(32) for root in roots(truth())]
    said = text().outputs(text().lied(swap(rng.randrange(STEPS)))[-1])
    made, _ = text().challenger(said, budget=2 * room * point_bytes(text().task.graph))
    i = made.contradicted(0, ENDS, told)
    right = roots(truth())
    if told == right:
        assert i is None
    else:
        assert i is not None and told[i] != right[i] and (i == 0 or told[i - 1] == right[i - 1])


def test_few_runs_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[int]()
    passing = FusedSpans.passing

    def noting(many: Any, state: Any, t: int, claimed: Any, counts: Any) -> Any:
        asked.append(len(counts))
        return passing(many, state, t, claimed, counts)

    monkeypatch.setattr(FusedSpans, "passing", noting)
    lie = text().lied(swap(12))
    text().challenger(text().outputs(lie[-1]))[0].contradicted(0, ENDS, roots(lie))
    assert len(asked) == 1
    asked.clear()
    made, _ = text().challenger(text().outputs(truth()[-1]), budget=0)
    assert made.contradicted(0, ENDS, [bytes(32) for _ in ENDS]) == 0
    assert len(asked) <= guesses.RUNS
