"""The clock of a local chain: tests put it forward while it runs, and stop it to choose the time of each block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from web3 import Web3


@dataclass
class Clock:
    """The time of a Ganache. While it runs, each transaction is mined at once; while it is stopped, `mine` does it."""

    w3: Web3
    running: bool = True

    @property
    def now(self) -> int:
        """Timestamp of the latest block."""
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def travel(self, seconds: int) -> None:
        """Mines a block that is so many seconds later."""
        if self.running:
            self._rpc("evm_increaseTime", max(0, seconds))
            self._rpc("evm_mine")
        else:
            self.mine(self.now + seconds)

    def mine(self, at: int) -> None:
        """Mines a block with this timestamp. It holds what was sent while the clock was stopped."""
        self._rpc("evm_mine", {"timestamp": at})

    def tick(self, at: int | None = None) -> None:
        """Mines what was just sent, at `at` or a second after the latest block. Does nothing while the clock runs."""
        if not self.running:
            self.mine(self.now + 1 if at is None else at)

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stops the clock within the block: only the test moves it."""
        self._rpc("miner_stop")
        self.running = False
        try:
            yield
        finally:
            self.running = True
            self._rpc("miner_start")

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Undoes, at the end of the block, all that happened on the chain within it, its clock included."""
        taken = self._rpc("evm_snapshot")
        try:
            yield
        finally:
            self._rpc("evm_revert", taken)

    def store(self, contract: str, slot: str, value: int) -> None:
        """Writes a word into a contract's storage."""
        self._rpc("evm_setAccountStorageAt", contract, slot, f"0x{value:064x}")

    def _rpc(self, method: str, *arguments: Any) -> Any:
        answer = self.w3.provider.make_request(method, list(arguments))  # type: ignore[arg-type]
        assert "error" not in answer, answer
        return answer["result"]
