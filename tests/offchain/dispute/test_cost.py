"""What a dispute costs: measured parts, and what follows from them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offchain.dispute.cost import DisputeCost, measure, subnormal
from offchain.dispute.points import changing, point_bytes
from tests.support.works import LONG, every_kind

COST = DisputeCost(plain=1.0, hashed=0.5, traced=10.0, state_bytes=100, budget=1_800, outputs_bytes=350)


def test_every_step_of_a_short_interval_is_hashed_and_256_of_a_long_one() -> None:
    assert COST.replay_seconds(100) == 100 + 50
    assert COST.replay_seconds(1_000) == 1_000 + 128


@pytest.mark.parametrize(("steps", "apart"), [(1, 0), (10, 0), (11, 1), (100, 9), (101, 10)])
def test_a_step_is_computed_from_the_nearest_kept_state(steps: int, apart: int) -> None:
    assert COST.apart(steps) == apart
    assert COST.step_seconds(steps) == apart + 10


def test_a_dispute_about_a_long_interval_asks_for_another_list() -> None:
    apart, list_of_two = 51, 2 * 1.0 + 2 * 0.5
    assert COST.step_seconds(512) == (apart + list_of_two) + apart + 10


def test_memory_of_a_replay() -> None:
    assert COST.replay_bytes(3) == 5 * 100 + 900
    assert COST.replay_bytes(1_000) == 11 * 100 + 900
    assert replace(COST, budget=0).replay_bytes(1_000) == 2 * 100 + 350


def test_measured_parts_of_a_task() -> None:
    work = every_kind()
    one = point_bytes(work.graph)
    cost = measure(work.executor, work.ledger, work.state, work.steps - 1, budget=2 * 7 * one)
    assert 0 < cost.plain < cost.traced
    assert 0 < cost.hashed < cost.traced
    assert cost.apart(8) == 0 < cost.apart(9)
    assert cost.outputs_bytes > LONG * 4
    assert sum(work.state[n].nbytes for n in (0, 2)) < one < 4_000
    assert changing(work.graph) == [0, 2]


def test_all_floats_are_subnormal() -> None:
    ints = np.arange(5, dtype=np.int32)
    floats, same = subnormal([np.zeros(1_000, np.float32), ints])
    assert same is ints
    assert (floats != 0).all() and (np.abs(floats) < np.finfo(np.float32).tiny).all()
