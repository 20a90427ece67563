"""`offchain task acknowledge`: the requester's own word that it has what keepers did not say in time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from offchain.chain import keepers
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import save_state
from offchain.store.names import task_name
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.worker.names import state_name
from tests.offchain.commands.conftest import Counter
from tests.support import tasks
from tests.support.runs import run as trained
from tests.support.terminal import run
from tests.support.works import every_kind

WORK = every_kind(6, 3)
Terminal = Callable[..., tuple[int, str, str]]


@pytest.fixture
def acknowledge(counter: Counter, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Terminal:
    return lambda task, *words: run(
        capsys, monkeypatch, "task", "acknowledge", str(task), "--allow-private", *words, *counter.options
    )


@pytest.fixture
def blobs(tmp_path: Path) -> Iterator[BlobStore]:
    """Served by the solver."""
    with BlobServer(BlobStore(tmp_path).folder) as server:
        yield BlobStore(tmp_path, server.url)


def committed(counter: Counter, blobs: BlobStore, **changes: object) -> int:
    """A task whose first checkpoint is committed."""
    name = task_name(WORK.graph_root, WORK.state_root, WORK.steps, WORK.interval)
    blobs.publish(name, lambda path: save_task(WORK, path))
    task = tasks.post(counter, WORK, attempts=2, uri=blobs.uri(name), interval_time=1_000, **changes)
    tasks.auction(counter, task, {"solver": 0}, 10)
    end, terms = trained(WORK).checkpoint(0), counter.quick("solver").terms(task)
    counter.quick("solver").commit(task, 0, end, blobs.uri(state_name(terms, end)))
    return task


def test_it_has_it_and_says_so(counter: Counter, acknowledge: Terminal, blobs: BlobStore) -> None:
    task = committed(counter, blobs, keepers=3, keeper_bps=100)
    terms, end = counter.quick("solver").terms(task), trained(WORK).checkpoint(0)
    state = WORK.before(1)
    blobs.publish(state_name(terms, end), lambda path: save_state(path, WORK.graph, state))
    code, out, err = acknowledge(task, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"task": task, "checkpoint": 0}
    assert keepers.keeping(counter.quick("solver"), task, 0).kept == 1
    code, out, err = acknowledge(task)
    assert (code, out) == (1, "") and "nothing waits for it" in err


def test_what_it_cannot_have_it_does_not_acknowledge(counter: Counter, acknowledge: Terminal, blobs: BlobStore) -> None:
    task = committed(counter, blobs, keepers=3, keeper_bps=100)
    code, out, err = acknowledge(task)
    assert code != 0 and out == "" and err.startswith("error: ")
    assert keepers.keeping(counter.quick("solver"), task, 0).kept == 0


def test_without_keepers_nothing_waits(counter: Counter, acknowledge: Terminal, blobs: BlobStore) -> None:
    code, out, err = acknowledge(committed(counter, blobs))
    assert (code, out) == (1, "") and "there are no keepers" in err
