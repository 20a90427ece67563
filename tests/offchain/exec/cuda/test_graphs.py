"""Launches of a step recorded as CUDA graphs, and what happens where that fails."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offchain.exec.cuda import graphs as cuda_graphs
from offchain.exec.cuda.executor import CudaExecutor
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.graph import Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Instr, Op
from tests.offchain.exec.cuda.compared import (
    F32,
    MARKS,
    executor,
    words,
)
from tests.support.strategies import Case

pytestmark = MARKS


def counter() -> Case:
    """State 1 is twice state 0 and state 0 follows it; state 2 stays."""
    item = Input(Source.STATE, 0, F32, 4, View.contiguous((4,)))
    double = Node(Kind.MAP, F32, (4,), (item,), program=(Instr(Op.INPUT), Instr(Op.ADD, 0, 0)))
    slots = [(Source.NODE, 0), (Source.NODE, 0), (Source.STATE, 2)]
    made = [Slot(TensorSpec(f"s{n}", F32, (4,)), source, index) for n, (source, index) in enumerate(slots)]
    log = Slot(TensorSpec("log", F32, (1, 4)), Source.NODE, 0)
    graph = Graph((double,), (*made, log), (), (), (), (), ("a", "b", "c", "d"))
    return Case(graph, [np.arange(4, dtype=np.float32) + n for n in range(4)], [], [], 0)


def after_steps(fast: CudaExecutor, case: Case, steps: int) -> list[list[int]]:
    state = fast.load(case.state)
    for t in range(steps):
        state = fast.step(state, t)
    return words(fast.dump(state))


def expected_after(case: Case, steps: int) -> list[list[int]]:
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    state = truth.load(case.state)
    for t in range(steps):
        state = truth.step(state, t)
    return words(truth.dump(state))


def test_steps_are_recorded_once_for_two_states_that_take_turns() -> None:
    case, steps = counter(), 9
    fast = executor(case)
    assert after_steps(fast, case, steps) == expected_after(case, steps)
    assert len(fast._graphs.recorded) == 2


def test_a_state_that_is_held_keeps_its_bits_while_steps_are_replayed() -> None:
    case = counter()
    fast = executor(case)
    states = [fast.load(case.state)]
    for t in range(7):
        states.append(fast.step(states[-1], t))
    assert [words(fast.dump(state)) for state in states] == [expected_after(case, n) for n in range(8)]


@pytest.mark.parametrize("fails", [1, 2])
def test_steps_go_on_where_no_graph_can_be_recorded(
    fails: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, or later: memory for a graph is gone, or CUDA refuses what another thread does meanwhile."""
    right, asked = cuda_graphs.recorded, []

    def recorded(work: cuda_graphs.Work, device: torch.device) -> cuda_graphs.Work:
        asked.append(work)
        if len(asked) == fails:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return right(work, device)

    monkeypatch.setattr(cuda_graphs, "recorded", recorded)
    case = counter()
    fast = executor(case)
    assert after_steps(fast, case, 6) == expected_after(case, 6)
    assert len(asked) == fails and not fast._graphs.recorded
    assert "launched one by one, as operation not permitted when stream is capturing" in caplog.text


def test_a_graph_that_gives_other_bits_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(cuda_graphs, "recorded", lambda work, device: lambda: None)
    case = counter()
    fast = executor(case)
    assert after_steps(fast, case, 5) == expected_after(case, 5)
    assert "launched one by one, as CUDA graphs give other bits" in caplog.text


def test_no_more_is_recorded_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graphs, "MOST", 1)
    case = counter()
    fast = executor(case)
    assert after_steps(fast, case, 6) == expected_after(case, 6)
    assert not fast._graphs.recorded
