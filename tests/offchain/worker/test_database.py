"""A worker's notes outlive the process, and never mistake one chain for another."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
import time
from dataclasses import replace
from pathlib import Path

import pytest

from offchain.market.notes import Needs, TaskNotes
from offchain.market.view import CheckpointView, Status, TaskView
from offchain.worker.database import FIRST_REST, LONGEST_REST, MIGRATIONS, BadDatabase, Database, digest
from tests.support.tasks import unposted

TERMS = unposted(steps=30)
Patch = pytest.MonkeyPatch
POINTS = tuple(CheckpointView(bytes([k]) * 32, k, k + 60, 0, "") for k in range(3))
TASK = TaskView(4, TERMS, "0xRequester", "0xSolver", Status.TRAINING, 0, 0, 90, 0, POINTS)
ROOT = b"r" * 32
NEEDS = Needs(1_000, 2.5, 7.25)
BLOB = ROOT.hex() + ".state"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker" / "worker.db"


def test_everything_is_there_after_a_restart(path: Path) -> None:
    with Database(path, "me") as db:
        assert db.notes(TASK) == TaskNotes()
        assert db.add_failure(TASK) == FIRST_REST
        assert db.add_failure(TASK) == 2 * FIRST_REST
        db.set_fit(TASK, NEEDS)
        db.add_trained(TASK, 0, ROOT, BLOB)
        db.add_audited(TASK, 1, False)
        db.add_audited(TASK, 0, True)
        db.add_disputed(TASK, 1, 7)
        secret = db.secret()
    with Database(path, "me") as db:
        expected = TaskNotes(
            fit=True, needs=NEEDS, trained={0: ROOT}, audited={0: True, 1: False}, disputed=frozenset({1})
        )
        assert db.notes(TASK) == expected
        assert db.trained_blobs(TASK) == {0: (ROOT, BLOB)}
        assert db.secret() == secret
        assert len(secret) == 32


def test_notes_of_other_terms_is_void(path: Path) -> None:
    other = replace(TASK, terms=replace(TERMS, steps=40))
    with Database(path, "me") as db:
        db.set_fit(TASK, NEEDS)
        db.add_trained(TASK, 0, ROOT, BLOB)
        assert db.notes(other) == TaskNotes()
        assert db.trained_blobs(other) == {}
        db.set_unfit(other)
        assert db.notes(other) == TaskNotes(fit=False)
        assert db.notes(TASK) == TaskNotes()


def test_a_failure_that_may_pass_rests_and_is_forgotten_by_a_verdict(path: Path, monkeypatch: Patch) -> None:
    now = 1_000.0
    monkeypatch.setattr(time, "time", lambda: now)
    with Database(path, "me") as db:
        rests = [db.add_failure(TASK) for _ in range(40)]
        assert rests[:3] == [1, 2, 4]
        assert rests[-1] == LONGEST_REST
        assert db.notes(TASK) == TaskNotes(resting=True)
        now += LONGEST_REST
        assert db.notes(TASK) == TaskNotes()
        db.add_failure(TASK)
        db.set_fit(TASK, NEEDS)
        assert db.notes(TASK) == TaskNotes(fit=True, needs=NEEDS)


def test_verdicts_of_the_first_version_are_found_again(path: Path) -> None:
    """They did not say whether their cause was in the task."""
    path.parent.mkdir()
    with sqlite3.connect(path) as raw:
        raw.executescript(MIGRATIONS[0])
        raw.execute("PRAGMA user_version = 1")
        raw.execute("INSERT INTO tasks VALUES (?, ?, 0, 5)", (TASK.id, digest(TASK.terms)))
        raw.execute("INSERT INTO trained VALUES (?, 0, ?, ?)", (TASK.id, ROOT, BLOB))
    with Database(path, "me") as db:
        assert db.notes(TASK) == TaskNotes(trained={0: ROOT})
        assert db.add_failure(TASK) == FIRST_REST


def test_verdict_about_another_root_is_void(path: Path) -> None:
    other = replace(TASK, checkpoints=(POINTS[0], replace(POINTS[1], root=ROOT)))
    with Database(path, "me") as db:
        db.add_audited(TASK, 1, False)
        db.add_disputed(TASK, 1, 7)
        assert db.notes(other) == TaskNotes()
        assert db.notes(replace(TASK, checkpoints=())) == TaskNotes()
        assert db.notes(TASK).audited == {1: False}


def test_database_of_somebody_else_is_refused(path: Path) -> None:
    Database(path, "me").__exit__(None, None, None)
    with pytest.raises(BadDatabase, match=r"belongs to me, not to you"):
        Database(path, "you")


def test_file_that_is_no_database_is_refused(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"something else" * 100)
    with pytest.raises(BadDatabase, match="not a database"):
        Database(path, "me")
    assert path.read_bytes().startswith(b"something else")


def test_later_version_is_refused(path: Path) -> None:
    Database(path, "me").__exit__(None, None, None)
    with sqlite3.connect(path) as raw:
        raw.execute("PRAGMA user_version = 99")
    with pytest.raises(BadDatabase, match="later version"):
        Database(path, "me")


def test_others_may_not_read_it(path: Path) -> None:
    Database(path, "me").__exit__(None, None, None)
    assert path.stat().st_mode & 0o077 == 0


def die_in_the_middle(path: Path) -> None:
    db = Database(path, "me")
    db.set_fit(TASK, NEEDS)
    with db._change() as raw:
        raw.execute("UPDATE tasks SET fit = 0")
        os.kill(os.getpid(), signal.SIGKILL)


def test_killed_in_the_middle_of_a_change(path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=die_in_the_middle, args=(path,))
    process.start()
    process.join(30)
    assert process.exitcode == -signal.SIGKILL
    with Database(path, "me") as db:
        assert db.notes(TASK).fit is True
