"""Fetching a blob from whoever has it: the first right bytes count, and a wrong answer spoils only itself.

The likeliest holder is asked alone. Another one is asked beside it where it fails, or sends slowly; of those that do,
the slowest makes place for the next. Who is left are strangers who might have it: they are first asked whether they do.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from secrets import SystemRandom
from typing import Final
from urllib.parse import urlsplit

from offchain.errors import BadBlob, BadInput, NoRoom, OffchainError, Unreachable
from offchain.store.fetch import FetchOptions, aside, fetching, finish, is_there
from offchain.text import printable

TOGETHER: Final = 3  # holders that are fetched from at a time
PACE: Final = 1 << 20  # bytes a second, of all of them, that are not slow
ASKED: Final = 64  # servers that are asked at a time whether they have a blob
ALL: Final = 2_000  # … that are asked in one race
SAYING: Final = 3.0  # seconds in which they must say so
TICK: Final = 0.5  # seconds between two looks at who is slow
FAIR: Final = 10.0  # seconds after which a slow fetch makes place for others that wait
NAMED: Final = 4  # failures that a refusal quotes
SILENT: Final = 300.0  # seconds for which a server that said nothing is asked after the others
LIAR: Final = 3_600.0  # … one whose bytes were wrong
REMEMBERED: Final = 10_000  # servers


@dataclass(frozen=True, slots=True)
class Places:
    """Where a blob may lie.

    Attributes:
        first: addresses of it, the likeliest first.
        servers: base addresses of others who may have it.
    """

    first: tuple[str, ...]
    servers: tuple[str, ...] = ()


class Doubts:
    """Servers that said nothing, or sent what is wrong, lately. They are asked last, and not left out."""

    def __init__(self) -> None:
        self._until: dict[str, float] = {}

    def add(self, uri: str, seconds: float) -> None:
        if len(self._until) >= REMEMBERED:
            self._until.clear()
        self._until[server_of(uri)] = time.monotonic() + seconds

    def __contains__(self, uri: str) -> bool:
        return time.monotonic() < self._until.get(server_of(uri), 0.0)


def server_of(uri: str) -> str:
    """Host and port that an address names; itself where that cannot be told."""
    try:
        return urlsplit(uri).netloc.lower() or uri
    except ValueError:
        return uri


@dataclass(frozen=True)
class Wanted:
    """What is fetched.

    Attributes:
        name: of the blob.
        made: gives the path of a new unfinished file.
        check: raises BadInput for a file that is not the blob.
        limit: bytes that it has at most.
        timeout: seconds for everything.
        yields: whether it should make place for others, if it is slow.
    """

    name: str
    made: Callable[[], Path]
    check: Callable[[Path], object]
    limit: int
    timeout: float
    yields: Callable[[], bool] = lambda: False


def race(wanted: Wanted, places: Places, options: FetchOptions, doubts: Doubts) -> Path:
    """The file of the first right answer; those of others are removed.

    Raises:
        NoRoom: this disk has too little room for it now.
        BadBlob: who is asked first has something else, and nobody else has it.
        Unreachable: nobody has it, or nobody brought it in time.
    """
    return finish(_Race(wanted, places, options, doubts).run())


class _Race:
    def __init__(self, wanted: Wanted, places: Places, options: FetchOptions, doubts: Doubts) -> None:
        self._wanted, self._options, self._doubts = wanted, options, doubts
        self._first = tuple(dict.fromkeys(places.first))
        self._queue = deque(self._first)
        self._servers = deque(self._in_order(places.servers))
        self._fetches: dict[asyncio.Task[Path], _Fetch] = {}
        self._questions: dict[asyncio.Task[bool], str] = {}
        self._failures: dict[str, Exception] = {}  # by address
        self._due, self._counted = 0.0, 0  # when it is seen next who is slow; bytes that were here last time
        self._begun = time.monotonic()
        self._end = self._begun + wanted.timeout
        self._checking: set[Path] = set()  # files that are here whole

    def _in_order(self, servers: tuple[str, ...]) -> list[str]:
        """Addresses of the blob at each server, once for each: those that are doubted last."""
        known = {server_of(uri) for uri in self._first}
        others = {server_of(server): server for server in servers if server_of(server) not in known}
        uris = [f"{server.rstrip('/')}/{self._wanted.name}" for server in others.values()]
        SystemRandom().shuffle(uris)  # or whoever registered first, or last, would be asked first
        return sorted(uris, key=self._doubts.__contains__)[:ALL]

    async def run(self) -> Path:
        try:
            while time.monotonic() < self._end:
                self._go_on()
                running = {*self._fetches, *self._questions}
                if not running:
                    raise self._refusal()
                wait = min(TICK, self._options.haste, max(0.0, self._end - time.monotonic()))
                await asyncio.wait(running, timeout=wait, return_when=asyncio.FIRST_COMPLETED)
                if (won := self._look()) is not None:
                    return won
            raise self._late()
        finally:
            await self._leave()

    # --- whom to ask

    def _go_on(self) -> None:
        slow = self._is_slow()
        if slow and not self._checking and time.monotonic() > self._begun + FAIR and self._wanted.yields():
            raise Unreachable(f"{self._place}: too slow while others wait")
        if slow and self._queue and len(self._fetches) == TOGETHER:
            min(self._fetches.items(), key=lambda item: item[1].rate)[0].cancel()
        if self._queue and (slow or not self._fetches):
            self._begin(self._queue.popleft())
        if not self._queue and (slow or not self._fetches):
            while self._servers and len(self._questions) < ASKED:
                uri = self._servers.popleft()
                seconds = min(SAYING, self._options.answer)
                self._questions[asyncio.ensure_future(is_there(uri, self._options, seconds))] = uri

    def _begin(self, uri: str) -> None:
        fetch = _Fetch(uri, self._wanted.made(), time.monotonic())
        self._fetches[asyncio.ensure_future(self._bring(fetch))] = fetch
        self._count()

    def _is_slow(self) -> bool:
        """Whether too little came in the last seconds."""
        if time.monotonic() < self._due:
            return False
        before = self._counted
        return self._count() - before < PACE * self._options.haste

    def _count(self) -> int:
        self._due = time.monotonic() + self._options.haste
        self._counted = sum(fetch.size for fetch in self._fetches.values())
        return self._counted

    async def _bring(self, fetch: _Fetch) -> Path:
        left = max(0.0, self._end - time.monotonic())
        await fetching(fetch.uri, fetch.path, self._options, self._wanted.limit, left)
        self._checking.add(fetch.path)
        await aside(lambda: self._wanted.check(fetch.path))
        return fetch.path

    # --- what they answer

    def _look(self) -> Path | None:
        """The right file, once it is here."""
        for question in [each for each in self._questions if each.done()]:
            uri = self._questions.pop(question)
            if question.exception() is not None:
                self._doubts.add(uri, SILENT)
            elif question.result():
                self._queue.append(uri)
        for task in [each for each in self._fetches if each.done()]:
            if task.cancelled():
                self._failed(self._fetches.pop(task), Unreachable("others sent more"))
            elif error := task.exception():
                self._failed(self._fetches.pop(task), error)
            else:
                return self._fetches.pop(task).path
        return None

    def _failed(self, fetch: _Fetch, error: BaseException) -> None:
        """What a stranger's file makes of the check, whatever it is, concerns that stranger."""
        fetch.path.unlink(missing_ok=True)
        self._checking.discard(fetch.path)
        if not isinstance(error, Exception):
            raise error
        self._failures[fetch.uri] = error
        if isinstance(error, Unreachable | BadInput):
            self._doubts.add(fetch.uri, LIAR if isinstance(error, BadInput) else SILENT)

    async def _leave(self) -> None:
        """End all that still runs."""
        running: list[asyncio.Task[Path] | asyncio.Task[bool]] = [*self._fetches, *self._questions]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
        for fetch in self._fetches.values():
            fetch.path.unlink(missing_ok=True)
        for task in running:
            with suppress(asyncio.CancelledError):
                task.exception()  # it has been seen

    def _refusal(self) -> Exception:
        """Why there is no file. The first place, which the chain names, decides what kind of failure it is: others may
        be anybody, and must not make a file that is away for a moment one that is wrong."""
        failures = list(self._failures.values())
        if not failures:
            return Unreachable(f"{self._wanted.name}: nobody who was asked has it")
        if len(failures) == 1:
            return failures[0]
        whole = "; ".join(str(error) or type(error).__name__ for error in failures[:NAMED])
        if len(failures) > NAMED:
            whole += f"; and {len(failures) - NAMED} more"
        if any(isinstance(error, NoRoom) for error in failures):
            return NoRoom(whole)
        named = self._failures.get(self._first[0]) if self._first else None
        if named is not None and not isinstance(named, OffchainError):
            return named
        return BadBlob(whole) if isinstance(named, BadInput) else Unreachable(whole)

    @property
    def _place(self) -> str:
        return printable(self._first[0]) if self._first else self._wanted.name

    def _late(self) -> Unreachable:
        return Unreachable(f"{self._place}: not here within {self._wanted.timeout:.1f} s")


@dataclass(frozen=True, slots=True)
class _Fetch:
    """One holder's answer. `since`: when it was asked."""

    uri: str
    path: Path
    since: float

    @property
    def size(self) -> int:
        """Bytes that are here."""
        try:
            return self.path.stat().st_size
        except OSError:  # it has not begun
            return 0

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.size / max(time.monotonic() - self.since, 1e-3)
