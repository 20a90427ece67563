"""A replay serves all disputes about an interval: the same bits as hashing everything, at the cost of one pass."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.commit.roots import state_root, state_tree
from offchain.commit.trace import Trace
from offchain.dispute import points
from offchain.dispute.points import point_bytes, states_kept
from offchain.dispute.replay import Ledger, Replay
from offchain.exec.base import Executor, state_after
from offchain.exec.make import make_executor
from tests.support.counting import Counting
from tests.support.strategies import Case, graphs
from tests.support.works import every_kind, lengthy

LONG = lengthy(40)
ONE = 2 * point_bytes(LONG.graph)  # budget for one state: the other half is for records


def replay(budget: int, start: int = 0) -> tuple[Replay, Counting]:
    executor = Counting(LONG.executor)
    return Replay(executor, LONG.ledger, start, LONG.state, budget=budget), executor


def truth(executor: Executor[Any], case: Case, steps: int) -> Iterator[tuple[bytes, bytes]]:
    """For each step: the root of the state before it and of its trace, all of it hashed."""
    held = executor.load(case.state)
    for t in range(case.t, case.t + steps):
        before, outputs = executor.dump(held), list(executor.outputs(held, t))
        yield state_root(before), Trace(outputs, state_after(case.graph, before, outputs)).root
        held = executor.step(held, t)


@given(graphs(), st.integers(0, 3), st.integers(0, 2**32), st.sampled_from(["reference", "torch"]))
def test_bits_are_those_of_hashing_everything(case: Case, kept: int, seed: int, name: str) -> None:
    steps, rng = 6, Random(seed)
    executor = make_executor(name, case.graph, case.constants, case.datasets)
    ledger = Ledger(case.graph, case.constants, case.datasets)
    expected = list(truth(executor, case, steps))
    made = Replay(
        executor,
        ledger,
        case.t,
        case.state,
        rng.choice([None, state_tree(case.state)]),
        2 * kept * point_bytes(case.graph),
    )
    for _ in range(8):
        some = [rng.randrange(steps) for _ in range(rng.randrange(4))]
        assert made.roots(case.t + n for n in some) == [expected[n][0] for n in some]
        n = rng.randrange(steps)
        record = made.step(case.t + n)
        assert record.trace.root == expected[n][1]
        held = executor.load(case.state)
        for t in range(case.t, case.t + n):
            held = executor.step(held, t)
        for slot, array in enumerate(executor.dump(held)):
            assert record.state[slot].tobytes() == array.tobytes()
            assert record.state.tensor(slot).root == record.before.leaves[slot]


def test_disputes_about_different_steps_share_one_pass() -> None:
    made, executor = replay(budget=100 * ONE)
    made.roots(range(1, 41))
    for t in (39, 3, 20, 0, 39):
        made.step(t)
        made.roots(range(1, 41))
    assert executor.steps == dict.fromkeys(range(40), 1)
    assert executor.passes == dict.fromkeys((39, 3, 20, 0), 1)


@pytest.mark.parametrize("kept", [1, 3, 7])
def test_few_kept_states_are_evenly_spread(kept: int) -> None:
    made, executor = replay(budget=kept * ONE)
    assert states_kept(point_bytes(LONG.graph), kept * ONE) == kept
    made.roots(range(1, 41))
    executor.steps.clear()
    for t in reversed(range(40)):
        before = executor.steps.total()
        made.step(t)
        assert executor.steps.total() - before < -(-40 // (kept + 1))
    assert len(made._kept._points) <= kept


def test_kept_states_are_thinned_out_where_the_end_is_not_known() -> None:
    made, executor = replay(budget=4 * ONE)
    for count in range(1, 41):
        made.root(count)
        assert len(made._kept._points) <= 4
    assert executor.steps == dict.fromkeys(range(40), 1)
    assert sorted(made._kept._points) == [16, 32]
    made.step(20)
    assert [executor.steps[t] for t in (15, 16, 19, 20)] == [1, 2, 2, 1]


def test_later_steps_go_on_from_the_latest_state_though_none_is_kept() -> None:
    made, executor = replay(budget=0)
    for t in (3, 10, 39):
        made.step(t)
    assert executor.steps == dict.fromkeys(range(39), 1)


def test_only_roots_that_are_asked_for_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = count_hashed(monkeypatch)
    made, _ = replay(budget=100 * ONE)
    made.roots([10, 20, 30, 40])
    made.roots([20, 40])
    assert len(hashed) == 4


def test_only_slots_that_a_step_can_change_are_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    work = every_kind()
    hashed = count_hashed(monkeypatch)
    made = Replay(work.executor, work.ledger, 0, work.state)
    made.roots(range(6))
    made.step(4)
    assert [count for count in hashed if count] == [3, *[2] * 5]  # `kept` is hashed once, and no state twice


def test_records_are_kept_within_the_budget() -> None:
    made, executor = replay(budget=1 << 30)
    for t in range(8):
        made.step(t)
    assert len(made._records) == 8
    made, executor = replay(budget=3 * ONE)
    for t in (0, 1, 2, 3, 2, 1):
        made.step(t)
    assert list(made._records) == [3, 2, 1]
    assert executor.passes.total() == 4


def count_hashed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many tensors each hashing of a state hashes."""
    counts, roots = list[int](), points.tensor_roots

    def counted(arrays: Any) -> Iterator[bytes]:
        counts.append(len(arrays))
        return roots(arrays)

    monkeypatch.setattr(points, "tensor_roots", counted)
    return counts
