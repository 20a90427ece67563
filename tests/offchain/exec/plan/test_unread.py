"""What a choice by the step's number leaves unread is not made, and no bit differs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from offchain.exec import Setting, make_executor
from offchain.exec.base import Limits
from offchain.exec.plan.unread import _BY_NUMBER, BLOCK, OUTCOMES, Unread, value_at
from offchain.exec.reference import program_value
from offchain.ir.graph import Node
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.lower import compile as lower
from offchain.program import Program
from offchain.task import Task

SIZE = 40


def a_task(step: Any, steps: int = 8) -> Task:
    g = torch.Generator().manual_seed(0)
    state = {name: torch.randn(SIZE, SIZE, generator=g) for name in ("a", "b")}
    return lower(Program(step, state, None, steps, steps // 2))


def two_sides(state: Any, _: Any, t: Any) -> Any:
    """Both sides multiply by the same matrix, which is packed once for both, by whichever comes first."""
    left, right = state["a"] @ state["b"], (state["a"] + 1) @ state["b"]
    return {"a": torch.where(t % 3 == 1, left.tanh(), right.sigmoid()), "b": state["b"]}, {"a": state["a"].mean()}


def products(task: Task, without: frozenset[int]) -> int:
    return sum(node.kind is Kind.DOT for n, node in enumerate(task.graph.nodes) if n not in without)


def test_the_other_side_is_unread() -> None:
    task = a_task(two_sides)
    unread = Unread(task.graph)
    assert products(task, frozenset()) == 2
    for t in range(2 * BLOCK + 3):
        assert products(task, unread.at(t)) == 1
        assert unread.at(t) == unread.at(t + 3) and (unread.at(t) == unread.at(1)) == (t % 3 == 1)


@pytest.mark.parametrize(
    "step",
    [
        two_sides,
        lambda s, _, t: ({"a": torch.where(t < 3, s["a"] @ s["b"], s["a"]), "b": s["b"].clone()}, {"a": s["a"].sum()}),
        lambda s, _, t: (
            {
                "a": torch.where(t < 3, torch.where(t > 1, s["a"] @ s["b"], s["b"]), s["a"].T @ s["b"]),
                "b": s["b"] * 0.9,
            },
            {"a": (s["a"] @ s["b"]).sum()},
        ),
    ],
)
def test_no_bit_differs(step: Any) -> None:
    task = a_task(step)
    made = {
        whole: make_executor("fused", task.graph, task.constants, task.datasets, Setting(limits=Limits(whole=whole)))
        for whole in (True, False)
    }
    reference = make_executor("reference", task.graph, task.constants, task.datasets)
    states: dict[Any, Any] = {which: made[which].load(list(task.state)) for which in made}
    wanted = reference.load(list(task.state))
    for t in range(task.steps):
        outputs = [list(one.outputs(states[which], t)) for which, one in made.items()]
        wanted = reference.step(wanted, t)
        for which, one in made.items():
            states[which] = one.step(states[which], t)
            for have, want in zip(one.dump(states[which]), reference.dump(wanted), strict=True):
                np.testing.assert_array_equal(have.view(np.int32), want.view(np.int32))
        for have, want in zip(*outputs, strict=True):  # of all nodes, whether or not a slot reads them
            np.testing.assert_array_equal(have.view(np.int32), want.view(np.int32))


def test_what_strangers_can_make_it_do_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph whose choices have many outcomes, and one of many choices: all nodes are made then."""
    sides = [1 << n for n in range(5)]

    def step(state: Any, _: Any, t: Any) -> Any:
        a = state["a"]
        for bit in sides:
            a = torch.where((t & bit) == 0, (a + bit) @ state["b"], a)
        return {**state, "a": a}, {"a": a.mean()}

    task = a_task(step, 64)
    unread = Unread(task.graph)
    made = [unread.at(t) for t in range(64)]
    assert len({nodes for nodes in made if nodes}) <= OUTCOMES and made[0] == made[32] and not made[31]
    monkeypatch.setattr("offchain.exec.plan.unread.WORK", 100)
    assert not any(Unread(task.graph).at(t) for t in range(64))


@pytest.mark.parametrize("op", sorted(_BY_NUMBER))
def test_what_follows_from_the_step_s_number_is_as_in_the_reference(op: Op) -> None:
    for word in (0, 1, 5, 31, 33, 1 << 31, (1 << 32) - 7):
        program = (Instr(Op.STEP), Instr.const(DType.I32, word), Instr(op, 0, 1), Instr(op, 1, 2), Instr(Op.IXOR, 2, 3))
        node = Node(Kind.MAP, DType.I32, (), (), program=program)
        steps = [0, 1, 7, 255, 1 << 20, (1 << 31) - 1]
        wanted = [int(program_value(node, [], [], t)[0]) for t in steps]
        assert value_at(program, np.array(steps, np.int32)).tolist() == wanted


def test_what_depends_on_values_is_always_made() -> None:
    def step(state: Any, _: Any, t: Any) -> Any:
        return {**state, "a": torch.where(state["a"].sum() < t, state["a"] @ state["b"], state["a"])}, {
            "a": state["a"][0, 0]
        }

    task = a_task(step)
    assert not Unread(task.graph).at(0)
