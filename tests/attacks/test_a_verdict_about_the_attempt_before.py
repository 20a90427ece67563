"""Attack: a dispute about attempt 1 runs on, and is won against its solver while somebody else trains attempt 2.

A verdict that found the task's solver by the task alone would slash the wrong one, or hold up its checkpoints. Disputes
name the attempt; those of an attempt that is over end as `dismiss` does: each has its bond again, and nobody more.
"""

from __future__ import annotations

from typing import Final

import pytest

from offchain.chain.client import GraphHeader
from offchain.chain.deployment import COIN
from offchain.market.view import Status
from tests.support import tasks
from tests.support.deployment import Funded
from tests.support.works import every_kind

TASK: Final = every_kind(6, 3)
PRICE: Final = 10 * COIN
GAS: Final = COIN // 10


@pytest.mark.parametrize("ending", ["timeout", "dismiss"])
def test_the_next_solver_loses_nothing(place: Funded, ending: str) -> None:
    before = place.fortunes()
    task = tasks.post(place, TASK, max_price=PRICE, attempts=2, interval_time=1_000)
    tasks.auction(place, task, {"solver": 0, "rival": PRICE})
    place.quick("solver").commit(task, 0, tasks.ROOT, "")
    first, second = (place.quick(name).open(task, 0, GraphHeader.of(TASK.graph)) for name in ("challenger", "stranger"))
    place.clock.travel(10_000)
    place.quick("challenger").timeout(first)
    assert place.status(task) is Status.VACANT

    rival = place.quick("rival")
    rival.take_over(task)
    rival.commit(task, 0, tasks.ROOT, "")
    assert place.holds(task, 0) == 0
    stake = place.fortunes()["rival"].locked
    place.clock.travel(10)
    receipt = getattr(place.quick("stranger"), ending)(second)
    assert receipt.event("Dismissed")
    assert (place.status(task), place.holds(task, 0)) == (Status.TRAINING, 0)
    assert place.fortunes()["rival"].locked == stake

    rival.commit(task, 1, tasks.ROOT, "")
    place.close_windows(task)
    rival.collect(task)
    net = place.net(before)
    assert net["rival"] > PRICE - GAS
    assert net["challenger"] > 0 and net["stranger"] > -GAS
    assert net["solver"] < -PRICE
    assert -PRICE - GAS < net["requester"] < -PRICE
