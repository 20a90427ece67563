"""A directory of blobs named by the root of what they hold, and how they get there from URIs that strangers wrote.

A name says which root the content has (`<64 hex digits>.<kind>`). Nothing stands under a name before it was
checked: writing and fetching happen beside it, and one rename ends them.
"""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, unquote, urlsplit
from uuid import uuid4

import aiohttp
import fsspec

from offchain.errors import BadBlob, OffchainError, Unreachable

NAME: Final = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{1,16}")
PARTIAL: Final = ".partial"
MAX_URI: Final = 2048
READ: Final = 1 << 20
STALE: Final = 24 * 3600  # seconds after which an unfinished file is nobody's


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """What fetching may cost, and where it may lead.

    Attributes:
        max_bytes: of one blob; a caller that knows better passes less.
        timeout: seconds for the whole of it.
        idle: seconds without a byte.
        schemes: of fsspec; "file" lets strangers name files of this machine (their content stays here, though).
    """

    max_bytes: int = 16 << 30
    timeout: float = 1800.0
    idle: float = 30.0
    schemes: frozenset[str] = frozenset({"http", "https"})


def blob_name(root: bytes, kind: str) -> str:
    """Name of the blob of that kind whose content has that root. Raises ValueError."""
    name = f"{root.hex()}.{kind}"
    if not NAME.fullmatch(name):
        raise ValueError(f"not a blob name: {name}")
    return name


class BlobStore:
    """Blobs of one worker.

    Args:
        folder: made if it is not there.
        base: URI that the folder is served at; without one, blobs are published as file:// URIs.
    """

    def __init__(self, folder: Path, base: str | None = None, options: FetchOptions | None = None) -> None:
        self.folder, self.base, self.options = folder, base, options or FetchOptions()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():  # what a run that was killed left half-written
            if not NAME.fullmatch(path.name) and path.is_file() and path.stat().st_mtime < time.time() - STALE:
                path.unlink(missing_ok=True)

    def path(self, name: str) -> Path:
        """Where a blob is, or would be. Raises ValueError for what is no name of a blob."""
        if not NAME.fullmatch(name):
            raise ValueError(f"not a blob name: {name!r}")
        return self.folder / name

    def __contains__(self, name: str) -> bool:
        return self.path(name).is_file()

    def uri(self, name: str) -> str:
        """Where others find a blob of this store."""
        path = self.path(name)
        return f"{self.base.rstrip('/')}/{name}" if self.base else f"file://{quote(str(path.resolve()))}"

    def publish(self, name: str, write: Callable[[Path], object]) -> str:
        """Let `write` make the blob's file, give it its name, and return its URI."""
        if name not in self:
            with self._partial(name) as partial:
                write(partial)
        return self.uri(name)

    def remove(self, name: str) -> None:
        self.path(name).unlink(missing_ok=True)

    def fetch(
        self,
        uri: str,
        name: str,
        check: Callable[[Path], object],
        max_bytes: int | None = None,
        timeout: float | None = None,
    ) -> Path:
        """The blob's file, fetched from `uri` unless it is here already.

        Args:
            check: raises BadBlob (or another BadInput) unless the file's content has the root in the name.
            max_bytes, timeout: at most those of the options.

        Raises:
            Unreachable: no answer, or an interrupted one.
            BadBlob: the URI leads where it may not, the content is too large, or `check` refused it.
        """
        if name in self:
            return self.path(name)
        limit = min(max_bytes or self.options.max_bytes, self.options.max_bytes)
        with self._partial(name) as partial:
            self._download(uri, partial, limit, min(timeout or self.options.timeout, self.options.timeout))
            check(partial)
        return self.path(name)

    @contextmanager
    def _partial(self, name: str) -> Iterator[Path]:
        """A file to write to, which gets the name when the block ends well, and goes when it does not."""
        target = self.path(name)
        partial = self.folder / f"{name}.{uuid4().hex}{PARTIAL}"
        try:
            yield partial
            with partial.open("rb") as done:
                os.fsync(done.fileno())
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)

    def _download(self, uri: str, target: Path, limit: int, timeout: float) -> None:
        scheme = self._allowed(uri)
        place = printable(uri)
        deadline = time.monotonic() + timeout
        size = 0
        try:
            with self._open(scheme, uri, timeout) as source, target.open("xb") as out:
                while block := source.read(READ):
                    size += len(block)
                    if size > limit:
                        raise BadBlob(f"{place}: larger than the {limit:,} bytes that it may have")
                    if time.monotonic() > deadline:
                        raise TimeoutError
                    out.write(block)
        except OffchainError:
            raise
        except Exception as error:  # every protocol of fsspec has exceptions of its own
            raise Unreachable(
                f"{place}: cannot be fetched ({type(error).__name__}: {printable(str(error))})"
            ) from error

    def _allowed(self, uri: str) -> str:
        try:
            scheme = urlsplit(uri).scheme
        except ValueError:
            scheme = ""
        chained = "::" in uri  # fsspec would pass the content through another file system first
        if len(uri) > MAX_URI or not uri.isprintable() or chained or scheme not in self.options.schemes:
            allowed = ", ".join(sorted(self.options.schemes))
            raise BadBlob(f"{printable(uri)}: not an address that this worker follows ({allowed})")
        return scheme

    def _open(self, scheme: str, uri: str, timeout: float) -> Any:
        if scheme == "file":
            path = Path(unquote(urlsplit(uri).path))
            if not stat.S_ISREG(path.stat().st_mode):
                raise BadBlob(f"{printable(uri)}: not a plain file")
            return path.open("rb")
        if scheme not in ("http", "https"):
            return fsspec.open(uri, "rb").open()
        idle = self.options.idle
        patience = aiohttp.ClientTimeout(total=timeout, sock_connect=idle, sock_read=idle)
        # Compressed answers are not unpacked: a few bytes could become many before anybody counts them.
        client = {"timeout": patience, "auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
        system = fsspec.filesystem(scheme, client_kwargs=client, skip_instance_cache=True, use_listings_cache=False)
        return system.open(uri, "rb", block_size=0)


def printable(text: str) -> str:
    """A stranger's text, fit for one line of a log."""
    shown = "".join(c if c.isprintable() else "?" for c in text)
    return shown if len(shown) <= 200 else shown[:200] + "…"
