"""The clock of a local chain: put forward while it runs, or moved block by block while it stands."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from web3 import Web3


@dataclass
class Clock:
    """The time of a Ganache. While it runs, each transaction is mined at once; while it stands, by `mine`."""

    w3: Web3
    running: bool = True

    @property
    def now(self) -> int:
        """Timestamp of the latest block."""
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def travel(self, seconds: int) -> None:
        """A block that many seconds later."""
        if self.running:
            self._rpc("evm_increaseTime", max(0, seconds))
            self._rpc("evm_mine")
        else:
            self.mine(self.now + seconds)

    def mine(self, at: int) -> None:
        """A block with this timestamp, which holds what was sent while the clock stood."""
        self._rpc("evm_mine", {"timestamp": at})

    def tick(self, at: int | None = None) -> None:
        """Mines what was just sent, a second after the latest block or at `at`. Does nothing while the clock runs."""
        if not self.running:
            self.mine(self.now + 1 if at is None else at)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Meanwhile only the test moves the clock."""
        self._rpc("miner_stop")
        self.running = False
        try:
            yield
        finally:
            self.running = True
            self._rpc("miner_start")

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens on the chain meanwhile, its clock included, has not happened afterwards."""
        taken = self._rpc("evm_snapshot")
        try:
            yield
        finally:
            self._rpc("evm_revert", taken)

    def _rpc(self, method: str, *arguments: Any) -> Any:
        answer = self.w3.provider.make_request(method, list(arguments))  # type: ignore[arg-type]
        assert "error" not in answer, answer
        return answer["result"]
