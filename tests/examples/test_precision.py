"""scripts/precision.py: its graphs are those of a job at that precision, and its distances those of the losses."""

from __future__ import annotations

import math
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

from offchain.bench.plain import autocast
from offchain.ir.encoding import encode_graph
from offchain.job import Job
from offchain.lower import compile as lower
from tests.cases import habits  # noqa: F401  registers cases
from tests.cases.common import CASES
from tests.support.scripts import load_script


@pytest.fixture(scope="module")
def precision() -> ModuleType:
    return load_script("precision")


def a_case(seed: int = 0, **changes: Any) -> Job:
    return CASES["hooks"].job(seed=seed, **changes)


def test_fewer_bits_give_the_graph_that_compiling_gives(precision: Any) -> None:
    finest = lower(a_case(bits=precision.FINEST)).graph
    for bits in (8, 13, 21):
        assert encode_graph(precision.with_bits(finest, bits)) == encode_graph(lower(a_case(bits=bits)).graph)


def test_a_row_has_the_largest_distances_over_the_seeds(precision: Any) -> None:
    of_each = [list(precision.measured(a_case, seed, [5, 21])) for seed in range(2)]
    autocasts, coarse, fine = (max(pair) for pair in zip(*of_each, strict=True))
    assert of_each[0] != of_each[1] and 0 < fine < 1e-6 < min(coarse, autocasts)
    assert precision.cells(a_case, 2, [5, 21]) == [f"{value:.0e}" for value in (autocasts, coarse, fine)]


def test_a_distance_is_relative_and_shows_what_is_not_a_number(precision: Any) -> None:
    assert precision.distance([3.0, 4.0], [3.0, 4.0]) == 0
    assert precision.distance([3.0, 5.0], [3.0, 4.0]) == pytest.approx(0.2)
    assert math.isnan(precision.distance([math.nan], [1.0]))


def test_autocast_changes_the_loss_alone() -> None:
    job = a_case()
    assert replace(autocast(job), loss=job.loss) == job and autocast(job).loss is not job.loss
