"""Loss curves come in the background, checked; from a hostile or silent server they do not come, and nobody waits."""

from __future__ import annotations

import json
import socket
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offchain.market.view import TaskView
from offchain.page.losses import KEPT, Losses, limits
from offchain.store.blobs import BlobStore
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.worker.holders import Holders
from offchain.worker.names import task_name
from tests.offchain.worker.test_results import FILES, Solved
from tests.support.tasks import BARE, unposted

BOTH = replace(limits(private=True), schemes=limits(True).schemes | FILES.schemes)


@pytest.fixture(scope="module")
def solved(tmp_path_factory: pytest.TempPathFactory) -> Solved:
    return Solved(tmp_path_factory.mktemp("solved"))


@pytest.fixture
def posted(solved: Solved, tmp_path: Path) -> TaskView:
    """The task, with its file where its terms say."""
    save_task(solved.task, tmp_path / "task.file")
    return replace(solved.view, terms=terms(solved, f"file://{tmp_path / 'task.file'}"))


def terms(solved: Solved, uri: str) -> Any:
    return unposted(**{name: getattr(solved.task, name) for name in BARE}, uri=uri)


def losses(folder: Path) -> Losses:
    return Losses(BlobStore(folder / "mine", options=FILES))


def settled(known: Losses, view: TaskView, seconds: float = 20) -> dict[str, Any]:
    end = time.monotonic() + seconds
    while (shown := known.of(view))["state"] == "fetching":
        assert time.monotonic() < end
        time.sleep(0.02)
    return shown


def test_curves_are_those_of_the_training(solved: Solved, posted: TaskView, tmp_path: Path) -> None:
    known = losses(tmp_path)
    assert known.of(posted)["state"] == "fetching"  # nobody waits
    shown = settled(known, posted)
    assert (shown["state"], shown["missing"], shown["why"]) == ("here", 0, "")
    found = {series["name"]: [value for _, value in series["points"]] for series in shown["series"]}
    assert found == solved.training.metrics
    assert [step for step, _ in shown["series"][0]["points"]] == list(range(1, len(solved.training.losses) + 1))
    assert [path.suffix for path in (tmp_path / "mine").iterdir()] == [".task"]  # for the next logs


def test_whoever_is_in_the_register_may_have_what_the_requester_serves_no_more(solved: Solved, tmp_path: Path) -> None:
    gone = terms(solved, "http://127.0.0.1:9/" + task_name(solved.terms))
    view = replace(solved.view, terms=gone)
    shown = settled(Losses(BlobStore(tmp_path / "mine", options=BOTH)), view)
    assert shown["state"] == "none" and shown["why"].startswith("its task file is not served now (cannot be fetched")
    others = tmp_path / "others"
    others.mkdir()
    save_task(solved.task, others / task_name(gone))
    with BlobServer(others) as server:
        known = Losses(BlobStore(tmp_path / "page", options=BOTH), Holders(lambda: {"0xOther": server.url}))
        shown = settled(known, view)
    assert (shown["state"], shown["missing"], shown["why"]) == ("here", 0, "")


def test_files_of_tasks_that_nobody_looks_at_any_more_are_removed(posted: TaskView, tmp_path: Path) -> None:
    known = losses(tmp_path)
    for number in range(KEPT + 3):
        settled(known, replace(posted, id=number))
    settled(known, replace(posted, id=99, checkpoints=()))
    assert len(known._known) == KEPT


def test_a_log_of_another_checkpoint_is_a_gap(posted: TaskView, tmp_path: Path) -> None:
    first, second = posted.checkpoints
    shown = settled(losses(tmp_path), replace(posted, checkpoints=(replace(first, root=bytes(32)), second)))
    assert shown["missing"] == 1 and [value for _, value in shown["series"][0]["points"]][:3] == [None] * 3


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, b"\x08\0\0\0\0\0\0\0{}      ", b"<html>"])
def test_a_file_that_is_no_task_is_said_in_a_line(solved: Solved, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "task.file").write_bytes(content)
    view = replace(solved.view, terms=terms(solved, f"file://{tmp_path / 'task.file'}"))
    shown = settled(losses(tmp_path), view)
    assert shown["state"] == "none" and shown["why"].isprintable() and 0 < len(shown["why"]) <= 121


def test_a_silent_server_holds_up_nobody(solved: Solved, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"http://127.0.0.1:{server.getsockname()[1]}/task"
        known = Losses(BlobStore(tmp_path, options=replace(limits(private=True), answer=1.0)))
        silent = [replace(solved.view, id=number, terms=terms(solved, uri)) for number in range(50)]
        began = time.monotonic()
        states = [known.of(view)["state"] for view in silent]
        assert time.monotonic() - began < 0.5
        assert states.count("fetching") == 2  # no more at a time
        shown = settled(known, silent[0])
        assert shown["state"] == "none" and "no answer" in shown["why"]


def test_values_that_are_no_numbers_are_gaps_in_json(solved: Solved, posted: TaskView, tmp_path: Path) -> None:
    known = losses(tmp_path)
    settled(known, posted)
    curves = known._known[posted.id]
    for log in curves.logs.values():
        log["loss"][0] = float("nan")
    assert json.dumps(known.of(posted), allow_nan=False).count("null") == 2
