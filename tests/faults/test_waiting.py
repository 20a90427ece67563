"""When a story puts the clock forward: not while one of the crew can still do what it would lose money for."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from offchain.market.view import NOBODY, ChainView, Status, TaskView
from tests.faults.island import Island
from tests.faults.waiting import SOLVERS, somebody_is_due
from tests.support.tasks import unposted

ISLAND = cast(Island, SimpleNamespace(chains={name: SimpleNamespace(address=name) for name in SOLVERS}))
HANDOVER_ENDS = 1_000


@pytest.mark.parametrize(
    ("standby", "now", "due"),
    [
        ("solver-a", HANDOVER_ENDS, True),
        ("solver-a", HANDOVER_ENDS + 1, False),
        ("cheat", HANDOVER_ENDS, False),
        (NOBODY, HANDOVER_ENDS, False),
    ],
)
def test_the_clock_waits_for_a_standby_of_the_crew(standby: str, now: int, due: bool) -> None:
    """A story once leapt past the time of one whose takeover was reorganised away, and its bond was burned."""
    ends: dict[str, Any] = {"standby": standby, "handover_ends": HANDOVER_ENDS}
    task = TaskView(0, unposted(), "requester", NOBODY, Status.VACANT, 0, 0, 1, 0, (), **ends)
    view = cast(ChainView, SimpleNamespace(now=now))
    assert somebody_is_due(ISLAND, view, task, served=True) == due
