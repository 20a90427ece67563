"""Fetching one file from an address that a stranger wrote, served by whoever that is.

Everything is bounded: bytes, seconds, redirects, the rate below which a server is given up, the room that is left on
the disk. The address of every connection is checked as it is made, so that no name can change its meaning in between.
"""

from __future__ import annotations

import asyncio
import errno
import shutil
import socket
import stat
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Thread
from typing import Any, BinaryIO, Final, TypeVar
from urllib.parse import SplitResult, unquote, urljoin

import aiohttp
import fsspec
from yarl import URL

from offchain.errors import BadBlob, BadInput, NoRoom, OffchainError, Unreachable
from offchain.store.addresses import NEVER, WEB, Forbidden, is_public, parse
from offchain.text import printable

READ: Final = 1 << 20
REDIRECTS: Final = 3
MOVED: Final = frozenset({301, 302, 303, 307, 308})
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FetchOptions:
    """Limits of every fetch.

    Attributes:
        max_bytes: of one file; a caller that knows its size asks for less.
        timeout: seconds for the whole fetch; a caller whose terms leave less asks for less.
        answer: seconds within which a server must begin to answer.
        least_rate: bytes a second, averaged over `window` seconds, below which a server is given up.
        haste: seconds after which another holder of a blob is tried beside those that send slowly (see `race`).
        reserve: bytes that stay free on the disk.
        schemes: of addresses that are followed: http, https, file, or one of fsspec's. "file" needs `private` too.
        private: whether addresses inside this worker's network, and files of this machine, may be asked for.
    """

    max_bytes: int = 16 << 30
    timeout: float = 1800.0
    answer: float = 15.0
    least_rate: int = 16 << 10
    window: float = 10.0
    haste: float = 5.0
    reserve: int = 1 << 30
    schemes: frozenset[str] = WEB
    private: bool = False

    def __post_init__(self) -> None:
        if never := self.schemes & NEVER:
            raise BadInput(f"files of strangers are never fetched through {', '.join(sorted(never))}")


def fetch(uri: str, target: Path, options: FetchOptions, limit: int, timeout: float) -> None:
    """Write the file at `uri` to a new file `target`, of at most `limit` bytes, within `timeout` seconds.

    Raises:
        BadBlob: the address leads where it may not, or the file is too large.
        Unreachable: no answer, an interrupted one, or one that is too slow.
        NoRoom: the disk of this worker has too little room for it now.
    """
    finish(fetching(uri, target, options, limit, timeout))


async def fetching(uri: str, target: Path, options: FetchOptions, limit: int, timeout: float) -> None:
    """`fetch`, beside others in one thread; can be cancelled."""
    parts = parse(uri, options.schemes, options.private)
    place = printable(uri)
    try:
        with target.open("xb") as out:
            intake = Intake(place, out, target.parent, options, limit)
            await _from(parts, uri, intake, options, timeout)
    except OffchainError:
        raise
    except TimeoutError as error:
        raise Unreachable(f"{place}: not here within {timeout:.1f} s") from error
    except Exception as error:  # each protocol of fsspec has exceptions of its own
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise NoRoom(f"{place}: this disk is full") from error
        why = printable(f"{type(error).__name__}: {error}")
        raise Unreachable(f"{place}: cannot be fetched ({why})") from error


async def _from(parts: SplitResult, uri: str, intake: Intake, options: FetchOptions, timeout: float) -> None:
    if parts.scheme in WEB:
        await _web(uri, intake, options, timeout)
    elif parts.scheme == "file":
        _file(Path(unquote(parts.path)), intake)
    else:
        await _elsewhere(uri, intake, timeout)


def finish(work: Coroutine[Any, Any, T]) -> T:
    """Run it in this thread. Does not wait for a name server that does not answer, as `asyncio.run` would."""
    loop = asyncio.new_event_loop()
    task = loop.create_task(work)
    try:
        return loop.run_until_complete(task)
    finally:
        if not task.done():  # Ctrl-C
            task.cancel()
            with suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
        loop.close()


async def aside(work: Callable[[], T]) -> T:
    """What `work` returns, in a thread of its own, for which neither a cancelled caller nor the process's end waits."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    Thread(target=run, name="aside", daemon=True).start()
    return await asyncio.wrap_future(future)


@dataclass
class Intake:
    """Takes in the bytes of a file, until there are too many of them, too few in a window of time, or no room."""

    place: str
    out: BinaryIO
    folder: Path
    options: FetchOptions
    limit: int
    size: int = 0
    _counted: int = 0  # size at the beginning of the window
    _due: float = field(init=False)  # end of the window

    def __post_init__(self) -> None:
        self._due = time.monotonic() + self.options.window

    def expect(self, length: int) -> None:
        """Bytes that are still to come, by the server's own word."""
        if self.size + length > self.limit:
            raise BadBlob(f"{self.place}: larger than the {self.limit:,} bytes that it may have")
        if shutil.disk_usage(self.folder).free - length < self.options.reserve:
            raise NoRoom(f"{self.place}: this disk has no room for {length:,} more bytes")

    def take(self, block: bytes) -> None:
        self.expect(len(block))
        self.out.write(block)
        self.size += len(block)

    @property
    def window(self) -> float:
        """Seconds until the rate has to be judged."""
        return max(0.0, self._due - time.monotonic())

    def judge(self) -> None:
        """Raises Unreachable at the end of a window in which too little came."""
        if self.window > 0:
            return
        options = self.options
        if self.size - self._counted < options.least_rate * options.window:
            raise Unreachable(f"{self.place}: sends less than {options.least_rate:,} bytes a second")
        self._counted, self._due = self.size, time.monotonic() + options.window


# --- files of this machine, and fsspec


def _file(path: Path, intake: Intake) -> None:
    if not stat.S_ISREG(path.stat().st_mode):
        raise BadBlob(f"{intake.place}: not a plain file")
    with path.open("rb") as source:
        while block := source.read(READ):
            intake.take(block)


async def _elsewhere(uri: str, intake: Intake, timeout: float) -> None:
    """Through fsspec, whose reads cannot be interrupted: one that hangs is left to itself, and writes no more."""
    deadline = time.monotonic() + timeout

    def copy() -> None:
        with fsspec.open(uri, "rb").open() as source:
            while block := source.read(READ):
                intake.take(block)  # whose file is closed once nobody waits any more

    copying = asyncio.ensure_future(aside(copy))
    try:
        while not copying.done():
            await asyncio.wait({copying}, timeout=max(0.0, min(intake.window, deadline - time.monotonic())))
            if not copying.done() and time.monotonic() >= deadline:
                raise TimeoutError
            if not copying.done():
                intake.judge()
        copying.result()
    finally:
        copying.cancel()


# --- the web


class _Door:
    """Makes the sockets of a fetch, each for an address that was checked.

    A server on the open internet may not send on into this worker's network, even where that may be asked.
    """

    def __init__(self, private: bool) -> None:
        self._private, self._public_seen = private, False

    def moved(self) -> None:
        """The server of the last connection has sent on to another address."""
        self._private = self._private and not self._public_seen

    def socket(self, address: tuple[Any, ...]) -> socket.socket:
        """For aiohttp's connector, with one result of `getaddrinfo`. Raises Forbidden."""
        family, kind, protocol, _, (host, *_) = address
        public = is_public(host)
        if not (public or self._private):
            raise Forbidden(f"{host} lies inside this worker's network (see --allow-private)")
        self._public_seen = self._public_seen or public
        return socket.socket(family, kind, protocol)


def _session(door: _Door) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        socket_factory=door.socket, happy_eyeballs_delay=None, force_close=True, use_dns_cache=False
    )
    # Compressed answers are not unpacked: a few bytes could become many before they are counted.
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        headers={"Accept-Encoding": "identity"},
        auto_decompress=False,
        timeout=aiohttp.ClientTimeout(total=None),
    )


async def is_there(uri: str, options: FetchOptions, seconds: float) -> bool:
    """Whether a server says that it has a file; its content is not asked for. Who sends on elsewhere does not have it.

    Raises Unreachable where it says nothing, and Forbidden.
    """
    parse(uri, WEB & options.schemes, options.private)
    try:
        async with (
            asyncio.timeout(seconds),
            _session(_Door(options.private)) as session,
            session.head(URL(uri, encoded=True), allow_redirects=False) as answer,
        ):
            return answer.status == 200
    except OffchainError:
        raise
    except Exception as error:
        raise Unreachable(f"{printable(uri)}: no answer ({type(error).__name__})") from error


async def _web(uri: str, intake: Intake, options: FetchOptions, timeout: float) -> None:
    door = _Door(options.private)
    async with asyncio.timeout(timeout), _session(door) as session:
        for _ in range(REDIRECTS + 1):
            answer = await _answer(session, uri, options.answer)
            async with answer:
                if answer.status not in MOVED:
                    return await _body(answer, intake)
            door.moved()
            uri = urljoin(uri, answer.headers.get("Location", ""))
            parse(uri, WEB & options.schemes, options.private)
        raise BadBlob(f"{intake.place}: sends on more than {REDIRECTS} times")


async def _answer(session: aiohttp.ClientSession, uri: str, seconds: float) -> aiohttp.ClientResponse:
    try:
        async with asyncio.timeout(seconds):
            return await session.get(URL(uri, encoded=True), allow_redirects=False)
    except TimeoutError as error:
        raise Unreachable(f"{printable(uri)}: no answer within {seconds:.1f} s") from error


async def _body(answer: aiohttp.ClientResponse, intake: Intake) -> None:
    if answer.status != 200:
        raise Unreachable(f"{intake.place}: answers {answer.status}")
    intake.expect(answer.content_length or 0)
    while True:
        try:
            async with asyncio.timeout(intake.window):
                block = await answer.content.readany()
        except TimeoutError:
            intake.judge()
            continue
        if not block:
            return
        intake.take(block)
        intake.judge()
