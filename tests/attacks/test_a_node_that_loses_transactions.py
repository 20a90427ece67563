"""Attack 17: the node loses a move, and claims that it is still pending; or a reorganisation takes it away.

A friend of nobody opens a dispute about a right checkpoint while the solver's node drops what it is sent. The worker
waited 180 s for the receipt, three times its shortest clock, and lost its stake without ever having been wrong.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from offchain.chain import client
from offchain.chain.client import GraphHeader
from offchain.chain.deployment import COIN
from offchain.worker.events import CommitSent, DisputeOver, InFlight, Moved
from tests.support.proxy import lossy
from tests.support.town import SENDING, Town
from tests.support.works import every_kind

TASK = every_kind(6, 3)
PATIENCE = 1.0  # seconds; the operator's --tx-timeout


@pytest.mark.slow
@pytest.mark.parametrize("claims", [True, False])
def test_a_lost_move_is_replaced_in_time(town: Town, claims: bool) -> None:
    before = town.fortunes()
    task = town.post(TASK, bidding_time=100)
    with lossy(town.url) as node:
        node.claims = claims
        url, town.url = town.url, node.url
        solver = town.worker("solver", "solver", "solver", send=replace(SENDING, receipt_timeout=PATIENCE))
        town.url = url
        town.until(lambda: town.told(CommitSent))
        town.quick("challenger").open(task, 0, GraphHeader.of(TASK.graph))
        node.swallow = 1
        town.until(lambda: town.told(Moved))
        assert len(node.lost) == 1
        (told,) = town.told(InFlight)
        assert (told.what, told.then) == ("game.revealSteps", "replaced" if claims else "sent again")
        assert told.age < 2 * PATIENCE
        town.clock.travel(1_001)  # the challenger has nothing to name, and says nothing
        town.until(lambda: town.told(DisputeOver))
        assert town.told(DisputeOver)[0].won
        town.until(lambda: len(town.told(CommitSent)) == 2)
        town.close_windows(task)
        town.until(lambda: solver.reader.read().task(task).paid == 2)
    net = town.net(before)
    assert net["challenger"] <= -COIN  # its bond, and gas
    assert net["solver"] > town.quick("requester").terms(task).max_price  # paid, and half the bond
    assert net["rival"] == net["stranger"] == 0


def test_a_move_that_a_reorganisation_took_away_is_made_again(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FRESH", 1.0)
    task = town.post(TASK, bidding_time=100)
    solver = town.worker("solver", "solver", "solver", send=replace(SENDING, receipt_timeout=PATIENCE))
    town.until(lambda: town.told(CommitSent))
    dispute = town.quick("challenger").open(task, 0, GraphHeader.of(TASK.graph))
    with town.clock.undone():
        town.until(lambda: town.told(Moved))
    assert town.quick("solver").call("game", "onMove", dispute)[0] == solver.chain.address  # its clock runs again
    town.until(lambda: len(town.told(Moved)) == 2)
    assert town.quick("solver").call("game", "onMove", dispute)[0] == town.address("challenger")
