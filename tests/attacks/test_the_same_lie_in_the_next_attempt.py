"""Attack: a convicted cheat's friend stands by, takes over, and commits the same false root once more.

A verifier that remembers its disputes by the root alone holds the second lie for disputed already, and looks away.
"""

from __future__ import annotations

from offchain.chain.deployment import COIN
from offchain.market.view import Status
from offchain.worker.events import Challenged
from tests.support import tasks
from tests.support.town import Town
from tests.support.works import every_kind

FALSE = bytes(31) + b"\x01"


def lie(town: Town, task: int, name: str) -> None:
    """Somebody commits what it has not computed, and says nothing in the dispute that follows."""
    before = len(town.told(Challenged))
    town.quick(name).commit(task, 0, FALSE, "")
    town.until(lambda: len(town.told(Challenged)) > before)
    town.clock.travel(5_000)
    town.until(lambda: town.status(task) is not Status.TRAINING)


def test_each_is_convicted(town: Town) -> None:
    before = town.fortunes()
    task = town.post(every_kind(6, 3), attempts=2)
    tasks.auction(town, task, {"solver": 0, "rival": 10 * COIN})
    town.worker("verifier", "challenger", "verifier")
    lie(town, task, "solver")
    assert town.status(task) is Status.VACANT
    town.quick("rival").take_over(task)
    lie(town, task, "rival")
    assert town.status(task) is Status.SLASHED
    net = town.net(before)
    stake = town.quick("rival").terms(task).stake
    assert net["solver"] < -stake // 2 > net["rival"]
    assert net["challenger"] > 0
