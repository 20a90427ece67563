"""A worker's folder belongs to one process at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from offchain.errors import BadInput


class HomeInUse(BadInput):
    """Another worker runs in the folder."""


def holder(folder: Path) -> str | None:
    """The process of the worker that runs in a folder; None: none does. Raises BadInput where there is no such home."""
    try:
        file = os.open(folder / "lock", os.O_RDWR)
    except OSError as error:
        raise BadInput(f"{folder}: no worker has run here ({error.strerror}); name its folder with --home") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return os.read(file, 20).decode(errors="replace").strip() or "that has just started"
    finally:
        os.close(file)
    return None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the lock of a folder, which is made if missing. The system frees it however the process ends.

    Raises HomeInUse, which names the process that holds it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise BadInput(f"{folder}: {error.strerror}") from error
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.read(file, 20).decode(errors="replace").strip() or "that has just started"
            raise HomeInUse(f"{folder} is in use by worker process {holder}; stop it, or name another --home") from None
        os.ftruncate(file, 0)
        os.pwrite(file, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(file)
