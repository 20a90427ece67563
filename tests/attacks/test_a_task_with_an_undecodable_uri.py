"""Attack 1: the address of a task's file, or of a checkpoint's, is not UTF-8, or full of escapes.

A stranger posts a task whose `uri` has bytes that no text has; a friend commits a checkpoint with such an address.
Every worker reads every task and every commit. One that stumbles over them fails every look from then on: it neither
commits nor defends, and loses its stake by the clock. The task costs nothing: it is cancelled, or paid among friends.
"""

from __future__ import annotations

from dataclasses import astuple

from offchain.chain.deployment import COIN
from offchain.market.view import Status
from offchain.worker.events import ChainSilent, CommitSent, Failed, TaskUnfit
from tests.support import tasks
from tests.support.players import Mind
from tests.support.town import PRICE, TERMS, Town
from tests.support.wire import marked, send_raw
from tests.support.works import every_kind

TASK, SHAM = every_kind(6, 3), every_kind(3, 3)
GAS = COIN // 10  # more than anybody pays for gas here
ADDRESSES = [b"http://host/\xff\xfe\x80", b"\x1b[2J\x1b]0;owned\x07\r\nforged line", b"../" * 170, b"\xed\xa0\x80" * 3]


def test_tasks_whose_addresses_are_no_text_spoil_only_themselves(town: Town) -> None:
    before = town.fortunes()
    for raw in ADDRESSES:
        terms = tasks.terms(town, SHAM, **(TERMS | {"uri": marked(len(raw)), "bidding_time": 600}))
        send_raw(town, "stranger", "market", "post", [astuple(terms)], raw)
    honest = town.post(TASK)
    town.worker("solver", "solver", "solver")
    town.worker("verifier", "challenger", "verifier")
    finish(town, honest)
    assert {event.task for event in town.told(TaskUnfit)} == set(range(honest - 4, honest))
    tasks.lapse(town, *range(honest - 4, honest), name="stranger")
    net = town.net(before)
    assert net["stranger"] <= 0
    assert net["solver"] > 0 and net["challenger"] >= 0 and net["requester"] >= -PRICE - GAS


def test_a_checkpoint_whose_address_is_no_text_spoils_only_itself(town: Town) -> None:
    before = town.fortunes()
    sham = town.quick("stranger").post(tasks.terms(town, SHAM, **TERMS))
    tasks.auction(town, sham, {"rival": 0})
    honest = town.post(TASK)
    town.worker("solver", "solver", "solver")
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: town.status(honest) is Status.TRAINING)
    send_raw(town, "rival", "log", "commit", [sham, 0, Mind(SHAM).root(0), marked(3)], b"\xff\xfe\xfd")
    finish(town, honest)
    town.quick("rival").collect(sham)
    net = town.net(before)
    assert net["stranger"] + net["rival"] <= 0
    assert net["solver"] > 0 and net["challenger"] >= 0 and net["requester"] >= -PRICE - GAS


def finish(town: Town, honest: int) -> None:
    """The honest task is trained and paid while everybody goes on looking."""
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows(honest)
    town.until(lambda: town.status(honest) is Status.COMPLETED)
    assert not town.told(ChainSilent)
    assert not town.told(Failed)
