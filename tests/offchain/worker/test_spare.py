"""A broken database is set aside in one line, and no secret goes with it."""

from __future__ import annotations

import logging
import os
import resource
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from offchain.market.notes import OwnBid
from offchain.worker.database import Database
from offchain.worker.events import BidSent, CommitSent, SetAside
from offchain.worker.spare import broken, set_aside, spare_of
from tests.offchain.worker.test_database import ROOT, TASK
from tests.support.town import Town
from tests.support.vouching import Ended
from tests.support.works import every_kind

BID = OwnBid(0, 2**70, 30, b"s" * 32)
SHOWN = Ended.of(1).shown


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "worker.db"


def noted(path: Path) -> bytes:
    """Makes a database with a bid and the end of a log; returns its secret."""
    with Database(path, "me") as db:
        secret = db.secret()
        db.bid(TASK, BID)
        db.add_log(TASK, 1, SHOWN)
        db.add_trained(TASK, 0, ROOT, "blob")
        db.add_audited(TASK, 0, True)
        return secret


def emptied(path: Path) -> None:
    path.write_bytes(b"")


def halved(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def overwritten(path: Path) -> None:
    body = bytearray(path.read_bytes())
    body[4_096:] = os.urandom(len(body) - 4_096)
    path.write_bytes(body)


def beheaded(path: Path) -> None:
    path.write_bytes(b"something else" * 100)


HARMS = (emptied, halved, overwritten, beheaded)


@pytest.mark.parametrize("harm", HARMS)
def test_secrets_survive(path: Path, harm: Callable[[Path], None]) -> None:
    secret = noted(path)
    harm(path)
    aside = set_aside(path)
    assert aside is not None
    assert aside.name.startswith("worker.db.broken-")
    with Database(path, "me") as db:
        assert db.notes(TASK).bid == BID
        assert db.log(TASK, 1) == SHOWN
        assert db.secret() == secret


@pytest.mark.parametrize("seed", range(120))
def test_a_file_that_is_overwritten_in_places_tells_nothing_false(path: Path, seed: int) -> None:
    """SQLite's own check reads how a page is made, not what stands in it, and quotes a broken one as it is."""
    secret = noted(path)
    random, body = Random(seed), bytearray(path.read_bytes())
    for _ in range(random.choice((1, 2, 5, 20))):
        at = random.randrange(len(body))
        body[at : at + 100] = random.randbytes(len(body[at : at + 100]))
    path.write_bytes(body)
    set_aside(path)
    with Database(path, "me") as db:
        assert (db.notes(TASK).bid, db.log(TASK, 1), db.secret()) == (BID, SHOWN, secret)
        assert db.notes(TASK).trained in ({}, {0: ROOT})
        assert db.notes(TASK).audited in ({}, {0: True})
        assert db.trained_blobs(TASK) in ({}, {0: (ROOT, "blob")})


def test_what_a_sound_file_lacks_is_recalled(path: Path) -> None:
    noted(path)
    with sqlite3.connect(path) as raw:
        raw.execute("DELETE FROM bids")
    assert set_aside(path) is None
    with Database(path, "me") as db:
        assert db.notes(TASK).bid == BID


def test_a_bid_on_another_task_of_that_number_is_not_recalled(path: Path) -> None:
    other = replace(TASK, terms=replace(TASK.terms, steps=29))
    noted(path)
    path.unlink()
    copy, aside = spare_of(path), path.with_name("elsewhere")
    copy.rename(aside)
    with Database(path, "me") as db:
        db.set_unfit(other)
    aside.rename(copy)
    with Database(path, "me") as db:
        assert db.notes(other).bid is None
        assert db.notes(TASK).bid is None


def test_a_copy_that_is_broken_too_is_left_alone(path: Path) -> None:
    noted(path)
    for file in (path, spare_of(path)):
        beheaded(file)
    assert set_aside(path) is not None
    with Database(path, "me") as db:
        assert db.notes(TASK).bid is None


def test_a_new_folder_is_not_broken(path: Path) -> None:
    assert not broken(path)
    path.touch()
    assert set_aside(path) is None
    with Database(path, "me"):
        assert not spare_of(path).exists()


def test_others_may_not_read_the_copy(path: Path) -> None:
    noted(path)
    assert spare_of(path).stat().st_mode & 0o077 == 0
    assert [file.name for file in path.parent.iterdir() if "partial" in file.name] == []


@contextmanager
def no_room() -> Iterator[None]:
    """No file of this process can grow."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_bid_that_cannot_be_copied_is_not_made(path: Path) -> None:
    with Database(path, "me") as db:
        with no_room(), pytest.raises((sqlite3.Error, OSError)):
            db.bid(TASK, BID)
        assert db.bid(TASK, BID) == BID
    assert [file.name for file in path.parent.iterdir() if "partial" in file.name] == []


def test_a_worker_says_it_in_one_line_and_reveals_its_bid(town: Town, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    town.post(every_kind(6, 3))
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(BidSent))
    town.dismiss("solver")
    halved(town.folder / "solver" / "worker.db")
    town.worker("solver", "solver", "solver")
    (told,) = town.told(SetAside)
    assert Path(told.file).is_file()
    town.until(lambda: town.told(CommitSent))
    assert len(town.told(BidSent)) == 1
