"""Transactions of one account that are not mined yet, shared by all processes that send for it from one folder."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from threading import Lock
from typing import Any

from offchain.errors import BadInput


@dataclass(frozen=True, slots=True)
class Flight:
    """A transaction that was signed and may be mined.

    Attributes:
        lane: which part of a worker sent it.
        what: in words.
        body: what was signed, but for the fees: to, data (hex), gas, value (wei).
        fee, tip: most for a unit of gas, and of that for the block's producer; wei.
        since: when its nonce was taken by this call; seconds, as `time.time()` counts.
        signed_at: when it was signed last.
        raw: as it is sent (hex).
        hashes: of all that were signed for this call and nonce, the last one last; any of them may be mined.
    """

    nonce: int
    lane: str
    what: str
    body: dict[str, Any]
    fee: int
    tip: int
    since: float
    signed_at: float
    raw: str
    hashes: tuple[str, ...]


@dataclass
class Sent:
    """What is in the outbox.

    Attributes:
        next: the nonce after the highest one that was ever taken here, or seen mined; -1: none.
        flights: by their nonce.
    """

    next: int = -1
    flights: dict[int, Flight] = field(default_factory=dict)

    def put(self, flight: Flight) -> None:
        self.flights[flight.nonce] = flight
        self.next = max(self.next, flight.nonce + 1)

    def forget(self, mined: int) -> None:
        """Forget those with lower nonces: they were mined, or another transaction was in their place."""
        self.flights = {nonce: flight for nonce, flight in self.flights.items() if nonce >= mined}

    def remove(self, flight: Flight) -> None:
        """Forget one that no node took."""
        held = self.flights.get(flight.nonce)
        if held is not None and held.raw == flight.raw:
            del self.flights[flight.nonce]

    @property
    def end(self) -> int:
        """The nonce after the last one in flight; 0: none is."""
        return max(self.flights, default=-1) + 1


class Outbox:
    """The list of what is in flight, in a file that processes lock in turn. No path: in this object's memory.

    A file that is damaged counts as empty: the chain knows what was mined, and what is in flight is replaced in time.
    What cannot be written, as on a full disk, is kept in memory: no move in a dispute waits for a disk.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path, self._sent, self._lock = path, Sent(), Lock()  # `_sent`: what is in no file

    @contextmanager
    def opened(self) -> Iterator[Sent]:
        """Nobody else reads or changes it within the block, which must not wait for anything."""
        with self._lock:
            if self._path is None:
                yield self._sent
                return
            with _locked(self._path.with_suffix(".lock")):
                stored = _read(self._path)
                sent = Sent(max(stored.next, self._sent.next), stored.flights | self._sent.flights)
                before = replace(stored, flights=dict(stored.flights))
                yield sent
                self._sent = Sent() if sent == before or _written(self._path, sent) else sent


@contextmanager
def in_flight(what: str) -> Iterator[None]:
    """Whoever stops the block by Ctrl-C hears that a transaction is on its way: the exception has a note."""
    try:
        yield
    except KeyboardInterrupt as stop:
        stop.add_note(f"{what} was sent, and may be mined yet: look before you send it again")
        raise


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
    except OSError as error:
        raise BadInput(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _read(path: Path) -> Sent:
    try:
        body = json.loads(path.read_text())
        flights = [Flight(**entry | {"hashes": tuple(entry["hashes"])}) for entry in body["flights"]]
        return Sent(int(body["next"]), {flight.nonce: flight for flight in flights})
    except (OSError, ValueError, KeyError, TypeError):
        return Sent()


def _written(path: Path, sent: Sent) -> bool:
    """Writes the file, whole or not at all; whether it could be."""
    partial = path.with_suffix(".tmp")
    flights = [asdict(flight) for flight in sent.flights.values()]
    try:
        partial.write_text(json.dumps({"next": sent.next, "flights": flights}))
        partial.replace(path)
    except OSError:
        return False
    return True
