"""A worker's bids: sealed, shown after a restart, too; and the runner-up, which finishes what the solver did not."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from offchain.chain.deployment import COIN
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.market.view import Status
from offchain.roles.ledger import Ledger
from offchain.worker.alarms import Lost
from offchain.worker.events import BidSent, BidSettled, Declined, Failed, RevealSent, TakeOverSent
from offchain.worker.materials import task_name
from offchain.worker.said import Revealed, TookOver
from tests.support.deployment import PARAMETERS
from tests.support.fortunes import pots
from tests.support.town import POLICY, Town, lying
from tests.support.works import DOT, every_kind

TASK = every_kind(6, 3)


def test_a_bid_is_shown_after_a_restart(town: Town) -> None:
    """The salt is on disk: a worker that ends between the commit and the reveal loses nothing."""
    task = town.post(TASK)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(BidSent))
    town.dismiss("solver")
    town.clock.travel(61)
    again = town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(RevealSent))
    town.until(lambda: town.status(task) is Status.TRAINING)
    assert again.chain.free() == town.free("solver")
    assert len(town.told(BidSent)) == 1
    (shown,) = town.told(Revealed)
    assert (shown.bidder, shown.price) == (town.address("solver"), town.told(BidSent)[0].price)


def test_a_bid_that_was_noted_and_not_sent_is_sent_as_it_was(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    task = town.post(TASK)
    worker = town.worker("solver", "solver", "solver")
    sent = list[object]()

    def dies(*arguments: object, **named: object) -> None:
        sent.append(arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(worker.chain, "bid", dies)
        with pytest.raises(KeyboardInterrupt):
            town.until(lambda: False)
    town.dismiss("solver")
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.status(task) is Status.TRAINING)
    noted = sent[0][1]  # type: ignore[index]
    assert town.told(BidSent)[0].price == noted.price
    assert town.quick("solver").call("market", "task", task)["promised"] == noted.promised


def test_who_leads_has_the_task_ready_before_the_award_until_it_is_beaten(town: Town) -> None:
    """An attempt's time counts from its award. What a beaten bidder holds is not in its ledger any more."""
    task = town.post(TASK)
    dear = town.worker("rival", "rival", "solver", policy=replace(POLICY, hourly=3_000 * COIN))
    cheap = town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(BidSent)) == 2)
    town.clock.travel(60)
    for worker in (dear, cheap):
        limit = time.monotonic() + 30
        while task not in worker.materials._opened:
            assert time.monotonic() < limit
            worker.cycle()
    assert town.told(RevealSent, "rival") and town.told(RevealSent, "solver")
    assert town.status(task) is Status.BIDDING
    dear.cycle()
    assert task not in dear.materials._opened


def test_the_runner_up_keeps_the_task_from_its_reveal_to_the_award(town: Town) -> None:
    """It will stand by: it needs the file, and what the task takes is spoken for."""
    task = town.post(TASK, attempts=2)
    dear = town.worker("rival", "rival", "solver", policy=replace(POLICY, hourly=3_000 * COIN))
    town.worker("solver", "solver", "solver")
    town.until(lambda: len(town.told(BidSent)) == 2)
    town.clock.travel(60)
    town.meanwhile(lambda: len(town.told(RevealSent)) == 2)
    town.clock.travel(59)
    dear.cycle()
    view = dear.reader.read()
    assert view.task(task).standby == dear.chain.address and view.engaged(view.task(task))
    assert Ledger.of(view, {}, 0).stakes == view.task(task).terms.stake
    assert task_name(view.task(task).terms) in dear.materials.blobs


@pytest.mark.parametrize("cancelled", [False, True])
def test_a_bid_that_was_not_shown_locks_its_bond_no_longer_than_it_must(town: Town, cancelled: bool) -> None:
    """It burns, or it comes back where the requester cancels. And that once, also after a new start."""
    task, requester = town.post(TASK), town.quick("requester")
    before = town.free("solver")
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(BidSent))
    town.dismiss("solver")
    town.clock.travel(60 + town.quick("solver").terms(task).reveal_time)
    requester.cancel(task) if cancelled else requester.award(task)
    worker = town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(BidSettled))
    (settled,), bond = town.told(BidSettled), PARAMETERS.bid_bond
    assert (settled.task, settled.attempt, settled.returned) == (task, 0, bond if cancelled else 0)
    assert before - town.free("solver") == bond - settled.returned
    assert pots(requester) == {}
    town.until(lambda: cancelled or town.told(Lost))
    assert [(lost.kind, lost.amount) for lost in town.told(Lost)] == [] if cancelled else [("bid", bond)]
    assert task not in worker.reader.read()  # nothing is to be done there
    town.dismiss("solver")
    again = town.worker("solver", "solver", "solver")
    town.until(lambda: not again.reader.read().unshown())
    assert len(town.told(BidSettled)) == 1 and not town.told(Failed)


@pytest.mark.slow
def test_the_runner_up_finishes_what_a_cheat_began(town: Town) -> None:
    task = town.post(TASK, attempts=2, clock=300)
    town.worker("cheat", "solver", "solver", executors=lying(Falsehood(4, DOT, 0, 1 << 12)), replays=FalsifiedReplay)
    town.until(lambda: town.told(BidSent, "cheat"))
    rival = town.worker("rival", "rival", "solver")
    verifier = town.worker("verifier", "challenger", "verifier")
    before = {name: town.free(name) for name in ("rival", "challenger")}
    town.until(lambda: town.told(TookOver), seconds=200)
    assert town.told(TakeOverSent, "rival")
    town.until(lambda: town.status(task) is Status.COMPLETED, seconds=200, idle=300)
    found = rival.chain.call("market", "task", task)
    assert (found["solver"], found["attempt"]) == (town.address("rival"), 1)
    assert town.free("rival") > before["rival"]
    assert verifier.chain.free() > before["challenger"]


def test_a_task_that_pays_too_little_gets_a_reason_and_no_bid(town: Town) -> None:
    town.post(TASK, max_price=10)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(Declined))
    (declined,) = town.told(Declined)
    assert declined.why.startswith("it pays 0.00000000000000001 at most; training it costs ")
    assert declined.kind == "price" and "--hourly" in declined.change
    assert not town.told(BidSent)
