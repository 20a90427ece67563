"""Attacks 2, 3 and 4, as one asks for them: a thief keeps a solver busy, and disputes what is right meanwhile.

Whatever it is kept busy with (here the test stops the worker's loop altogether), the moves come from the process of the
defence. When that process dies, it is started again.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import pytest

from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.market.view import Status
from offchain.worker.events import CommitSent, DefenceLost, DefenceStarted, DisputeOver, DisputeSeen, Moved
from tests.support.town import Town, lying
from tests.support.works import DOT, every_kind


@pytest.mark.slow
def test_a_dispute_while_the_worker_is_busy(town: Town) -> None:
    before = town.fortunes()
    task = town.post(every_kind(6, 3))
    solver = town.worker("solver", "solver", "solver", defence="process")
    town.until(lambda: len(town.told(CommitSent)) == 2)
    wait(lambda: town.told(DefenceStarted))
    solver._guard._child.process.kill()  # type: ignore[union-attr]
    wait(lambda: len(town.told(DefenceStarted)) == 2)
    assert town.told(DefenceLost)[0].why == f"it died of {signal.SIGKILL.name}"

    busy = town.workers.pop("solver")  # its loop stands still from now on
    lie = Falsehood(2, DOT, 0, 1 << 12)
    town.worker("thief", "challenger", "verifier", executors=lying(lie), replays=FalsifiedReplay)
    town.meanwhile(lambda: town.told(DisputeOver, "solver"), seconds=150)
    assert town.told(DisputeSeen, "solver")[0].side == "solver"
    assert town.told(Moved, "solver")
    assert town.told(DisputeOver, "solver")[0].won
    town.dismiss("thief")

    town.workers["solver"] = busy
    town.close_windows()
    town.until(lambda: town.status(task) is Status.COMPLETED)
    town.close()
    assert solver._guard._child is None  # type: ignore[union-attr]
    net = town.net(before)
    assert net["challenger"] < 0 < net["solver"]
    assert net["rival"] == net["stranger"] == 0


def wait(condition: Callable[[], Any], seconds: float = 150) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)
