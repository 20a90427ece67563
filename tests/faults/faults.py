"""What breaks: each fault harms something, lasts for seconds, and ends. To add one is to add a class."""

from __future__ import annotations

import os
import resource
import signal
import socket
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import ClassVar, Final

from tests.faults.island import CREW, Island, files_of
from tests.faults.relay import Relay, Way

LONGEST: Final = 6.0  # seconds that a fault lasts
Heal = Callable[[], None]


@dataclass(frozen=True)
class Fault:
    """One kind of fault. `strike` harms `victim`, and returns what ends it."""

    name: ClassVar[str]
    of_node: ClassVar[bool] = False  # whether it harms the node, and so everybody

    island: Island
    random: Random
    victim: str

    def strike(self) -> Heal:
        raise NotImplementedError


class Killed(Fault):
    """The machine loses its power: every process of a worker gets SIGKILL."""

    name = "killed"

    def strike(self) -> Heal:
        self.island.kill(self.victim)
        return lambda: self.island.begin(self.victim)


class OneProcessKilled(Fault):
    """One of a worker's processes, its first or one that it started, gets SIGKILL."""

    name = "one process killed"

    def strike(self) -> Heal:
        with suppress(ProcessLookupError, IndexError):
            os.kill(self.random.choice(self.island.processes_of(self.victim)), signal.SIGKILL)
        return self.island.revive


class Frozen(Fault):
    """Some of a worker's processes get SIGSTOP."""

    name = "frozen"

    def strike(self) -> Heal:
        pids = self.island.processes_of(self.victim)
        chosen = [pid for pid in pids if self.random.random() < 0.6] or pids
        for pid in chosen:
            _signal(pid, signal.SIGSTOP)

        def heal() -> None:
            for pid in chosen:
                _signal(pid, signal.SIGCONT)

        return heal


class DiskFull(Fault):
    """No file of a worker's processes can grow."""

    name = "disk full"

    def strike(self) -> Heal:
        pids = self.island.processes_of(self.victim)
        limits = [_limit(pid, self.random.choice((0, 4_096, 65_536))) for pid in pids]

        def heal() -> None:
            for pid, before in zip(pids, limits, strict=True):
                if before is not None:
                    _limit(pid, before)

        return heal


class Truncated(Fault):
    """Power is lost, and with it the end of some file."""

    name = "file truncated"

    def strike(self) -> Heal:
        self.island.kill(self.victim)
        files = files_of(self.island.file(self.victim))
        if files:
            path = self.random.choice(files)
            os.truncate(path, self.random.randrange(path.stat().st_size + 1))
        return lambda: self.island.begin(self.victim)


class DatabaseBroken(Fault):
    """Power is lost, and the database is overwritten in places."""

    name = "database broken"

    def strike(self) -> Heal:
        self.island.kill(self.victim)
        path = self.island.file(self.victim) / "worker.db"
        if path.is_file() and path.stat().st_size:
            body = bytearray(path.read_bytes())
            for _ in range(20):
                at = self.random.randrange(len(body))
                body[at : at + 100] = self.random.randbytes(len(body[at : at + 100]))
            path.write_bytes(body)
        return lambda: self.island.begin(self.victim)


class PortTaken(Fault):
    """While a worker is away, another program listens where it serves its blobs."""

    name = "port taken"

    def strike(self) -> Heal:
        self.island.kill(self.victim)
        with suppress(OSError):
            other = socket.create_server(("127.0.0.1", self.island.ports[self.victim]))
            self.island.begin(self.victim)
            return other.close
        return lambda: self.island.begin(self.victim)


class CutFromNode(Fault):
    """A worker's way to the node refuses, or says nothing."""

    name = "cut from the node"

    def strike(self) -> Heal:
        return _cut(self, self.island.to_node[self.victim])


class CutFromOthers(Fault):
    """The way to a worker's blobs refuses, or says nothing."""

    name = "cut from the others"

    def strike(self) -> Heal:
        return _cut(self, self.island.to_blobs[self.victim])


class NodeKilled(Fault):
    """The node gets SIGKILL, and starts again on its database."""

    name, of_node = "node killed", True

    def strike(self) -> Heal:
        self.island.kill_node()
        return self.island.start_node


class NodeFrozen(Fault):
    name, of_node = "node frozen", True

    def strike(self) -> Heal:
        self.island.freeze_node(True)
        return lambda: self.island.freeze_node(False)


class Reorganised(Fault):
    """What was mined in the last seconds is not, and never was."""

    name, of_node = "reorganised", True

    def strike(self) -> Heal:
        taken = self.island.ask_node("evm_snapshot")
        skipped = self.island.skipped

        def heal() -> None:
            self.island.ask_node("evm_revert", taken)
            self.island.skipped = skipped
            self.island.heartbeat()

        return heal


class ClockMoved(Fault):
    """The chain's clock jumps, by less than any deadline has to spare."""

    name, of_node = "clock moved", True

    def strike(self) -> Heal:
        self.island.skip(self.random.randrange(1, 8))
        return lambda: None


FAULTS: Final[tuple[type[Fault], ...]] = (
    Killed, OneProcessKilled, Frozen, DiskFull, Truncated, DatabaseBroken, PortTaken, CutFromNode, CutFromOthers,
    NodeKilled, NodeFrozen, Reorganised, ClockMoved,
)  # fmt: skip


def drawn(island: Island, random: Random, harmed: set[str]) -> Fault | None:
    """A fault of any kind, of somebody who is up and not in `harmed`; None: everybody is harmed."""
    kind = random.choice(FAULTS)
    well = [name for name in CREW if name not in harmed and island.is_up(name)]
    if not well or (kind.of_node and "node" in harmed):
        return None
    return kind(island, random, "node" if kind.of_node else random.choice(well))


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _limit(pid: int, size: int) -> int | None:
    """Lets a process write files of so many bytes; returns the limit before. None: the process is gone."""
    with suppress(ProcessLookupError):
        before, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, hard))
        return before
    return None


def _cut(fault: Fault, relay: Relay) -> Heal:
    relay.way = fault.random.choice((Way.REFUSED, Way.SILENT))
    relay.cut()

    def heal() -> None:
        relay.way = Way.OPEN

    return heal
