"""Attack 8: a cheat that is found out concedes to a friend, so that the finder gets nothing and has paid for gas.

An honest verifier replays a false checkpoint and opens a dispute. The cheat sees it, has a friend open another one, and
concedes to the friend. The same with the clock: it falls silent, and the friend times it out. Nothing was proved then,
so nobody gets more than a bounty, and the finder gets one too.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.client import GraphHeader
from offchain.chain.deployment import COIN
from offchain.chain.ganache import Ganache
from offchain.market.view import Status
from offchain.worker.events import Challenged, DisputeOver
from tests.support import tasks
from tests.support.deployment import PARAMETERS, Funded
from tests.support.town import Town
from tests.support.works import every_kind

TASK = every_kind(6, 3)
BOUNTY = COIN // 20


@pytest.fixture(scope="module")
def paying(ganache: Ganache, artifacts: dict[str, Any]) -> Funded:
    """A deployment whose bounty pays for gas."""
    return Funded.kept(ganache, replace(PARAMETERS, bounty=BOUNTY))


@pytest.fixture
def town(paying: Funded, snapshot: None, tmp_path: Path) -> Iterator[Town]:
    town = paying.seen_as(Town, folder=tmp_path)
    yield town
    town.close()


def found_out(town: Town) -> int:
    """A cheat won a task and committed a root of nothing; an honest verifier has challenged it."""
    task, cheat = town.post(TASK), town.quick("solver")
    tasks.auction(town, task, {"solver": 0})
    cheat.commit(task, 0, bytes(31) + b"\x01", "")
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: town.told(Challenged))
    return task


@pytest.mark.parametrize("how", ["concedes", "falls silent"])
def test_the_finder_is_paid_all_the_same(town: Town, how: str) -> None:
    before = town.fortunes()
    task = found_out(town)
    cheat, friend = town.quick("solver"), town.quick("rival")
    dispute = friend.open(task, 0, GraphHeader.of(TASK.graph))
    if how == "concedes":
        cheat.concede(dispute)
    else:
        town.clock.travel(2 * cheat.terms(task).clock)
        friend.timeout(dispute)
    assert town.status(task) is Status.SLASHED
    town.until(lambda: town.told(DisputeOver, "verifier"))
    net = town.net(before)
    assert 0 < net["challenger"] < BOUNTY, "a bounty, less the gas of one dispute"
    stake = cheat.terms(task).stake
    assert net["solver"] + net["rival"] < -stake * 3 // 4
    assert net["stranger"] == 0


def test_friends_who_come_later_take_nothing_from_the_finder(town: Town) -> None:
    """The stake has room for few bounties: they go by the order of opening."""
    before = town.fortunes()
    task = found_out(town)
    cheat = town.quick("solver")
    friends = [town.quick(name) for name in ("rival", "stranger", "requester")]
    opened = [friend.open(task, 0, GraphHeader.of(TASK.graph)) for friend in friends]
    cheat.concede(opened[-1])
    for friend, dispute in zip(friends[:-1], opened[:-1], strict=True):
        friend.dismiss(dispute)
    town.until(lambda: town.told(DisputeOver, "verifier"))
    net = town.net(before)
    assert 0 < net["challenger"] < BOUNTY
    assert sum(net[name] for name in ("solver", "rival", "stranger", "requester")) < -cheat.terms(task).stake * 3 // 4
