"""The contracts judge the steps of a program: the true result of every node stands, a false one is convicted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from offchain.adjudicate import adjudicate, court
from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.lower import compile as lower
from tests.offchain.test_program import INTERVAL, a_program


@pytest.fixture(scope="module")
def chain(ganache: Ganache, module_snapshot: None) -> Iterator[Chain]:
    """The contracts on the tests' own node."""
    with court(ganache.url) as chain:
        yield chain


@pytest.mark.parametrize("step", [INTERVAL - 1, INTERVAL], ids=["the last of an interval", "the first"])
def test_every_node_of_a_program_s_step_is_upheld_and_its_falsification_convicted(chain: Chain, step: int) -> None:
    task = lower(a_program())
    report = adjudicate(task, step, len(task.graph.nodes), 1, chain)
    assert report.right, report.wrong
