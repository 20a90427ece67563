"""The demo's stage: a chain, the contracts, people with money, and a process for each of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from eth_account import Account
from web3 import Web3

from offchain.chain import verifiers
from offchain.chain.client import Chain
from offchain.chain.deploying import funded
from offchain.chain.deployment import COIN, PRESETS, Funds
from offchain.chain.ganache import Ganache
from offchain.chain.rpc import connect
from offchain.chain.signingkeys import public_signing_key
from offchain.dispute.falsified import Falsehood
from offchain.errors import OffchainError
from offchain.roles.policy import Policy
from offchain.worker.events import WorkerEvent

PEOPLE: Final = {  # name -> account of the local chain
    "requester": 1,
    "solver-a": 2,
    "solver-b": 3,
    "solver-c": 4,
    "verifier-a": 5,
    "verifier-b": 6,
    "cheat": 7,
    "friend": 8,
    "lazy": 9,
}
WEALTH: Final = 10_000 * COIN
PATIENCE: Final = 90.0  # seconds for a process to come up, or a task to move
POLICY: Final = Policy(min_clock=20, min_window=5, min_interval_time=20)  # of every worker, but for its prices
POLL: Final = 1.0  # seconds
HEARTBEAT: Final = 1  # seconds
THREADS: Final = 1  # of each worker
PREFIX: Final = "OFFCHAIN_"  # of variables that set options
KERNELS: Final = "OFFCHAIN_KERNELS"
SETTINGS: Final = "OFFCHAIN_SETTINGS"  # the file of settings; empty: none


class DemoFailed(OffchainError):
    """Something did not happen in time. The message names a log."""


@dataclass
class Stage:
    """Everything that runs during the demo. The logs of its processes are in `folder`."""

    folder: Path
    ganache: Ganache = field(default_factory=lambda: Ganache(strict=True))
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)
    skipped: int = 0  # seconds by which the chain's clock was put forward

    def __enter__(self) -> Self:
        self._stack = ExitStack()
        self._stack.enter_context(self.ganache)
        self._stack.callback(self._stop_all)
        self.w3: Web3 = connect(self.ganache.url)
        accounts = self.w3.eth.accounts
        funds = {accounts[number]: Funds(vault=WEALTH) for number in PEOPLE.values()}
        self.deployment = funded(self.w3, accounts[0], PRESETS["local"], funds)
        self.deployment.write(self.file("deployment.json"))
        self.chains = {name: self._chain(number) for name, number in PEOPLE.items()}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.close()

    def file(self, name: str) -> Path:
        return self.folder / name

    def _chain(self, account: int) -> Chain:
        return Chain(self.ganache.url, self.deployment, Account.from_key(self.ganache.accounts[account]))

    def heartbeat(self) -> None:
        """Mine a block if none was for a while, so that time passes on a chain that mines only transactions.

        Everybody reads each new block, so many of them would keep the chain busy with answering.
        """
        if self.now() + HEARTBEAT <= time.time() + self.skipped:
            self._mine()

    def skip(self, seconds: int) -> None:
        """Put the chain's clock forward."""
        self.w3.provider.make_request("evm_increaseTime", [seconds])  # type: ignore[arg-type]
        self.skipped += seconds
        self._mine()

    def _mine(self) -> None:
        self.w3.provider.make_request("evm_mine", [])  # type: ignore[arg-type]

    def now(self) -> int:
        """Timestamp of the latest block."""
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def name_of(self, address: str) -> str:
        return next((name for name, chain in self.chains.items() if chain.address == address), address[:10])

    def balance(self, name: str) -> int:
        """All tokens of a person that are not locked."""
        chain = self.chains[name]
        return chain.balance() + chain.free() + chain.pending_withdrawal()[0]

    def balances(self) -> dict[str, int]:
        return {name: self.balance(name) for name in PEOPLE}

    def start_worker(self, name: str, role: str, options: Sequence[str]) -> None:
        """A worker as its operator would start it."""
        home = ["--home", str(self.file(name)), "--json-lines", "--role", role]
        least = ("--min-clock", POLICY.min_clock), ("--min-window", POLICY.min_window)
        limits = [str(item) for pair in (*least, ("--min-interval-time", POLICY.min_interval_time)) for item in pair]
        pace = ["--poll", str(POLL), "--threads", str(THREADS)]
        self._start(name, ["offchain", "worker", *self._connection(name), *home, *limits, *pace, *options])

    def start_cheat(self, name: str, falsehood: Falsehood) -> None:
        """A solver that lies once, and is cheaper than the others."""
        lie = (falsehood.step, falsehood.node, falsehood.element, falsehood.xor)
        self.start_named(name, ",".join(map(str, lie)))

    def start_named(self, name: str, cheat: str, more: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """A cheat of the catalogue."""
        where = [self.ganache.url, str(self.file("deployment.json")), str(PEOPLE[name]), str(self.file(name))]
        return self._start(name, ["offchain.demo.cheat", cheat, *where, *more])

    def enter_draws(self, stakes: Mapping[str, int]) -> None:
        """Their keys and stakes, in tokens, take part in draws of who audits. They must be in the register."""
        for name, stake in stakes.items():
            chain = self.chains[name]
            verifiers.enroll(chain, public_signing_key(Account.from_key(self.ganache.accounts[PEOPLE[name]])))
            verifiers.stake(chain, stake * COIN)
        self.skip(int(self.chains["requester"].call("verifiers", "delay")) + 1)

    def start_requester(self, task_file: Path, result: Path, offer: Sequence[str]) -> int:
        """Post a task from a process of the requester's; returns the task's id."""
        result.unlink(missing_ok=True)
        options = ["-o", str(result), "--json", *offer]
        process = self._start(
            "requester", ["offchain", "task", "post", str(task_file), *self._connection("requester"), *options]
        )
        return self.posted(process)

    def follow_again(self, task_id: int, result: Path) -> None:
        """Let the requester take up a task that it has posted, and fetch what came of it."""
        options = [str(task_id), "-o", str(result), "--json"]
        self._start("requester", ["offchain", "task", "follow", *options, *self._connection("requester")])

    def posted(self, process: subprocess.Popen[bytes]) -> int:
        """The id of the task that a requester's process has posted, which is its first line."""
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise DemoFailed(f"the requester could not post; see {self.file('requester.log')}")
        return int(json.loads(line)["task"])

    def wait_for_requester(self) -> int:
        """Its exit code: 0 if it got a model, 1 if it got its money back."""
        return self.processes.pop("requester").wait(PATIENCE)

    def _connection(self, name: str) -> list[str]:
        where = ["--rpc", self.ganache.url, "--deployment", str(self.file("deployment.json"))]
        return [*where, "--dev-account", str(PEOPLE[name])]

    def _start(self, name: str, arguments: Sequence[str]) -> subprocess.Popen[bytes]:
        log = self._stack.enter_context(self.file(f"{name}.log").open("ab"))
        command = [sys.executable, "-m", *arguments]
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, env=_environment()
        )
        self.processes[name] = process
        return process

    def wait_until_registered(self, names: Sequence[str]) -> None:
        """Wait until those workers are in the register."""
        deadline = time.monotonic() + PATIENCE
        for name in names:
            while not self.chains[name].roles_of():
                if time.monotonic() > deadline or self.processes[name].poll() is not None:
                    raise DemoFailed(f"{name} did not start; see {self.file(name + '.log')}")
                time.sleep(0.2)

    def said(self, name: str, event: type[WorkerEvent], task_id: int) -> list[dict[str, Any]]:
        """The events of that kind about a task which a process has logged."""
        lines = self.file(f"{name}.log").read_text().splitlines()
        entries = (json.loads(line) for line in lines if line.startswith("{"))
        return [entry for entry in entries if (entry.get("event"), entry.get("task")) == (event.name, task_id)]

    def stop(self, name: str) -> None:
        """SIGTERM, and wait."""
        process = self.processes.pop(name, None)
        if process is None:
            return
        process.terminate()
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()

    def _stop_all(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for name in list(self.processes):
            self.stop(name)


def _environment() -> dict[str, str]:
    """This process's, without what its operator has set for commands of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX) or name == KERNELS}
    return kept | {SETTINGS: ""}
