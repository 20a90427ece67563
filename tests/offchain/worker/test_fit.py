"""What fits a task's terms: pure arithmetic, with figures in every refusal."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from offchain.dispute.cost import DisputeCost
from offchain.market.notes import Needs
from offchain.worker.fit import Figures, NotNow, Unfit, needs, require_countable, require_fit
from offchain.worker.options import WorkerOptions
from tests.support.tasks import unposted
from tests.support.works import every_kind

OPTIONS = WorkerOptions(Path("home"), headroom=2.0, move_time=0.5)
FIGURES = Figures(DisputeCost(plain=1.0, hashed=0.5, traced=2.0, state_bytes=100, budget=10_000), 1_000)
TERMS: dict[str, Any] = {"interval": 10, "interval_time": 21, "clock": 176}  # as tight as they may be


def test_needs_of_a_task() -> None:
    assert needs(FIGURES, unposted(**TERMS), OPTIONS) == Needs(2 * 1_000 + 10 * 100, 21.0, 2 * (10 + 5 + 2 + 5))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({}, None),
        ({"interval_time": 20}, "computing an interval needs 21.0 s here, with headroom; the interval time is 20 s"),
        ({"clock": 175}, r"a dispute \(hashed replay, traced step, moves\) needs 44.0 s .*; the quarter .* is 43.75 s"),
    ],
)
def test_a_refusal_names_the_figures(changes: dict[str, Any], why: str | None) -> None:
    terms = unposted(**(TERMS | changes))
    if why is None:
        require_fit(FIGURES, terms, OPTIONS)
    else:
        with pytest.raises(NotNow, match=why):
            require_fit(FIGURES, terms, OPTIONS)


def test_work_is_counted_before_anything_runs() -> None:
    graph = every_kind(6, 3).graph
    require_countable(graph, unposted(), OPTIONS)
    slow = WorkerOptions(Path("home"), fastest=100.0)
    with pytest.raises(Unfit, match=r"^a step takes at least .* s here \([\d,]+ units of work a step, at most 100 "):
        require_countable(graph, unposted(), slow)
