"""States within an interval, from those at its ends: right for every form that is known, and no ground against what is
right for any other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.exec.make import make_executor
from offchain.exec.recalled import Ends, Recalled
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Input, Source, View
from offchain.ir.recall import Recall, recall_of
from offchain.lower import compile as lower
from offchain.program import Program
from offchain.store.checkpoint import output_slots
from offchain.task import Task

STEPS, INTERVAL, WIDTH = 12, 6, 3
Where = Callable[[Any, Any], Any]

FORMS: dict[str, Where] = {
    "each once": lambda places, t: places == t,
    "a ring": lambda places, t: places == t % 4,
    "all up to it": lambda places, t: places <= t,
    "those after it": lambda places, t: places > t,
    "all at last": lambda places, t: (places >= 0) & (t >= STEPS - 1),
    "none": lambda places, t: places < t - STEPS,
}


def stepping(where: Where, *, turned: bool = False, follows: bool = False) -> Task:
    """Steps with a memory of which each reads all, that output a number made of it.

    Args:
        turned: the branches of the choice are the other way round.
        follows: something that is summed up over all steps is read, too.
    """

    def step(state: Any, data: Any, t: Any) -> Any:
        here = where(torch.arange(STEPS), t).reshape(-1, 1)
        number = (state["memory"].sum() + state["count"] + state["sum"]).round().int() % 97
        fresh = (number + torch.arange(WIDTH)).float()
        memory = torch.where(~here, state["memory"], fresh) if turned else torch.where(here, fresh, state["memory"])
        count = torch.where(state["last"] % 2 == 0, state["count"] + 5, state["count"])
        total = state["sum"] * 0.5 + memory.mean() if follows else state["sum"]
        new = {"memory": memory, "last": number, "count": count, "sum": total}
        return new, {"count": count.float()}, {"number": number.unsqueeze(0)}

    state = {"memory": torch.arange(STEPS * WIDTH).reshape(STEPS, WIDTH).float()}
    state |= {name: torch.tensor(0, dtype=torch.int32) for name in ("last", "count")} | {"sum": torch.zeros(())}
    return lower(Program(step, state, {"unused": torch.zeros(1)}, STEPS, interval=INTERVAL, outputs={"number": STEPS}))


@cache
def made(form: str, turned: bool = False) -> Task:
    return stepping(FORMS[form], turned=turned)


def recall(task: Task) -> Recall:
    found = recall_of(task.graph, task.steps, output_slots(task))
    assert found is not None
    return found


RUNS: dict[bytes, list[list[Array]]] = {}  # by the roots of their graphs


def states(task: Task) -> list[list[Array]]:
    """By the definition, before each step and after the last."""
    if task.graph_root not in RUNS:
        RUNS[task.graph_root] = run(task)
    return RUNS[task.graph_root]


def run(task: Task) -> list[list[Array]]:
    executor = make_executor("reference", task.graph, task.constants, task.datasets)
    found = [executor.load(task.state)]
    for t in range(task.steps):
        found.append(executor.step(found[-1], t))
    return found


def recalled(task: Task, first: int, claimed: list[Array]) -> Recalled:
    ends = Ends(first, first + INTERVAL, states(task)[first], claimed)
    found = Recalled.of(recall(task), task.constants, task.datasets, ends)
    assert found is not None
    return found


def contradicted(task: Task, first: int, claimed: list[Array], t: int) -> bool | None:
    """Whether step t contradicts the end; None where its state can't be known."""
    executor = make_executor("reference", task.graph, task.constants, task.datasets)
    of = recalled(task, first, claimed)
    before = of.before(t)
    if before is None:
        return None
    after = executor.step(executor.load(before), t)
    return of.contradicts(executor.lend(after, recall(task).sound), t)


def slot(task: Task, name: str) -> int:
    return [each.spec.name for each in task.graph.slots].index(name)


@pytest.mark.parametrize("turned", [False, True])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("first", [0, INTERVAL])
def test_what_is_known_is_what_was(form: str, turned: bool, first: int) -> None:
    task, known = made(form, turned), 0
    right = states(task)
    for t in range(first, first + INTERVAL):
        before = recalled(task, first, right[first + INTERVAL]).before(t)
        if before is not None:
            known += 1
            for n in recall(task).needed:
                assert np.array_equal(before[n], right[t][n]), (t, task.graph.slots[n].spec.name)
            assert contradicted(task, first, right[first + INTERVAL], t) is False
    assert known == INTERVAL or form in ("a ring", "all up to it", "those after it")
    assert known >= 1


@pytest.mark.parametrize("form", ["each once", "a ring"])
@given(data=st.data())
def test_what_is_false_is_found_by_the_step_that_wrote_it(form: str, data: st.DataObject) -> None:
    """Or it is not known; and then nobody is contradicted for it."""
    task, first = made(form), data.draw(st.sampled_from([0, INTERVAL]))
    end = states(task)[first + INTERVAL]
    memory, t = slot(task, "memory"), first + data.draw(st.integers(0, INTERVAL - 1))
    place = (t % 4 if form == "a ring" else t) * WIDTH + data.draw(st.integers(0, WIDTH - 1))
    false = [array.copy() for array in end]
    false[memory][place] += data.draw(st.sampled_from([1, -3, 0.5]))
    of = recalled(task, first, false)
    suspect = of.suspect(end, first + INTERVAL)
    latest = max(
        u
        for u in range(first, first + INTERVAL)
        if (u % 4 if form == "a ring" else u) * WIDTH == place // WIDTH * WIDTH
    )
    assert suspect == latest
    assert contradicted(task, first, false, latest) is (True if form == "each once" or latest == first else None)
    assert of.suspect(false, first + INTERVAL) is None and of.suspect(end, latest) is None


@st.composite
def programs(draw: st.DrawFn) -> Task:
    """Memories of several forms, counters that follow from each other or from them, and outputs of some of it."""
    memories = draw(st.lists(st.sampled_from([*FORMS.values()]), min_size=1, max_size=2))
    often = st.sampled_from([0, 1, 2, 4, 4, 0, 1, 2, 4, 3])  # of the list below; what reads a memory is seldom known
    counters = [draw(st.sets(often, min_size=1, max_size=2)) for _ in range(3)]
    fed, shown = draw(st.sets(often, min_size=1)), draw(st.sampled_from([4, 4, 4, 0, 1, 2]))

    def step(state: Any, data: Any, t: Any) -> Any:
        read = [state["a"], state["b"], state["c"], state["memory0"].sum().int(), state["last"]]
        new = {name: sum(read[k] for k in counters[i]) % 89 + t for i, name in enumerate("abc")}
        number = (sum(state[f"memory{i}"].sum() for i in range(len(memories))) % 97).int() + sum(read[k] for k in fed)
        for i, where in enumerate(memories):
            fresh = ((number + i) % 53 + torch.arange(WIDTH)).float()
            new[f"memory{i}"] = torch.where(where(torch.arange(STEPS), t).reshape(-1, 1), fresh, state[f"memory{i}"])
        new["last"] = number
        said = [*(new[name] for name in "abc"), read[3], number][shown]
        return new, {"number": number.float()}, {"said": said.unsqueeze(0)}

    whole = {f"memory{i}": torch.arange(STEPS * WIDTH).reshape(STEPS, WIDTH).float() for i in range(len(memories))}
    state = {**whole, **{name: torch.tensor(3, dtype=torch.int32) for name in ("a", "b", "c", "last")}}
    data = {"unused": torch.zeros(1)}
    return lower(Program(step, state, data, STEPS, interval=INTERVAL, outputs={"said": STEPS}))


@settings(max_examples=20)  # each is traced and lowered
@given(task=programs(), first=st.sampled_from([0, INTERVAL]), data=st.data())
def test_of_no_program_anything_else_is_known_than_what_was(task: Task, first: int, data: st.DataObject) -> None:
    right, found = states(task), recall_of(task.graph, task.steps, output_slots(task))
    t = first + data.draw(st.integers(0, INTERVAL - 1))
    before = None if found is None else recalled(task, first, right[first + INTERVAL]).before(t)
    if found is not None and before is not None:
        for n in found.needed:
            assert np.array_equal(before[n], right[t][n]), task.graph.slots[n].spec.name
        assert contradicted(task, first, right[first + INTERVAL], t) is False


def test_rows_that_are_false_are_found_by_their_steps() -> None:
    task, first = made("each once"), INTERVAL
    (rows,) = output_slots(task)
    for t in range(first, first + INTERVAL):
        false = [array.copy() for array in states(task)[first + INTERVAL]]
        false[rows][t % INTERVAL] += 1
        assert contradicted(task, first, false, t)


def test_what_is_summed_up_over_all_steps_is_not_known() -> None:
    task = stepping(FORMS["each once"], follows=True)
    assert recall_of(task.graph, task.steps, output_slots(task)) is None


def test_without_rows_that_show_what_a_step_output_nothing_is_known() -> None:
    task = made("each once")
    assert recall_of(task.graph, task.steps, []) is None


@pytest.mark.parametrize(("name", "limit"), [("LITTLE", 1), ("FEW", 0), ("LOOKS", 1)])
def test_what_takes_long_to_find_out_is_left(monkeypatch: pytest.MonkeyPatch, name: str, limit: int) -> None:
    monkeypatch.setattr(f"offchain.ir.recall.{name}", limit)
    assert recall_of(made("each once").graph, STEPS, output_slots(made("each once"))) is None


def test_writes_that_take_long_to_list_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offchain.exec.recalled.LONG", 100)
    task = made("each once")
    ends = Ends(0, INTERVAL, task.state, states(task)[INTERVAL])
    assert Recalled.of(recall(task), task.constants, task.datasets, ends) is None


# --- forms that only look like those that are known -------------------------------------------------------------------


def changed(task: Task, position: int, change: Callable[[Input], Input]) -> Graph:
    """The graph whose memory keeps something else than what it held."""
    number = task.graph.slots[slot(task, "memory")].index
    nodes = list(task.graph.nodes)
    inputs = list(nodes[number].inputs)
    inputs[position] = change(inputs[position])
    nodes[number] = replace(nodes[number], inputs=tuple(inputs))
    return replace(task.graph, nodes=tuple(nodes))


def test_a_memory_that_keeps_something_else_does_not_last() -> None:
    task = made("each once")
    memory, node = slot(task, "memory"), task.graph.nodes[task.graph.slots[slot(task, "memory")].index]
    (position,) = [k for k, item in enumerate(node.inputs) if (item.source, item.index) == (Source.STATE, memory)]
    whole = node.inputs[position].view
    assert memory in recall(task).lasting
    others: list[Callable[[Input], Input]] = [
        lambda item: replace(item, index=slot(task, "memory") + 1),
        lambda item: replace(item, source=Source.CONST, index=0),
        lambda item: replace(item, view=View(1, whole.axes)),
        lambda item: replace(item, view=View(0, tuple(reversed(whole.axes)))),
        lambda item: replace(item, view=View(0, (whole.axes[0]._replace(hi=STEPS - 1), *whole.axes[1:]))),
    ]
    for change in others:
        found = recall_of(changed(task, position, change), STEPS, output_slots(task))
        assert found is None or memory not in found.lasting
