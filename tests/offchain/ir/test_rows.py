"""Slots of outputs whose rows later steps of an interval keep; and graphs of which that is not known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn

from offchain.inference import Inference
from offchain.ir.graph import Graph, Input, Node, Source, View
from offchain.ir.log import carried_rows
from offchain.ir.primitives import Instr, Op
from offchain.ir.rows import keeps_rows
from offchain.lower import compile as lower
from offchain.program import Program
from offchain.task import Task, slot_of

COLUMNS = 3


def counts(columns: int, steps: int, interval: int) -> Task:
    """Steps that output what they add to the state."""

    def step(state: Any, data: Any, t: Any) -> Any:
        new = state["x"] + t
        return {"x": new}, {"sum": new.sum()}, {"whole": (2 * new).round().int().unsqueeze(0), "real": new.unsqueeze(0)}

    state, kept = {"x": torch.zeros(columns)}, {"whole": steps, "real": steps}
    return lower(Program(step, state, {"unused": torch.zeros(1)}, steps, interval=interval, outputs=kept))


@cache
def task() -> Task:
    return counts(COLUMNS, 15, 5)


def slots_of(made: Task) -> list[int]:
    names = [slot.spec.name for slot in made.graph.slots]
    return [names.index(slot_of(output.name)) for output in made.outputs]


@pytest.mark.parametrize("columns", [1, COLUMNS])
@pytest.mark.parametrize(("steps", "interval"), [(4, 2), (15, 5), (42_000, 7), (768, 256)])
def test_what_programs_are_lowered_to_keeps_its_rows(columns: int, steps: int, interval: int) -> None:
    made = counts(columns, steps, interval)
    assert [keeps_rows(made.graph, slot, steps) for slot in slots_of(made)] == [True, True]


def test_predictions_keep_their_rows() -> None:
    torch.manual_seed(0)
    made = lower(Inference(nn.Linear(4, 2), (torch.randn(10, 4),), 4))
    assert all(keeps_rows(made.graph, slot, made.steps) for slot in slots_of(made))


def changed(n: int, change: Callable[[Node], Node]) -> Graph:
    nodes = list(task().graph.nodes)
    nodes[n] = change(nodes[n])
    return replace(task().graph, nodes=tuple(nodes))


def reading(position: int, change: Callable[[Input], Input]) -> Callable[[Node], Node]:
    def changed(node: Node) -> Node:
        inputs = list(node.inputs)
        inputs[position] = change(inputs[position])
        return replace(node, inputs=tuple(inputs))

    return changed


def swapped(last: Instr) -> Instr:
    """Keeps the step's own row, and writes all others."""
    return Instr(Op.SELECT, last.a, last.c, last.b)


def test_another_form_is_not_known_to() -> None:
    graph, (slot, other) = task().graph, slots_of(task())
    written = graph.slots[slot].index
    old = next(n for n, item in enumerate(graph.nodes[written].inputs) if item.length == 5 * COLUMNS)
    gather = graph.nodes[written].inputs[old].index
    index = graph.nodes[gather].inputs[1].index
    backwards = View.strided((5, COLUMNS, 5), (0, 1, -COLUMNS), 4 * COLUMNS)
    for n, change in (
        (written, lambda node: replace(node, program=graph.nodes[0].program)),
        (written, lambda node: replace(node, program=node.program[:-1])),
        (written, reading(old, lambda item: replace(item, source=Source.STATE, index=slot))),
        (written, reading(old, lambda item: replace(item, view=View.strided((5, COLUMNS), (0, 1))))),
        (written, lambda node: replace(node, program=(*node.program[:-1], swapped(node.program[-1])))),
        (gather, reading(0, lambda item: replace(item, index=other))),
        (gather, reading(0, lambda item: replace(item, view=backwards))),
        (gather, lambda node: replace(node, extent=4)),
        (index, lambda node: replace(node, program=carried_rows(4))),
    ):
        assert not keeps_rows(changed(n, change), slot, 15)
    assert keeps_rows(changed(written, lambda node: node), slot, 15)


def test_a_slot_that_repeats_the_state_keeps_nothing_of_a_step() -> None:
    graph, (slot, _) = task().graph, slots_of(task())
    slots = list(graph.slots)
    slots[slot] = replace(slots[slot], source=Source.STATE, index=slot)
    assert not keeps_rows(replace(graph, slots=tuple(slots)), slot, 15)
