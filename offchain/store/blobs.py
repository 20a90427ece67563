"""A directory of blobs, each named by what its content must equal.

A name is a hash of that and a kind: `<64 hex digits>.<kind>`, see `offchain.store.names`. A file gets its name only
after its content was checked: it is written or fetched under another name, and renamed at the end.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import disk_usage
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from offchain.store.fetch import FetchOptions
from offchain.store.race import Doubts, Places, Wanted, race

NAME: Final = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{1,16}")
PARTIAL: Final = ".partial"
STALE: Final = 24 * 3600  # seconds after which an unfinished file is removed


def blob_name(root: bytes, kind: str) -> str:
    """Name of the blob of that kind whose content has that root. Raises ValueError."""
    name = f"{root.hex()}.{kind}"
    if not NAME.fullmatch(name):
        raise ValueError(f"not a blob name: {name}")
    return name


Heard = Callable[[str, bool, float, int], None]  # kind, whether it came, seconds, bytes


def _nobody(kind: str, came: bool, seconds: float, size: int) -> None:
    """Nobody counts."""


class BlobStore:
    """Blobs of one worker.

    Args:
        folder: made if it is not there.
        base: URI that the folder is served at; without one, blobs are published as file:// URIs.

    Attributes:
        heard: is called after every fetch, in the thread that fetched.
    """

    def __init__(self, folder: Path, base: str | None = None, options: FetchOptions | None = None) -> None:
        self.folder, self.base, self.options = folder, base, options or FetchOptions()
        self.heard: Heard = _nobody
        self._doubts = Doubts()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():  # a run that was killed may have left unfinished files
            if not NAME.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < time.time() - STALE:
                path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """The path of a blob, whether it exists or not. Raises ValueError unless `name` is the name of a blob."""
        if not NAME.fullmatch(name):
            raise ValueError(f"not a blob name: {name!r}")
        return self.folder / name

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def uri(self, name: str) -> str:
        """The URI under which others find a blob of this store."""
        path = self.path(name)
        return f"{self.base.rstrip('/')}/{name}" if self.base else f"file://{quote(str(path.resolve()))}"

    def publish(self, name: str, write: Callable[[Path], object]) -> str:
        """Let `write` make the blob's file, give it its name, and return its URI."""
        if name not in self:
            with self._partial(name) as partial:
                write(partial)
        return self.uri(name)

    def names(self) -> Iterator[str]:
        """Of the blobs that are here."""
        return (path.name for path in self.folder.iterdir() if NAME.fullmatch(path.name))

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def make_room(self, kind: str, keep: Collection[str], wanted: int) -> bool:
        """Remove blobs of a kind, oldest first, until `wanted` bytes are free beside the reserve; none of `keep`.
        Returns whether they are."""
        old = sorted(self.folder.glob(f"*.{kind}"), key=lambda path: path.stat().st_mtime)
        for path in (path for path in old if path.name not in keep):
            if self._has_room(wanted):
                return True
            path.unlink(missing_ok=True)
        return self._has_room(wanted)

    def _has_room(self, wanted: int) -> bool:
        return disk_usage(self.folder).free - self.options.reserve >= wanted

    def touch(self, name: str) -> None:
        """From now on the blob counts as new."""
        with suppress(OSError):
            os.utime(self.path(name))

    def keep_within(self, most: int, needed: Collection[str], room: int) -> None:
        """Remove blobs that are not needed, oldest first, until those that are left have no more than `most` bytes, and
        `room` bytes are free beside the reserve."""
        spare = sorted((stat.st_mtime, stat.st_size, path) for path, stat in self._sizes() if path.name not in needed)
        held = sum(size for _, size, _ in spare)
        for _, size, path in spare:
            if held <= most and self._has_room(room):
                return
            path.unlink(missing_ok=True)
            held -= size

    def _sizes(self) -> Iterator[tuple[Path, os.stat_result]]:
        for name in self.names():
            with suppress(OSError):  # it was removed meanwhile
                yield self.path(name), self.path(name).stat()

    def fetch(
        self,
        places: Places | str,
        name: str,
        check: Callable[[Path], object],
        max_bytes: int | None = None,
        timeout: float | None = None,
        yields: Callable[[], bool] = lambda: False,
    ) -> Path:
        """The blob's file, fetched unless it is here already.

        Args:
            places: where it may lie, or its only address.
            check: raises BadBlob (or another BadInput) unless the file's content has the root in the name.
            max_bytes, timeout: at most those of the options.
            yields: whether a fetch that is slow should make place for others.

        Raises:
            Unreachable: no answer, an interrupted one, or one that is too slow.
            NoRoom: this disk has too little room for it now.
            BadBlob: the address leads where it may not, the content is too large, or `check` refused it. Of several
                places the first one, and the others do not have it either.
        """
        if name in self:
            return self.path(name)
        options = self.options
        limit = min(max_bytes or options.max_bytes, options.max_bytes)
        patience = min(timeout or options.timeout, options.timeout)
        wanted = Wanted(name, lambda: self._unfinished(name), check, limit, patience, yields)
        where = Places((places,)) if isinstance(places, str) else places
        begun, size = time.monotonic(), 0
        try:
            with self._named(name, race(wanted, where, options, self._doubts)) as partial:
                size = partial.stat().st_size
        finally:
            self.heard(name.rpartition(".")[2], size > 0, time.monotonic() - begun, size)
        return self.path(name)

    def _unfinished(self, name: str) -> Path:
        return self.folder / f"{name}.{uuid4().hex}{PARTIAL}"

    @contextmanager
    def _partial(self, name: str) -> Iterator[Path]:
        """A file to write to. It gets the name if the block succeeds, and is removed otherwise."""
        with self._named(name, self._unfinished(name)) as partial:
            yield partial

    @contextmanager
    def _named(self, name: str, partial: Path) -> Iterator[Path]:
        """Gives a file the name if the block succeeds, and removes it otherwise."""
        try:
            yield partial
            with partial.open("rb") as done:
                os.fsync(done.fileno())
            partial.replace(self.path(name))
        finally:
            partial.unlink(missing_ok=True)
