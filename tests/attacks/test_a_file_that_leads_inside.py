"""Attack 20: the address of a file is one inside the worker's network, or a server outside sends on to one.

What a machine can reach beyond the open internet (the operator's router, a database, a cloud's metadata with its
keys) is not for strangers to ask for in its name. The task's terms, and the commits of a solver, name such addresses;
here 127.0.0.2 plays the open internet, and everything else is inside.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

import pytest

from offchain.chain.deployment import COIN
from offchain.market.view import Status
from offchain.store import fetch
from offchain.store.addresses import WEB
from offchain.store.blobs import BlobStore
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.worker.events import Audited, CommitSent, TaskUnfit
from offchain.worker.materials import task_name
from tests.support import tasks
from tests.support.players import Mind
from tests.support.strangers import Server, listening, moved, whole
from tests.support.town import FETCH, PRICE, TERMS, Town
from tests.support.works import Work, every_kind

TASK, SHAM = every_kind(6, 3), every_kind(12, 3)
OUTSIDE = "127.0.0.2"
CAREFUL = replace(FETCH, private=False, schemes=WEB)


@pytest.fixture
def inside() -> Iterator[Server]:
    with listening(whole) as server:
        yield server


@pytest.fixture
def served(town: Town, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address of the honest task's file, outside."""
    monkeypatch.setattr(fetch, "is_public", lambda host: host == OUTSIDE)
    with BlobServer(town.folder, host=OUTSIDE) as server:
        yield BlobStore(town.folder, server.url).publish(
            task_name(tasks.terms(town, TASK)), lambda path: save_task(TASK, path)
        )


def test_no_task_s_file_is_asked_for_inside(town: Town, inside: Server, served: str) -> None:
    before = town.fortunes()
    port = inside.url.rpartition(":")[2]
    with ExitStack() as stack:
        sent_on = stack.enter_context(listening(moved(*[f"{inside.url}/secret"] * 100)))
        places = [
            f"{inside.url}/secret",
            f"http://localhost:{port}/secret",
            f"http://[::ffff:127.0.0.1]:{port}/secret",
            f"http://2130706433:{port}/secret",
            f"{sent_on.at(OUTSIDE)}/x",
            f"file://{town.folder}/secret",
        ]
        shams = [town.quick("stranger").post(terms(town, SHAM, uri=uri, bidding_time=600)) for uri in places]
        honest = town.post(TASK, uri=served)
        town.worker("solver", "solver", "solver", fetch=CAREFUL, listen=(OUTSIDE, 0))
        town.worker("verifier", "challenger", "verifier", fetch=CAREFUL)
        finish(town, honest)
        assert {event.task for event in town.told(TaskUnfit)} == set(shams)
        assert sent_on.asked
    assert inside.asked == []
    tasks.lapse(town, *shams, name="stranger")
    net = town.net(before)
    assert net["stranger"] <= 0
    assert net["solver"] > 0 and net["challenger"] >= 0 and net["requester"] >= -PRICE - COIN // 10


def test_no_checkpoint_is_asked_for_inside(town: Town, inside: Server, served: str) -> None:
    """The verifier starts from an earlier state, and judges all the same."""
    before = town.fortunes()
    task = town.quick("stranger").post(terms(town, TASK, uri=served))
    tasks.auction(town, task, {"rival": 0})
    for checkpoint in range(2):
        root = Mind(TASK).root(checkpoint)
        town.quick("rival").commit(task, checkpoint, root, f"{inside.url}/{checkpoint}")
    verifier = town.worker("verifier", "challenger", "verifier", fetch=CAREFUL)
    view = verifier.reader.read().task(task)
    verifier._work.audit(view, 1, 0.1)
    town.until(lambda: {event.checkpoint for event in town.told(Audited)} == {0, 1})
    assert all(event.right for event in town.told(Audited))
    assert inside.asked == []
    town.close_windows(task)
    town.quick("rival").collect(task)
    net = town.net(before)
    assert net["stranger"] + net["rival"] <= 0
    assert net["challenger"] >= 0


def terms(town: Town, task: Work, **changes: object) -> object:
    return tasks.terms(town, task, **(TERMS | changes))


def finish(town: Town, honest: int) -> None:
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows(honest)
    town.until(lambda: town.status(honest) is Status.COMPLETED)
