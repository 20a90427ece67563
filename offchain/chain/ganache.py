"""A local chain for tests, the demo and `offchain chain up`: Ganache as a child process."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from eth_account import Account
from eth_account.signers.local import LocalAccount

from offchain.errors import OffchainError
from offchain.text import printable

CHAIN_ID = 1337
ACCOUNTS = 20
HARDFORK = "shanghai"  # the newest that Ganache 7.9.2 knows
BLOCK_GAS = 30_000_000
MNEMONIC = "test test test test test test test test test test test junk"  # public, worthless
START_TIMEOUT = 60.0  # seconds
STOP_TIMEOUT = 10.0  # seconds
PARENT_WATCH = Path(__file__).with_name("parent_watch.js")
_DIRECTLY = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy reaches this machine's loopback


class GanacheError(OffchainError):
    """Ganache is not installed, or did not start."""


def find_command() -> list[str]:
    """The command that starts Ganache: from the project's node_modules, else from PATH.

    Raises:
        GanacheError: it is in neither, or there is no node to run it.
    """
    search = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    node = shutil.which("node", path=search)
    here = Path(__file__).resolve()
    for folder in (*here.parents, Path.cwd(), *Path.cwd().parents):
        script = folder / "node_modules" / "ganache" / "dist" / "node" / "cli.js"
        if node and script.is_file():
            return [node, str(script)]
    if command := shutil.which("ganache", path=search):
        return [command]
    missing = "Ganache" if node else "node"
    raise GanacheError(f"{missing} is not installed: run `make setup` in the project, or `npm i -g ganache@7.9.2`")


def claim_port(port: int) -> int:
    """The port itself, or a free one for 0.

    Raises:
        GanacheError: another process listens there.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise GanacheError(f"port {port} is taken: {error.strerror}; name another one with --port") from error
        claimed: int = probe.getsockname()[1]
        return claimed


@dataclass
class Ganache:
    """Starts on entering the context and stops on leaving it.

    Args:
        port: 0 picks a free one.
        accounts: how many funded accounts, from MNEMONIC.
        balance: of each account, in ether.
        block_time: seconds between blocks; 0 mines each transaction at once.
        strict: answer with a transaction's hash before it is mined. Otherwise Ganache answers after it is mined, and
            sometimes never, if several accounts send at once.
        database: folder that keeps the chain between runs; without one the chain is lost when Ganache stops.
        log: file for Ganache's output; without one it is shown only if the start fails.
    """

    port: int = 0
    accounts_count: int = ACCOUNTS
    balance: int = 1_000_000
    block_time: float = 0
    strict: bool = False
    database: Path | None = None
    log: Path | None = None
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False, repr=False)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def accounts(self) -> list[str]:
        """The private keys of the funded accounts, as 0x-prefixed hex."""
        return [_key(number) for number in range(self.accounts_count)]

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def start(self) -> Self:
        """Start, and wait until the chain answers.

        Raises:
            GanacheError: it cannot be started, its port is taken, or it does not answer within START_TIMEOUT.
        """
        self.port = claim_port(self.port)
        with self._open_log() as output:
            self._process = subprocess.Popen(
                self._command(), stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=_environment()
            )
            atexit.register(self.stop)  # where this process ends in order; PARENT_WATCH is for when it is killed
            deadline = time.monotonic() + START_TIMEOUT
            while not self._answers():
                if not self.running or time.monotonic() > deadline:
                    self.stop()
                    output.seek(0)
                    said = output.read().decode(errors="replace").strip()
                    raise GanacheError(f"Ganache did not start on port {self.port}: {self._why(said)}")
                time.sleep(0.05)
        return self

    def _why(self, said: str) -> str:
        """One line of what it printed: the first that names an error."""
        lines = said.splitlines() or ["it said nothing"]
        why = printable(next((line.strip() for line in lines if "Error" in line), lines[-1]))
        return f"{why}; another chain may use {self.database}, or it cannot be written" if self.database else why

    def stop(self) -> None:
        """End the process, if it runs."""
        if self._process is None:
            return
        if self.running:
            self._process.send_signal(signal.SIGINT)  # so that it closes its database
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        if self._process.stdin is not None:
            self._process.stdin.close()
        self._process = None
        atexit.unregister(self.stop)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _open_log(self) -> IO[bytes]:
        return self.log.open("w+b") if self.log else tempfile.TemporaryFile()

    def _command(self) -> list[str]:
        options = {
            "server.host": "127.0.0.1",
            "server.port": self.port,
            "chain.chainId": CHAIN_ID,
            "chain.networkId": CHAIN_ID,
            "chain.hardfork": HARDFORK,
            "miner.blockGasLimit": BLOCK_GAS,
            "miner.callGasLimit": 2**53 - 1,
            "miner.instamine": "strict" if self.strict else "eager",
            "wallet.mnemonic": MNEMONIC,
            "wallet.totalAccounts": self.accounts_count,
            "wallet.defaultBalance": self.balance,
        }
        if self.block_time:
            options["miner.blockTime"] = self.block_time
        if self.database:
            options["database.dbPath"] = self.database
        return [*find_command(), *(f"--{name}={value}" for name, value in options.items())]

    def _answers(self) -> bool:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}).encode()
        request = urllib.request.Request(self.url, body, {"Content-Type": "application/json"})
        try:
            with _DIRECTLY.open(request, timeout=2) as response:
                return bool(json.load(response)["result"] == hex(CHAIN_ID))
        except (OSError, ValueError, KeyError):
            return False


def _environment() -> dict[str, str]:
    """This process's, with which node loads PARENT_WATCH before Ganache."""
    path = json.dumps(str(PARENT_WATCH))  # quoted as node reads it
    return os.environ | {"NODE_OPTIONS": f"{os.environ.get('NODE_OPTIONS', '')} --require {path}".strip()}


def local_account(number: int) -> LocalAccount:
    """Account `number` of every local chain: from MNEMONIC, worthless, known to everybody."""
    account: LocalAccount = Account.from_key(_key(number))
    return account


@cache
def _key(number: int) -> str:
    """A private key from MNEMONIC; its derivation takes a tenth of a second."""
    Account.enable_unaudited_hdwallet_features()
    account = Account.from_mnemonic(MNEMONIC, account_path=f"m/44'/60'/0'/0/{number}")
    return "0x" + bytes(account.key).hex()
