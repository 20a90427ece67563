"""Where everything breaks: a chain on disk, workers as processes, and relays between all of them."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import randrange
from typing import Any, Final, Self

from offchain.chain import verifiers
from offchain.chain.client import Chain
from offchain.chain.deployment import COIN
from offchain.chain.ganache import Ganache, local_account
from offchain.chain.signingkeys import make_signing_key, public_signing_key
from offchain.chain.transactions import SendOptions
from offchain.demo.stage import HEARTBEAT, PEOPLE, DemoFailed, Stage
from offchain.dispute.falsified import Falsehood
from offchain.errors import ChainUnavailable
from offchain.market.view import VERIFIER
from offchain.store.serve import BlobServer, ServeOptions
from tests.faults.relay import Relay
from tests.support.deployment import BURN_ADDRESS

CREW: Final = {  # who works, as what, and with what options
    "solver-a": ("solver", ("--hourly", "10")),
    "solver-b": ("solver", ("--hourly", "30", "--role", "verifier", "--audit-share", "0")),
    "verifier-a": ("verifier", ()),
    "verifier-b": ("verifier", ("--audit-share", "1")),
    "requester": ("requester", ()),
}
KEEPERS: Final = ("verifier-a", "verifier-b", "solver-b")  # of the crew, who are drawn
SLEEPER: Final = "friend"  # is drawn, too, and does nothing of its own accord
STAKE: Final = 10 * COIN  # of each of them
STARTING: Final = 180.0  # seconds in which a process must have come up
PATIENT: Final = SendOptions(receipt_timeout=5)
RECEIPT: Final = 4  # seconds that a worker waits for one


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
    idle: bool = False  # whether verifiers replay only what they are drawn for
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
        """Ways between all, verifiers with stakes, and everybody at work."""
        for name in PEOPLE:
            self.ports[name] = free_port()
            self.to_node[name] = self._stack.enter_context(Relay(lambda: self.ganache.port))
            self.to_blobs[name] = self._stack.enter_context(Relay(lambda name=name: self.ports[name]))
            path = self.key(name)
            path.write_text(bytes(local_account(PEOPLE[name]).key).hex())
            path.chmod(0o600)
        self.file("shelf").mkdir()
        self.shelf = self._stack.enter_context(BlobServer(self.file("shelf"), "127.0.0.1", 0, ServeOptions()))
        self._enroll()
        for name in CREW:
            self.begin(name)
        self.wait_until_up(*CREW)

    def key(self, name: str) -> Path:
        return self.file(f"{name}.key")

    def _enroll(self) -> None:
        for name in (*KEEPERS, SLEEPER):
            chain = self.chains[name]
            chain.register(VERIFIER, "")
            sleeps = name == SLEEPER  # where it wakes up, it is a cheat of the catalogue, whose key is a known one
            known = public_signing_key(local_account(PEOPLE[name]))
            verifiers.enroll(chain, known if sleeps else make_signing_key(self.key(name), os.environ))
        self.stake(dict.fromkeys((*KEEPERS, SLEEPER), STAKE))

    def stake(self, amounts: Mapping[str, int]) -> None:
        """Verifiers' stakes, in the token's smallest unit, as they are to be from now on."""
        delay = int(self.chains["requester"].call("verifiers", "delay")) + 1
        for name, amount in amounts.items():
            self._patiently(lambda name=name, amount=amount: _change_stake(self.chains[name], amount))
        self.skip(delay)
        for name in amounts:
            self._patiently(lambda name=name: _release_stake(self.chains[name]))

    def _patiently(self, act: Callable[[], object]) -> None:
        """Again and again on a busy machine, where a transaction is not mined in time. `act` looks at what is done."""
        deadline = time.monotonic() + STARTING
        while True:
            try:
                act()
                return
            except ChainUnavailable:
                if time.monotonic() > deadline:
                    raise
            time.sleep(HEARTBEAT)
            self._mine()

    def wealth(self) -> dict[str, int]:
        """What everybody has in tokens that is not locked for a task, and what was burned."""
        had = {name: self.balance(name) for name in PEOPLE}
        for name in (*KEEPERS, SLEEPER):
            standing = verifiers.standing(self.chains[name])
            had[name] += standing.stake + standing.leaving
        chain = self.chains["requester"]
        return had | {"burned": chain.balance(BURN_ADDRESS) + int(chain.call("vault", "burnable"))}

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
        sending = ["--tx-timeout", str(RECEIPT), "--executor", "reference"]
        self.came_up.pop(name, None)
        self.begun_at[name] = self.said_up_to(name)
        share = ["--audit-share", "0"] if self.idle and role == "verifier" else []
        self.start_worker(name, role, [*options, *share, *served, *sending, *more])

    def rest(self, idle: bool) -> None:
        """From now on verifiers replay only what they are drawn for, or again what they are told to."""
        self.idle = idle
        verifiers = [name for name in CREW if CREW[name][0] == "verifier"]
        for name in verifiers:
            self.kill(name)
            self.begin(name)
        self.wait_until_up(*verifiers)

    def start_stranger(self, name: str, cheat: str | Falsehood) -> None:
        """Starts a cheat of the catalogue, or one that lies once, and waits until it is at work."""
        self.came_up.pop(name, None)
        self.begun_at[name] = self.said_up_to(name)
        start = self.start_named if isinstance(cheat, str) else self.start_cheat
        start(name, cheat)
        self.wait_until_up(name)

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
        self._wind()

    def skip(self, seconds: int) -> None:
        """Put the chain's clock forward. Where the node does not answer, the next heartbeat does it."""
        self.skipped += seconds
        self._wind()

    def heartbeat(self) -> None:
        """As the stage's; and a clock that is slow for what failed on the way is put right."""
        if self.now() + HEARTBEAT <= time.time() + self.skipped:
            self._wind()

    def _wind(self) -> None:
        """Mine a block at the time that it should be. To do it twice does no harm."""
        self.ask_node("evm_setTime", int((time.time() + self.skipped) * 1_000))
        self._mine()

    def is_stuck(self) -> bool:
        """Whether the node goes on holding a transaction that it should have mined when it came.

        After a reorganisation Ganache may keep one whose nonce is used up, and then mines no other one, from anybody;
        after it was killed, one whose turn it is, and then mines none of that account. A new start ends that.
        """
        now = self.unmined()
        stuck, self.held = bool(now & self.held), now
        return stuck

    def unmined(self) -> set[tuple[str, int]]:
        """Account and nonce of each transaction whose turn it is, or was."""
        pending, found = self.ask_node("txpool_content")["pending"], set[tuple[str, int]]()
        for account, sent in pending.items():
            used = int(self.ask_node("eth_getTransactionCount", account, "latest"), 16)
            found |= {(account, nonce) for nonce in map(int, sent) if nonce <= used}
        return found

    def freeze_node(self, frozen: bool) -> None:
        self._node().send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def _node(self) -> subprocess.Popen[bytes]:
        process = self.ganache._process
        assert process is not None
        return process

    def ask_node(self, method: str, *arguments: Any) -> Any:
        return self.w3.provider.make_request(method, list(arguments))["result"]  # type: ignore[arg-type]


def _change_stake(chain: Chain, amount: int) -> None:
    more = amount - verifiers.standing(chain).stake
    if more > 0:
        verifiers.stake(chain, more)
    elif more < 0:
        verifiers.unstake(chain, -more)


def _release_stake(chain: Chain) -> None:
    if verifiers.standing(chain).leaving:
        verifiers.release(chain)


def _with_children(pid: int) -> Iterator[int]:
    yield pid
    with suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                yield from _with_children(int(child))


def files_of(home: Path) -> Sequence[Path]:
    """What a worker keeps, apart from what it is locked with."""
    return sorted(path for path in home.rglob("*") if path.is_file() and path.name not in ("lock", "worker.db-shm"))
