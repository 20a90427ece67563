"""Compiled code that is kept on disk, in a folder that only this user can write to: what lies there gets executed.

What was not used for longest makes room when the folder is full.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from contextlib import suppress
from functools import cache
from hashlib import sha256
from itertools import count
from pathlib import Path
from threading import get_ident
from typing import Final

MAX_BYTES: Final = 512 << 20  # of all entries
MAX_FILES: Final = 50_000
ROOM: Final = 0.75  # of either is left when entries make room for others
EVERY: Final = 256  # entries that a process keeps between two looks at how many there are
_DIGEST: Final = 32
_OURS: Final = re.compile(r"[0-9a-f]{64}\..*")  # an entry, a source of CUDA's, or a part of one that a fault left
_writes = count()
_SHARED: Final = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Where compiled kernels are kept: OFFCHAIN_KERNELS, or offchain/kernels in the user's cache folder."""
    chosen = os.environ.get("OFFCHAIN_KERNELS")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offchain" / "kernels"


def trusted(folder: Path) -> bool:
    """Whether code may come from there; makes it where there is none, warns of one that others can write to.

    A folder that cannot be made is not trusted either: that costs time, and nothing else.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        found = folder.stat()
    except OSError:
        return False
    if found.st_uid != os.geteuid():
        _warn(folder, "belongs to another user")
        return False
    if found.st_mode & _SHARED:
        _warn(folder, "can be written to by others")
        return False
    return True


@cache
def _warn(folder: Path, why: str) -> None:
    """Once."""
    advice = "no kernels are taken from it or kept in it; chmod 700 it, or name another folder in OFFCHAIN_KERNELS"
    logging.getLogger(__name__).warning("%s %s: %s", folder, why, advice)


def entry_path(key: str) -> Path:
    """Where an entry lies, in the cache folder of the moment. A key says all that its entry depends on."""
    return cache_folder() / f"{sha256(key.encode()).hexdigest()}.o"


def kept(key: str) -> bytes | None:
    """What was kept under that key; None where nothing was, or where it is no longer that.

    An entry starts with the hash of its key and its bytes: one that the disk damaged, cut off or moved is none.
    """
    path = entry_path(key)
    if not trusted(path.parent):
        return None
    try:
        raw = path.read_bytes()
        os.utime(path)  # the last that makes room
    except OSError:
        return None
    digest, entry = raw[:_DIGEST], raw[_DIGEST:]
    return entry if _digest(key, entry) == digest else None


def keep(key: str, entry: bytes) -> None:
    """Written whole or not at all. A cache that cannot be written costs time, and nothing else."""
    path = entry_path(key)
    if not trusted(path.parent):
        return
    with suppress(OSError):
        write_whole(path, _digest(key, entry) + entry)
    if next(_writes) % EVERY == 0:
        make_room(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Written whole or not at all, whoever else writes there. Raises OSError."""
    part = path.with_suffix(f".{os.getpid()}-{get_ident()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def make_room(folder: Path) -> None:
    """Removes the entries that were not used for longest, where there are too many or they are too large."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:  # another process may be at it, too
        for entry in entries:
            if _OURS.fullmatch(entry.name):
                status = entry.stat(follow_symlinks=False)
                found.append((status.st_mtime_ns, status.st_size, entry.path))
    files, size = len(found), sum(each for _, each, _ in found)
    if files <= MAX_FILES and size <= MAX_BYTES:
        return
    for _, each, path in sorted(found):
        if files <= ROOM * MAX_FILES and size <= ROOM * MAX_BYTES:
            return
        with suppress(OSError):
            os.unlink(path)
        files, size = files - 1, size - each


def _digest(key: str, entry: bytes) -> bytes:
    return sha256(key.encode() + b"\0" + entry).digest()
