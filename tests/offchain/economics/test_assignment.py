"""The best assignment is scipy's, whatever the shape."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from offchain.economics.assignment import best_assignment


@pytest.mark.parametrize("seed", range(40))
def test_the_total_is_the_greatest(seed: int) -> None:
    draw = np.random.default_rng(seed)
    gains = draw.normal(size=draw.integers(1, 12, 2)).round(draw.integers(0, 4))
    found = best_assignment(gains.tolist())
    columns = [column for column in found if column is not None]
    assert len(found) == len(gains) and len(set(columns)) == len(columns)
    positive = np.maximum(gains, 0)
    assert np.isclose(
        sum(gains[row, column] for row, column in enumerate(found) if column is not None),
        positive[linear_sum_assignment(-positive)].sum(),
    )


def test_what_gains_nothing_is_left_alone() -> None:
    assert best_assignment([[0.0, -1.0], [2.0, 1.0]]) == [None, 0]
    assert best_assignment([]) == []
    assert best_assignment([[1.0], [2.0]]) == [None, 0]
