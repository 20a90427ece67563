"""Attack 11: strangers' files that come a byte at a time, and connections to a blob server that say nothing.

Four such task files kept a worker's four downloads busy for half an hour each, and no honest task was fetched.
Thirty-two idle connections took all places of a solver's server, and nobody got its checkpoints. Neither costs the
attacker anything.
"""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from urllib.parse import urlsplit

import pytest

from offchain.chain.deployment import COIN
from offchain.market.view import Status
from offchain.store import race
from offchain.store.blobs import BlobStore
from offchain.worker.background import Shares
from offchain.worker.events import BidSent, CommitSent, TaskFit
from offchain.worker.posting import result
from tests.support import tasks
from tests.support.strangers import listening, trickle
from tests.support.town import FETCH, PRICE, TERMS, Town
from tests.support.works import every_kind

TASK, SHAM = every_kind(6, 3), every_kind(12, 3)
SLOW = replace(FETCH, window=0.5, least_rate=1 << 10)
LONG = {"bidding_time": 50_000}  # the chain's clock runs ahead of the downloads' here


def post_shams(town: Town, url: str) -> list[int]:
    """Six, of two people, so that they fill all four places at first."""
    terms = TERMS | LONG
    return [
        town.quick(person).post(tasks.terms(town, SHAM, **(terms | {"uri": f"{url}/{number}"})))
        for number in range(3)
        for person in ("stranger", "rival")
    ]


def until_fit(town: Town, honest: int, seconds: float) -> None:
    limit = time.monotonic() + seconds
    while honest not in {event.task for event in town.told(TaskFit)}:
        assert time.monotonic() < limit
        town.workers["solver"].cycle()
        time.sleep(0.02)


def test_slow_task_files_do_not_keep_an_honest_one_waiting(town: Town) -> None:
    before = town.fortunes()
    with listening(partial(trickle, pause=10, seconds=60)) as stranger:
        shams = post_shams(town, stranger.url)
        solver = town.worker("solver", "solver", "solver", fetch=SLOW, downloads=Shares(4, person=2, host=4))
        while len(stranger.asked) < 4:
            solver.cycle()
        honest = town.post(TASK, **LONG)
        until_fit(town, honest, 20)
        town.until(lambda: town.status(honest) is Status.TRAINING, idle=10_000)
        finish(town, honest)
    tasks.lapse(town, *shams)
    net = town.net(before)
    assert net["stranger"] <= 0 and net["rival"] <= 0
    assert net["solver"] > 0 and net["requester"] >= -PRICE - COIN // 10


def test_files_that_are_just_fast_enough_make_place_for_who_had_less_time(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They held their places for half an hour, again and again: the honest one's bidding was over."""
    monkeypatch.setattr(race, "FAIR", 1.0)
    patient, before = replace(FETCH, timeout=1_800, window=0.5, least_rate=1, haste=0.5), town.fortunes()
    with listening(partial(trickle, pause=0.05, seconds=1_800)) as stranger:
        shams = post_shams(town, stranger.url)
        solver = town.worker("solver", "solver", "solver", fetch=patient, downloads=Shares(4, person=2, host=4))
        while len(stranger.asked) < 4:
            solver.cycle()
        honest = town.post(TASK, **LONG)
        until_fit(town, honest, 30)
        while not town.told(BidSent):
            solver.cycle()
        assert {event.task for event in town.told(BidSent)} == {honest}
        town.dismiss("solver")
    tasks.lapse(town, *shams)
    net = town.net(before, ended=False)  # the bid is not decided
    assert net["stranger"] < 0 and net["rival"] < 0 == net["challenger"]


def test_idle_connections_do_not_keep_a_requester_from_its_model(town: Town) -> None:
    before = town.fortunes()
    honest = town.post(TASK)
    solver = town.worker("solver", "solver", "solver")
    finish(town, honest)
    place = urlsplit(solver.materials.blobs.base or "")
    with ExitStack() as held:
        for number in range(64):  # half of them from the requester's own address
            source = ("127.0.0.1" if number % 2 else f"127.0.1.{number + 1}", 0)
            address = (place.hostname or "", place.port or 0)
            held.enter_context(socket.create_connection(address, 5, source))
        time.sleep(1)  # who has only just connected is not let go
        _, state = result(town.quick("requester"), honest, TASK, BlobStore(town.folder / "mine", options=FETCH))
    assert len(state) == len(TASK.graph.slots)
    net = town.net(before)
    assert net["stranger"] == 0
    assert net["solver"] > 0 and net["requester"] >= -PRICE - COIN // 10


def finish(town: Town, honest: int) -> None:
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows(honest)
    town.until(lambda: town.status(honest) is Status.COMPLETED)
