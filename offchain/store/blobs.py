"""A directory of blobs, each named by the root of its content, and fetching blobs from URIs that strangers wrote.

A name is the root of the content and a kind: `<64 hex digits>.<kind>`. A file gets its name only after its content was
checked: it is written or fetched under another name, and renamed at the end.
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
from offchain.text import printable

NAME: Final = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{1,16}")
PARTIAL: Final = ".partial"
MAX_URI: Final = 2048
READ: Final = 1 << 20
STALE: Final = 24 * 3600  # seconds after which an unfinished file is removed


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Limits of a fetch: bytes, time, and schemes of URIs.

    Attributes:
        max_bytes: of one blob; a caller that knows the size passes less.
        timeout: seconds for the whole fetch.
        idle: seconds without a byte.
        schemes: of fsspec; with "file" strangers can name files of this machine, though their content stays here.
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
        """A file to write to. It gets the name if the block succeeds, and is removed otherwise."""
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
        except Exception as error:  # each protocol of fsspec has exceptions of its own
            raise Unreachable(
                f"{place}: cannot be fetched ({type(error).__name__}: {printable(str(error))})"
            ) from error

    def _allowed(self, uri: str) -> str:
        try:
            scheme = urlsplit(uri).scheme
        except ValueError:
            scheme = ""
        chained = "::" in uri  # fsspec would pass the content through a second file system
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
        # Compressed answers are not unpacked: a few bytes could become many before they are counted.
        client = {"timeout": patience, "auto_decompress": False, "headers": {"Accept-Encoding": "identity"}}
        system = fsspec.filesystem(scheme, client_kwargs=client, skip_instance_cache=True, use_listings_cache=False)
        return system.open(uri, "rb", block_size=0)
