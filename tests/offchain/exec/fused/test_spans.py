"""Many steps at once: the bits of one step after the other, and the first step that outputs something else."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from offchain.commit.roots import state_root
from offchain.exec.ahead import ahead_of
from offchain.exec.base import UNLIMITED, Limits, Setting
from offchain.exec.fused import spans as module
from offchain.exec.fused.engines import known_good
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.spans import MEMORY, FusedSpans, spans_of
from offchain.exec.plan.executor import State
from offchain.exec.reference import ReferenceExecutor
from offchain.generation import Generation
from offchain.ir import spans
from offchain.ir.arrays import Array
from offchain.ir.graph import Source
from offchain.ir.kinds import Kind
from offchain.ir.spans import span_of
from offchain.lower import compile as lower
from offchain.program import Program
from offchain.task import Task, slot_of
from tests.support.strategies import Case, graphs

STEPS, VOCABULARY = 4, 40
PROMPTS = [[1, 2, 3], [4, 5], [6]]


def llama() -> Any:
    sizes = {"hidden_size": 16, "intermediate_size": 24, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(
        LlamaConfig(vocab_size=VOCABULARY, num_hidden_layers=2, max_position_embeddings=32, **sizes)
    )


def gpt2() -> Any:
    return GPT2LMHeadModel(GPT2Config(vocab_size=VOCABULARY, n_positions=32, n_embd=16, n_layer=2, n_head=2))


MODELS = {"llama": llama, "gpt2": gpt2}


@cache
def generation(model: str = "llama", interval: int = 6, **wishes: Any) -> Task:
    torch.manual_seed(0)
    return lower(Generation(MODELS[model](), PROMPTS, 8, interval=interval, bits=13, **wishes))


def executor_of(task: Task, limits: Limits = UNLIMITED) -> FusedExecutor:
    setting = Setting(limits=limits)
    return FusedExecutor(task.graph, task.constants, task.datasets, setting, engines=known_good())


def outputs_of(task: Task) -> list[int]:
    names = [slot.spec.name for slot in task.graph.slots]
    return [names.index(slot_of(output.name)) for output in task.outputs]


def stepped(executor: FusedExecutor, state: State, t: int, steps: int) -> State:
    for i in range(t, t + steps):
        state = executor.step(state, i)
    return state


def claims(task: Task, executor: FusedExecutor, state: State) -> dict[int, Array]:
    """What the slots of outputs hold in a state."""
    return {slot: executor.dump(state)[slot] for slot in outputs_of(task)}


def same(left: Sequence[Array], right: Sequence[Array]) -> bool:
    return all((a.view(np.int32) == b.view(np.int32)).all() for a, b in zip(left, right, strict=True))


@pytest.mark.parametrize("large", [0, spans.LARGE])  # whether what reads a cache is read in its loop
@pytest.mark.parametrize(
    "wishes",
    [
        {},
        {"model": "gpt2"},
        {"temperature": 0.9, "top_k": 3},
        {"model": "gpt2", "temperature": 1.5, "stop": 7},
        {"stop": tuple(range(0, VOCABULARY, 2))},
    ],
    ids=str,
)
def test_an_interval_at_once_is_one_token_a_step(
    monkeypatch: pytest.MonkeyPatch, wishes: dict[str, Any], large: int
) -> None:
    monkeypatch.setattr(spans, "LARGE", large)
    task = generation(**wishes)
    executor = executor_of(task)
    ahead = ahead_of(executor, outputs_of(task))
    assert ahead is not None and ahead.steps == task.interval
    state = executor.load(task.state)
    for t in range(0, task.steps, task.interval):
        after = stepped(executor, state, t, task.interval)
        true = claims(task, executor, after)
        found, right = ahead.ahead(state, t, true)
        assert right == task.interval
        assert state_root(executor.dump(found)) == state_root(executor.dump(after))
        passed, right = ahead.passing(state, t, true, range(1, task.interval + 1))
        assert right == task.interval
        for count, between in enumerate(passed, 1):
            assert same(executor.dump(between), executor.dump(stepped(executor, state, t, count)))
        state = found


@pytest.mark.parametrize("lie", [1, -1, 2**31 - 2])
def test_the_first_wrong_token_is_found_wherever_it_is(lie: int) -> None:
    task = generation(temperature=1.0)
    executor = executor_of(task)
    ahead, state = ahead_of(executor, outputs_of(task)), executor.load(task.state)
    assert ahead is not None
    true = claims(task, executor, stepped(executor, state, 0, task.interval))
    ((slot, tokens),) = true.items()
    for step in range(task.interval):
        for row in range(len(PROMPTS)):
            false = tokens.copy().reshape(task.interval, -1)
            false[step, row] = (int(false[step, row]) + lie) % 2**31
            false[step + 1 :] = 3  # whatever comes after it
            assert ahead.ahead(state, 0, {slot: false})[1] == step
            if row == 0 and step:  # the state before it is right
                (found,), _ = ahead.passing(state, 0, {slot: false}, [step])
                assert same(executor.dump(found), executor.dump(stepped(executor, state, 0, step)))


def test_tokens_that_follow_from_a_wrong_one_do_not_hide_it() -> None:
    """A cheat goes on honestly from the token that it swapped."""
    task = generation()
    executor = executor_of(task)
    ahead, start = ahead_of(executor, outputs_of(task)), executor.load(task.state)
    assert ahead is not None
    swapped = executor.dump(stepped(executor, start, 0, 2))
    swapped[0][1] = (swapped[0][1] + 1) % VOCABULARY  # the slot `last`
    (slot,) = outputs_of(task)
    swapped[slot].reshape(task.interval, -1)[1] = swapped[0]
    end = stepped(executor, executor.load(swapped), 2, task.interval - 2)
    found, right = ahead.ahead(start, 0, claims(task, executor, end))
    assert right == 1
    assert not same(executor.dump(found), executor.dump(end))


def test_part_of_an_interval_where_more_does_not_fit() -> None:
    task = generation(interval=7)
    free = spans_of(executor_of(task, Limits(prepared=0)), outputs_of(task))
    assert free is not None and free.steps == 7
    step, span = UNLIMITED.memory - executor_of(task, Limits(prepared=0)).left.memory, MEMORY - free.left.memory
    executor = executor_of(task, Limits(memory=step + span - 1, prepared=0))
    ahead = spans_of(executor, outputs_of(task))
    assert ahead is not None and ahead.steps == 3
    state = executor.load(task.state)
    end = stepped(executor, state, 0, 7)
    true = claims(task, executor, end)
    for t in (0, 3):
        state, right = ahead.ahead(state, t, true)
        assert right == 3
    assert same(executor.dump(executor.step(state, 6)), executor.dump(end))
    assert ahead_of(executor_of(task, Limits(memory=step, prepared=0)), outputs_of(task)) is None


def test_caches_are_read_in_their_loops_and_weights_in_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spans, "LARGE", 0)
    graph = generation().graph
    span = span_of(graph, 6, outputs_of(generation()))
    assert span is not None
    looped = {n for group in span.groups if group.looped for n in group.nodes}
    dots = {n: node.inputs[1].source for n, node in enumerate(graph.nodes) if node.kind is Kind.DOT}
    assert sorted(set(dots.values())) == [Source.NODE, Source.CONST]
    assert {n for n, source in dots.items() if source is Source.NODE} == looped & dots.keys()


def test_a_long_interval_of_many_loops_is_planned_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    task = generation()
    whole = spans_of(executor_of(task), outputs_of(task))
    span = span_of(task.graph, task.interval, outputs_of(task))
    assert whole is not None and span is not None and whole.steps == 6
    monkeypatch.setattr(module, "MOST_REPEATED", span.repeated - 1)
    part = spans_of(executor_of(task), outputs_of(task))
    assert part is not None and part.steps == 3


def test_nothing_is_run_ahead_without_outputs_nor_by_others() -> None:
    task = generation()
    assert ahead_of(executor_of(task), []) is None
    assert ahead_of(ReferenceExecutor(task.graph, task.constants, task.datasets), outputs_of(task)) is None

    class Other(FusedExecutor):
        """May compute something else."""

    assert ahead_of(Other(task.graph, task.constants, task.datasets), outputs_of(task)) is None


def test_training_is_not_run_ahead() -> None:
    """Its rows of outputs show weights after each step, and its next step needs much else of the last one."""
    torch.manual_seed(0)
    model = nn.Linear(8, 1)

    def step(state: Any, data: Any, t: Any) -> Any:
        def loss(weights: Any) -> Any:
            return (torch.func.functional_call(model, weights, (data["x"],)) ** 2).mean()

        slopes, value = torch.func.grad_and_value(loss)(state["weights"])
        speed = {name: 0.9 * state["speed"][name] + slope for name, slope in slopes.items()}
        weights = {name: state["weights"][name] - 0.1 * speed[name] for name in speed}
        return {"weights": weights, "speed": speed}, {"loss": value}, {"bias": weights["bias"].unsqueeze(0)}

    weights = {name: value.detach().clone() for name, value in model.named_parameters()}
    speed = {name: torch.zeros_like(value) for name, value in weights.items()}
    data = {"x": torch.randn(32, 8)}
    task = lower(Program(step, {"weights": weights, "speed": speed}, data, 4, interval=4, outputs={"bias": 4}))
    assert ahead_of(executor_of(task), outputs_of(task)) is None


@given(case=graphs(), large=st.sampled_from([0, spans.LARGE]))
@settings(max_examples=60)
def test_any_graph_runs_as_many_steps_at_once(case: Case, large: int) -> None:
    graph, before = case.graph, spans.LARGE
    spans.LARGE = large  # type: ignore[misc]
    span = span_of(graph, STEPS, ())
    spans.LARGE = before  # type: ignore[misc]
    if span is None:
        return
    executor = FusedExecutor(graph, case.constants, case.datasets, engines=known_good())
    state, t = executor.load(case.state), min(case.t, 2**31 - 1 - STEPS)
    many = FusedSpans(executor, span, UNLIMITED)
    found, right = many.passing(state, t, {}, range(1, STEPS + 1))
    assert right == STEPS
    for count, between in enumerate(found, 1):
        assert same(executor.dump(between), executor.dump(stepped(executor, state, t, count)))
    assert same(executor.dump(many.ahead(state, t, {})[0]), executor.dump(found[-1]))
