"""The copy of a worker's database, for the day on which the file itself is broken.

Bids that wait to be revealed, and ends of logs that were vouched for, are secrets whose loss costs a bond. So each is
copied to a second file before it is acted upon. Everything else in a database can be computed again.
"""

from __future__ import annotations

import os
import sqlite3
import time
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final

BROKEN: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: a format of nobody's
VERSIONS: Final = 1_000  # more than there will ever be
BESIDE: Final = ("-wal", "-shm")  # what SQLite keeps beside a database
SAME_TASK: Final = "EXISTS (SELECT 1 FROM main.tasks JOIN spare.tasks AS s USING (id, terms) WHERE id = task)"
# Table -> what its rows are marked of: what is acted upon unseen, and costs money where it is false.
MARKED: Final = {
    "identity": "name, value",
    "tasks": "id, terms",
    "bids": "task, attempt, price, promised, salt",
    "logs": "task, checkpoint, claimed, shown",
    "trained": "task, checkpoint, root, blob",
    "audited": "task, checkpoint, claimed, is_right",
}
# Tables that the copy gives back, and what a row must agree with: a number may be another task's on another chain.
KEPT: Final = {"identity": "true", "tasks": "true", "bids": SAME_TASK, "logs": SAME_TASK}


def mark(*values: object) -> bytes:
    """Of what a row says. SQLite finds a page that is made wrongly, not one in which other bytes stand."""
    return sha256(repr(values).encode()).digest()[:8]


def spare_of(path: Path) -> Path:
    """Where the copy of a database lies."""
    return path.with_name(f"{path.name}.copy")


def keep(database: sqlite3.Connection, path: Path) -> None:
    """Replaces the copy of a database in one go. Raises sqlite3.Error and OSError, as a full disk makes it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_RDWR, 0o600))  # it holds the same secrets
        with closing(sqlite3.connect(partial, isolation_level=None)) as copy:
            database.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, without others beside it
        partial.replace(spare_of(path))
    finally:
        partial.unlink(missing_ok=True)


def recall(database: sqlite3.Connection, path: Path) -> None:
    """Puts back what the copy has and the database lacks; nothing without a copy that is of the same version."""
    spare = spare_of(path)
    if not spare.is_file() or broken(spare):
        return
    database.execute("ATTACH ? AS spare", (str(spare),))
    try:
        if (
            database.execute("PRAGMA spare.user_version").fetchone()
            != database.execute("PRAGMA user_version").fetchone()
        ):
            return
        for table, agrees in KEPT.items():
            database.execute(f"INSERT OR IGNORE INTO main.{table} SELECT * FROM spare.{table} WHERE {agrees}")
    finally:
        database.execute("DETACH spare")


def broken(path: Path) -> bool:
    """Whether a file is no sound database. A missing one is sound, and so is an empty one that has no copy."""
    if not path.exists():
        return False
    if path.stat().st_size == 0:
        return spare_of(path).exists()
    try:
        with closing(sqlite3.connect(path, timeout=10)) as database:
            made, version = (
                database.execute(f"PRAGMA {name}").fetchone() for name in ("quick_check(1)", "user_version")
            )
            return made != ("ok",) or not 0 <= version[0] <= VERSIONS or not _as_marked(database)
    except UnicodeDecodeError:  # what SQLite complains of quotes the file
        return True
    except sqlite3.DatabaseError as error:  # one without a code is of Python: a text that is none
        return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in BROKEN


def _as_marked(database: sqlite3.Connection) -> bool:
    """Whether every row says what was written. Rows of before there were marks have none."""
    for table, columns in MARKED.items():
        if "mark" not in {name for _, name, *_ in database.execute(f"PRAGMA table_info({table})")}:
            continue
        rows = database.execute(f"SELECT mark, {columns} FROM {table} WHERE mark IS NOT NULL")
        if any(mark(*values) != kept for kept, *values in rows):
            return False
    return True


def set_aside(path: Path) -> Path | None:
    """Renames a broken database, and returns its new name; None: it is sound. For the only process that has it open."""
    if not broken(path):
        return None
    aside = path.with_name(f"{path.name}.broken-{time.strftime('%Y%m%d-%H%M%S')}")
    path.replace(aside)
    for ending in BESIDE:
        with suppress(FileNotFoundError):
            path.with_name(path.name + ending).replace(aside.with_name(aside.name + ending))
    return aside
