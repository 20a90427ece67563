"""The fused executor: equal to the reference on random graphs, and what it promises of memory and of its cache."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.exec.fused import outputs
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.kinds import Kind
from tests.support.strategies import Case, graphs, nodes


def words(arrays: Sequence[Array]) -> list[list[int]]:
    return [array.reshape(-1).view(np.uint32).tolist() for array in arrays]


def assert_same(case: Case) -> None:
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    fast = FusedExecutor(case.graph, case.constants, case.datasets)
    slow_state, fast_state = truth.load(case.state), fast.load(case.state)
    assert words(list(fast.outputs(fast_state, case.t))) == words(list(truth.outputs(slow_state, case.t)))
    slow_next, fast_next = truth.step(slow_state, case.t), fast.step(fast_state, case.t)
    assert words(fast.dump(fast_next)) == words(truth.dump(slow_next))
    assert words(fast.dump(fast_state)) == words(case.state)


@pytest.mark.parametrize("kind", list(Kind))
@given(data=st.data())
def test_nodes_equal_the_reference(kind: Kind, data: st.DataObject) -> None:
    assert_same(data.draw(nodes(kind)))


@given(case=graphs())
def test_graphs_equal_the_reference(case: Case) -> None:
    assert_same(case)


@given(case=graphs(), most=st.sampled_from([0, 1, 30]))
def test_outputs_come_in_batches_of_any_size(case: Case, most: int) -> None:
    with mock.patch.object(outputs, "BATCH", most):
        fast = FusedExecutor(case.graph, case.constants, case.datasets)
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    assert words(list(fast.outputs(fast.load(case.state), case.t))) == words(list(truth.outputs(case.state, case.t)))
