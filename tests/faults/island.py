"""Where everything breaks: a chain on disk, workers as processes, and relays between all of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import randrange
from typing import Any, Final, Self

from offchain.chain import verifiers
from offchain.chain.client import Chain
from offchain.chain.deployment import COIN
from offchain.chain.ganache import Ganache, local_account
from offchain.chain.signingkeys import make_signing_key
from offchain.chain.transactions import SendOptions
from offchain.demo.stage import PEOPLE, DemoFailed, Stage
from offchain.market.view import VERIFIER
from offchain.store.serve import BlobServer, ServeOptions
from tests.faults.relay import Relay

CREW: Final = {  # who works, as what, and with what options
    "solver-a": ("solver", ("--hourly", "10")),
    "solver-b": ("solver", ("--hourly", "30")),
    "verifier-a": ("verifier", ()),
    "verifier-b": ("verifier", ("--audit-share", "1")),
    "requester": ("requester", ()),
}
STAKE: Final = 10 * COIN  # of verifier-a, the only one who is drawn
STARTING: Final = 180.0  # seconds in which a process must have come up
PATIENT: Final = SendOptions(receipt_timeout=5)


def free_port() -> int:
    """One that no connection is given by itself: a worker that is away for a while finds its own free again."""
    while True:
        with suppress(OSError), socket.create_server(("127.0.0.1", randrange(20_000, 30_000))) as probe:
            return int(probe.getsockname()[1])


@dataclass
class Island(Stage):
    """The demo's stage, whose chain lies on disk, and whose people reach each other and the node through relays.

    A worker whose process has ended is started again, as an operator's service does it.
    """

    to_node: dict[str, Relay] = field(default_factory=dict)
    to_blobs: dict[str, Relay] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)  # of the workers' blobs
    came_up: dict[str, float] = field(default_factory=dict)  # when each was last seen to be up
    begun_at: dict[str, int] = field(default_factory=dict)  # bytes that its log had when it was last started
    held: set[tuple[str, int]] = field(default_factory=set)  # account and nonce of what the node should have mined

    def __post_init__(self) -> None:
        self.ganache = Ganache(strict=True, database=self.folder / "chain")

    def __enter__(self) -> Self:
        super().__enter__()
        try:
            self._settle()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _settle(self) -> None:
        """Ways between all, a verifier with a stake, and everybody at work."""
        for name in PEOPLE:
            self.ports[name] = free_port()
            self.to_node[name] = self._stack.enter_context(Relay(lambda: self.ganache.port))
            self.to_blobs[name] = self._stack.enter_context(Relay(lambda name=name: self.ports[name]))
            path = self.key(name)
            path.write_text(bytes(local_account(PEOPLE[name]).key).hex())
            path.chmod(0o600)
        self.file("shelf").mkdir()
        self.shelf = self._stack.enter_context(BlobServer(self.file("shelf"), "127.0.0.1", 0, ServeOptions()))
        self._enroll("verifier-a")
        for name in CREW:
            self.begin(name)
        self.wait_until_up(*CREW)

    def key(self, name: str) -> Path:
        return self.file(f"{name}.key")

    def _enroll(self, name: str) -> None:
        chain = self.chains[name]
        chain.register(VERIFIER, "")
        verifiers.enroll(chain, make_signing_key(self.key(name), os.environ))
        verifiers.stake(chain, STAKE)
        self.skip(int(chain.call("verifiers", "delay")) + 1)

    def _chain(self, account: int) -> Chain:
        return Chain(self.ganache.url, self.deployment, local_account(account), PATIENT)

    def _connection(self, name: str) -> list[str]:
        where = ["--rpc", self.to_node[name].url, "--deployment", str(self.file("deployment.json"))]
        return [*where, "--key", str(self.key(name))]

    # --- processes

    def begin(self, name: str, *more: str) -> None:
        """Starts a worker of the crew."""
        role, options = CREW[name]
        served = ["--listen", f"127.0.0.1:{self.ports[name]}", "--public-url", self.to_blobs[name].url]
        sending = ["--tx-timeout", "4", "--executor", "reference"]
        self.came_up.pop(name, None)
        self.begun_at[name] = self.said_up_to(name)
        self.start_worker(name, role, [*options, *served, *sending, *more])

    def said_up_to(self, name: str) -> int:
        """Bytes of a worker's log."""
        path = self.file(f"{name}.log")
        return path.stat().st_size if path.exists() else 0

    def is_up(self, name: str) -> bool:
        """Whether a worker runs, and has said since its start that it does."""
        process = self.processes.get(name)
        if process is None or process.poll() is not None:
            self.came_up.pop(name, None)
        elif name not in self.came_up:
            with self.file(f"{name}.log").open("rb") as log:
                log.seek(self.begun_at[name])
                if b'"started"' in log.read():
                    self.came_up[name] = time.monotonic()
        return name in self.came_up

    def wait_until_up(self, *names: str) -> None:
        deadline = time.monotonic() + STARTING
        while not all(self.is_up(name) for name in names):
            if time.monotonic() > deadline:
                raise DemoFailed(f"one of {', '.join(names)} did not start; see the logs in {self.folder}")
            self.revive()
            time.sleep(0.2)

    def revive(self) -> None:
        """Starts again whoever has ended."""
        for name in CREW:
            process = self.processes.get(name)
            if process is not None and process.poll() is not None:
                self.begin(name)

    def processes_of(self, name: str) -> list[int]:
        """The worker's process, then those that it started."""
        process = self.processes.get(name)
        return [] if process is None or process.poll() is not None else list(_with_children(process.pid))

    def kill(self, name: str) -> None:
        """SIGKILL to the worker and all that it started: the machine is gone. It stays so until `begin`."""
        for pid in self.processes_of(name):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process = self.processes.pop(name, None)
        if process is not None:
            process.wait()

    # --- the node

    def kill_node(self) -> None:
        process = self._node()
        process.kill()
        process.wait()
        self.ganache.stop()

    def start_node(self) -> None:
        """On its database. Its clock is the machine's again, and is put forward once more."""
        self.ganache.start()
        if self.skipped:
            self.w3.provider.make_request("evm_increaseTime", [self.skipped])  # type: ignore[arg-type]
        self._mine()

    def free_node(self) -> None:
        """Starts the node again where it goes on holding a transaction that it should have mined when it came.

        After a reorganisation Ganache may keep one whose nonce is used up, and then mines no other one, from anybody;
        after it was killed, one whose turn it is, and then mines none of that account.
        """
        pending, now = self.ask_node("txpool_content")["pending"], set[tuple[str, int]]()
        for account, sent in pending.items():
            used = int(self.ask_node("eth_getTransactionCount", account, "latest"), 16)
            now |= {(account, nonce) for nonce in map(int, sent) if nonce <= used}
        if now & self.held:
            self.kill_node()
            self.start_node()
            now = set()
        self.held = now

    def freeze_node(self, frozen: bool) -> None:
        self._node().send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _node(self) -> subprocess.Popen[bytes]:
        process = self.ganache._process
        assert process is not None
        return process

    def ask_node(self, method: str, *arguments: Any) -> Any:
        return self.w3.provider.make_request(method, list(arguments))["result"]  # type: ignore[arg-type]


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _with_children(int(child))


def files_of(home: Path) -> Sequence[Path]:
    """What a worker keeps, apart from what it is locked with."""
    return sorted(path for path in home.rglob("*") if path.is_file() and path.name not in ("lock", "worker.db-shm"))
