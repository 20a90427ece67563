"""Keeps compiled code on disk, in a folder that only this user can write to, because what lies there is executed.

When the folder is full, the entries that were unused for longest are removed.
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
ROOM: Final = 0.75  # the share of both limits that is left after entries were removed
EVERY: Final = 256  # entries that a process writes between two checks of the limits
_DIGEST: Final = 32
_OURS: Final = re.compile(r"[0-9a-f]{64}\..*")  # an entry, a text of a CUDA kernel, or an unfinished file
_writes = count()
_SHARED: Final = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Where compiled kernels are kept: OFFCHAIN_KERNELS, or offchain/kernels in the user's cache folder."""
    chosen = os.environ.get("OFFCHAIN_KERNELS")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "offchain" / "kernels"


def trusted(folder: Path) -> bool:
    """Whether code may be loaded from the folder. Creates it where it is missing; warns where others can write to it.

    A folder that cannot be created is not trusted: that only costs time.
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
    """Warns once of each folder."""
    advice = "kernels are neither loaded from it nor kept in it; run chmod 700 on it, or set OFFCHAIN_KERNELS"
    logging.getLogger(__name__).warning("%s %s: %s", folder, why, advice)


def entry_path(key: str) -> Path:
    """The file of an entry in the current cache folder. A key holds everything that its entry depends on."""
    return cache_folder() / f"{sha256(key.encode()).hexdigest()}.o"


def kept(key: str) -> bytes | None:
    """The entry of that key; None where there is none, or where it is damaged.

    An entry starts with the hash of its key and its bytes, so that one that was changed, cut off or moved is not used.
    """
    path = entry_path(key)
    if not trusted(path.parent):
        return None
    try:
        raw = path.read_bytes()
        os.utime(path)  # marks it as used
    except OSError:
        return None
    digest, entry = raw[:_DIGEST], raw[_DIGEST:]
    return entry if _digest(key, entry) == digest else None


def keep(key: str, entry: bytes) -> None:
    """Writes an entry, whole or not at all. A cache that cannot be written only costs time."""
    path = entry_path(key)
    if not trusted(path.parent):
        return
    with suppress(OSError):
        write_whole(path, _digest(key, entry) + entry)
    if next(_writes) % EVERY == 0:
        make_room(path.parent)


def write_whole(path: Path, content: bytes) -> None:
    """Writes a file, whole or not at all, whoever else writes there. Raises OSError."""
    part = path.with_suffix(f".{os.getpid()}-{get_ident()}")
    try:
        part.write_bytes(content)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise


def make_room(folder: Path) -> None:
    """Removes the entries that were unused for longest, where there are too many or they take too many bytes."""
    found = []
    with suppress(OSError), os.scandir(folder) as entries:  # another process may remove them, too
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
