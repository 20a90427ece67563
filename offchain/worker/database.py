"""What a worker must still know after a restart: one SQLite file; a change is on disk before it is acted upon."""

from __future__ import annotations

import os
import secrets
import sqlite3
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from offchain.commit.logs import LogChunk
from offchain.errors import BadInput
from offchain.market.notes import Needs, OwnBid, TaskNotes
from offchain.market.view import TaskView, Terms
from offchain.worker.spare import MARKED, keep, mark, recall

MIGRATIONS: Final = (  # number n leads from version n to n+1
    """
    CREATE TABLE identity (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
    CREATE TABLE tasks (
        id INTEGER PRIMARY KEY, terms BLOB NOT NULL, fit INTEGER, failures INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE TABLE trained (
        task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
        checkpoint INTEGER NOT NULL, root BLOB NOT NULL, blob TEXT NOT NULL,
        PRIMARY KEY (task, checkpoint)
    ) STRICT;
    CREATE TABLE audited (
        task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
        checkpoint INTEGER NOT NULL, claimed BLOB NOT NULL, is_right INTEGER NOT NULL,
        PRIMARY KEY (task, checkpoint, claimed)
    ) STRICT;
    CREATE TABLE disputed (
        task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
        checkpoint INTEGER NOT NULL, claimed BLOB NOT NULL, dispute INTEGER NOT NULL,
        PRIMARY KEY (task, checkpoint, claimed)
    ) STRICT;
    """,
    # What was noted before did not say whether the cause was in the task, nor what the task needs: it is tried again.
    """
    ALTER TABLE tasks ADD COLUMN again_at REAL NOT NULL DEFAULT 0;
    ALTER TABLE tasks ADD COLUMN memory INTEGER;
    ALTER TABLE tasks ADD COLUMN interval_seconds REAL;
    ALTER TABLE tasks ADD COLUMN dispute_seconds REAL;
    UPDATE tasks SET fit = NULL, failures = 0
    """,
    """
    CREATE TABLE bids (
        task INTEGER PRIMARY KEY REFERENCES tasks ON DELETE CASCADE,
        attempt INTEGER NOT NULL, price TEXT NOT NULL, promised INTEGER NOT NULL, salt BLOB NOT NULL
    ) STRICT;
    ALTER TABLE disputed ADD COLUMN attempt INTEGER NOT NULL DEFAULT 0
    """,
    """
    CREATE TABLE lots (
        task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
        attempt INTEGER NOT NULL, checkpoint INTEGER NOT NULL, claimed BLOB NOT NULL, won INTEGER NOT NULL,
        PRIMARY KEY (task, attempt, checkpoint, claimed)
    ) STRICT;
    CREATE TABLE logs (
        task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
        checkpoint INTEGER NOT NULL, claimed BLOB NOT NULL, shown BLOB NOT NULL,
        PRIMARY KEY (task, checkpoint, claimed)
    ) STRICT
    """,
    ";".join(f"ALTER TABLE {table} ADD COLUMN mark BLOB" for table in MARKED),
    """
    CREATE TABLE kept (
        task INTEGER NOT NULL REFERENCES tasks ON DELETE CASCADE,
        attempt INTEGER NOT NULL, committee INTEGER NOT NULL, checkpoint INTEGER NOT NULL, claimed BLOB NOT NULL,
        PRIMARY KEY (task, attempt, committee, checkpoint, claimed)
    ) STRICT
    """,
)
FIRST_REST: Final = 1.0  # seconds after a first failure
LONGEST_REST: Final = 900.0
BUSY: Final = 10.0  # seconds to wait for another process
REMEMBERED: Final = 50_000  # tasks whose notes are in memory


class BadDatabase(BadInput):
    """The file is no database of this version, or belongs to another account or deployment."""


class Database:
    """One worker's notes.

    Every row belongs to a task's terms and to the roots that were on chain. So notes about a chain that was
    reorganised, or started anew, are never mistaken for notes about the present one.

    Args:
        path: of the file; it and its folder are made if missing.
        identity: account, chain and contracts that the notes belong to; must be the same in every run.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self._read = dict[int, tuple[TaskView, TaskNotes, float]]()  # by number of the task: what `_notes` said
        self._version = -1  # of the file when that was read
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))  # it will hold a secret
            self._db = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
            self._path = path
            self._prepare()
            recall(self._db, path)
            self._claim(path, identity)
        except (sqlite3.Error, OSError) as error:
            raise BadDatabase(f"{path}: {error}") from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._db.close()

    def secret(self) -> bytes:
        """32 random bytes, the same in every run."""
        with self._change() as db:
            self._insert(db, "identity", ("secret", secrets.token_bytes(32)), "IGNORE")
            return bytes(db.execute("SELECT value FROM identity WHERE name = 'secret'").fetchone()[0])

    def told_up_to(self, block: int) -> int:
        """The block up to which losses were told; the first time, this one."""
        with self._change() as db:
            db.execute("INSERT OR IGNORE INTO identity (name, value) VALUES ('told', ?)", (block.to_bytes(8),))
            return int.from_bytes(db.execute("SELECT value FROM identity WHERE name = 'told'").fetchone()[0])

    def set_told(self, block: int) -> None:
        """Note that losses up to a block were told."""
        with self._change() as db:
            db.execute("UPDATE identity SET value = ? WHERE name = 'told'", (block.to_bytes(8),))

    def noted(self) -> set[int]:
        """The tasks about which there are notes."""
        return {task_id for (task_id,) in self._rows("SELECT id FROM tasks")}

    def notes(self, task: TaskView, disputed: Collection[int] = ()) -> TaskNotes:
        """The notes about a task as it is on chain now. `disputed`: checkpoints that, by the chain, I disputed.

        Each look asks for those of all tasks: what was read is read again only where it may have changed.
        """
        (version,) = self._row("PRAGMA data_version")  # changes with what another process writes
        if version != self._version or len(self._read) > REMEMBERED:
            self._version = version
            self._read.clear()
        known = self._read.get(task.id)
        if known is None or known[0] is not task:
            known = self._read[task.id] = task, *self._notes(task)
        _, found, again_at = known
        if found.fit is None and time.time() < again_at:
            found = replace(found, resting=True)
        return replace(found, disputed=found.disputed.union(disputed)) if disputed else found

    def _notes(self, task: TaskView) -> tuple[TaskNotes, float]:
        """The notes about a task; and until when it rests, if it is not known whether it fits."""
        query = "SELECT fit, again_at, memory, interval_seconds, dispute_seconds FROM tasks WHERE id = ? AND terms = ?"
        row = self._row(query, task.id, digest(task.terms))
        if row is None:
            return TaskNotes(), 0.0
        claimed = [point.root for point in task.checkpoints]
        trained = self._rows("SELECT checkpoint, root FROM trained WHERE task = ?", task.id)
        audited = self._rows("SELECT checkpoint, claimed, is_right FROM audited WHERE task = ?", task.id)
        own = "SELECT checkpoint, claimed FROM disputed WHERE task = ? AND attempt = ?"  # the next one may lie alike
        recorded = self._rows(own, task.id, task.attempt)
        drawn = "SELECT checkpoint, claimed, won FROM lots WHERE task = ? AND attempt = ?"  # a ticket is of an attempt
        lots = self._rows(drawn, task.id, task.attempt)
        ready = self._rows("SELECT checkpoint, claimed FROM logs WHERE task = ?", task.id)
        signed = "SELECT checkpoint, claimed FROM kept WHERE task = ? AND attempt = ? AND committee = ?"
        kept = self._rows(signed, task.id, task.attempt, task.keeping.committee) if task.keeping else ()
        bid = self._row("SELECT attempt, price, promised, salt FROM bids WHERE task = ?", task.id)
        notes = TaskNotes(
            fit=None if row[0] is None else bool(row[0]),
            needs=None if None in row[2:] else Needs(*row[2:]),
            trained=dict(trained),
            lots={k: bool(won) for k, root, won in lots if claimed[k : k + 1] == [root]},
            ready=frozenset(k for k, root in ready if claimed[k : k + 1] == [root]),
            kept=frozenset(k for k, root in kept if claimed[k : k + 1] == [root]),
            audited={k: bool(right) for k, root, right in audited if claimed[k : k + 1] == [root]},
            bid=None if bid is None else OwnBid(bid[0], int(bid[1]), bid[2], bid[3]),
            disputed=frozenset(k for k, root in recorded if claimed[k : k + 1] == [root]),
        )
        return notes, row[1]

    def set_fit(self, task: TaskView, needs: Needs) -> None:
        """Note that this worker would take a task, and what that asks for."""
        with self._change() as db:
            self._task(db, task)
            query = "UPDATE tasks SET fit = 1, memory = ?, interval_seconds = ?, dispute_seconds = ? WHERE id = ?"
            db.execute(query, (needs.memory, needs.interval_seconds, needs.dispute_seconds, task.id))

    def set_unfit(self, task: TaskView) -> None:
        """Note that this worker never takes a task, for a reason that is in the task."""
        with self._change() as db:
            self._task(db, task)
            db.execute("UPDATE tasks SET fit = 0 WHERE id = ?", (task.id,))

    def add_failure(self, task: TaskView, most: float = LONGEST_REST) -> float:
        """Note a failure whose reason may pass. Returns the seconds until the next try: twice as many each time, up to
        `most`."""
        with self._change() as db:
            self._task(db, task)
            query = "UPDATE tasks SET failures = failures + 1 WHERE id = ? RETURNING failures"
            failures = int(db.execute(query, (task.id,)).fetchone()[0])
            rest: float = min(FIRST_REST * 2.0 ** min(failures - 1, 32), most, LONGEST_REST)
            db.execute("UPDATE tasks SET again_at = ? WHERE id = ?", (time.time() + rest, task.id))
        return rest

    def add_trained(self, task: TaskView, checkpoint: int, root: bytes, blob: str) -> None:
        with self._change() as db:
            self._task(db, task)
            self._insert(db, "trained", (task.id, checkpoint, root, blob))

    def trained_blobs(self, task: TaskView) -> dict[int, tuple[bytes, str]]:
        """Checkpoint -> (root, name of the blob), for those that this worker computed."""
        query = "SELECT checkpoint, root, blob FROM trained JOIN tasks ON task = id WHERE id = ? AND terms = ?"
        return {k: (root, blob) for k, root, blob in self._rows(query, task.id, digest(task.terms))}

    def add_audited(self, task: TaskView, checkpoint: int, right: bool) -> None:
        """Note whether the root on chain is right."""
        with self._change() as db:
            self._task(db, task)
            self._insert(db, "audited", (task.id, checkpoint, task.checkpoints[checkpoint].root, int(right)))

    def add_lot(self, task: TaskView, checkpoint: int, won: bool) -> None:
        """Note whether this account is drawn to audit a checkpoint."""
        with self._change() as db:
            self._task(db, task)
            row = (task.id, task.attempt, checkpoint, task.checkpoints[checkpoint].root, won)
            db.execute("INSERT OR REPLACE INTO lots VALUES (?, ?, ?, ?, ?)", row)

    def add_kept(self, task: TaskView, committee: int, checkpoint: int) -> None:
        """Note that a checkpoint is kept, and signed for."""
        with self._change() as db:
            self._task(db, task)
            row = (task.id, task.attempt, committee, checkpoint, task.checkpoints[checkpoint].root)
            db.execute("INSERT OR REPLACE INTO kept VALUES (?, ?, ?, ?, ?)", row)

    def signed(self, task: TaskView) -> set[bytes]:
        """The roots of what was signed for, in any attempt at a task."""
        query = "SELECT claimed FROM kept JOIN tasks ON task = id WHERE id = ? AND terms = ?"
        return {root for (root,) in self._rows(query, task.id, digest(task.terms))}

    def add_log(self, task: TaskView, checkpoint: int, shown: LogChunk) -> None:
        """Note the end of a log before anything is committed to: who cannot reveal it loses a bond."""
        with self._change() as db:
            self._task(db, task)
            self._insert(db, "logs", (task.id, checkpoint, task.checkpoints[checkpoint].root, shown.to_bytes()))
        keep(self._db, self._path)

    def log(self, task: TaskView, checkpoint: int) -> LogChunk | None:
        """The end of a checkpoint's log, as it was noted."""
        query = "SELECT shown FROM logs WHERE task = ? AND checkpoint = ? AND claimed = ?"
        row = self._row(query, task.id, checkpoint, task.checkpoints[checkpoint].root)
        return None if row is None else LogChunk.from_bytes(row[0])

    def add_disputed(self, task: TaskView, checkpoint: int, dispute: int) -> None:
        with self._change() as db:
            self._task(db, task)
            row = (task.id, checkpoint, task.checkpoints[checkpoint].root, dispute, task.attempt)
            db.execute("INSERT OR REPLACE INTO disputed VALUES (?, ?, ?, ?, ?)", row)

    def bid(self, task: TaskView, bid: OwnBid) -> OwnBid:
        """Note a bid before it is sent. One that was noted for the same attempt stays: its seal may be on chain."""
        with self._change() as db:
            self._task(db, task)
            db.execute("DELETE FROM bids WHERE task = ? AND attempt <> ?", (task.id, bid.attempt))
            row = (task.id, bid.attempt, str(bid.price), bid.promised, bid.salt)  # a price may exceed 64 bits
            self._insert(db, "bids", row, "IGNORE")
        keep(self._db, self._path)
        noted = self.notes(task).bid
        assert noted is not None
        return noted

    def _task(self, db: sqlite3.Connection, task: TaskView) -> None:
        """Make sure that the task has a row. If the number was another task's (other terms), its notes are deleted."""
        self._read.pop(task.id, None)
        db.execute("DELETE FROM tasks WHERE id = ? AND terms <> ?", (task.id, digest(task.terms)))
        self._insert(db, "tasks", (task.id, digest(task.terms)), "IGNORE")

    @staticmethod
    def _insert(db: sqlite3.Connection, table: str, row: Sequence[object], other: str = "REPLACE") -> None:
        """A row with its mark. `other`: what becomes of one with the same key, or of this one: REPLACE, IGNORE."""
        places = ", ".join("?" * (len(row) + 1))
        db.execute(f"INSERT OR {other} INTO {table} ({MARKED[table]}, mark) VALUES ({places})", (*row, mark(*row)))

    def _prepare(self) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON"):
            self._db.execute(f"PRAGMA {pragma}")
        with self._change() as db:
            version = db.execute("PRAGMA user_version").fetchone()[0]
            if version > len(MIGRATIONS):
                raise sqlite3.DatabaseError(f"made by a later version of this program ({version})")
            for number in range(version, len(MIGRATIONS)):
                for statement in MIGRATIONS[number].split(";"):
                    db.execute(statement)
                db.execute(f"PRAGMA user_version = {number + 1}")

    def _claim(self, path: Path, identity: str) -> None:
        with self._change() as db:
            self._insert(db, "identity", ("identity", identity.encode()), "IGNORE")
            stored = bytes(db.execute("SELECT value FROM identity WHERE name = 'identity'").fetchone()[0]).decode()
        if stored != identity:
            self._db.close()
            raise BadDatabase(f"{path}: belongs to {stored}, not to {identity}; name another file")

    @contextmanager
    def _change(self) -> Iterator[sqlite3.Connection]:
        """A transaction: all changes of the block, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield self._db
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _rows(self, query: str, *values: Any) -> list[Any]:
        with closing(self._db.execute(query, values)) as cursor:
            return cursor.fetchall()

    def _row(self, query: str, *values: Any) -> Any:
        rows = self._rows(query, *values)
        return rows[0] if rows else None


def digest(terms: Terms) -> bytes:
    """Differs between tasks that have the same number on different chains."""
    return sha256(repr(terms).encode()).digest()
