"""Sends an account's transactions one at a time: signs them, limits gas and fee, and waits until they are mined."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3RPCError

from offchain.chain.reverts import Reverted, show
from offchain.chain.rpc import asking, rpc_message
from offchain.errors import ChainError, ChainUnavailable

MAX_GAS: Final = 3_000_000  # the protocol's limit for a transaction; every honest move needs less
GWEI: Final = 10**9
IN_FLIGHT: Final = ("nonce too low", "already known", "known transaction", "underpriced", "already imported")


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How transactions are sent.

    Attributes:
        max_fee: most that a unit of gas may cost, in wei, whatever the node demands.
        tip: for the block's producer, in wei per unit of gas.
        receipt_timeout: seconds to wait for a transaction to be mined.
        poll: seconds between two requests for a receipt.
    """

    max_fee: int = 500 * GWEI
    tip: int = GWEI
    receipt_timeout: float = 180.0
    poll: float = 0.25


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that was mined and did not revert, with its raw log entries."""

    hash: bytes
    block: int
    gas_used: int
    logs: Sequence[Any]


class Sender(Protocol):
    """Sends the transactions of one account. A `Signer` does it for workers; tests bring their own."""

    @property
    def address(self) -> ChecksumAddress: ...
    def settle(self) -> None: ...
    def send(self, to: ChecksumAddress, data: bytes, what: str, roomy: bool = False) -> Mined: ...


class Signer:
    """One account's transactions, signed here. The nonce is always the chain's: a restart has nothing to remember."""

    def __init__(self, w3: Web3, account: LocalAccount, chain_id: int, options: SendOptions) -> None:
        self._w3, self._account, self._chain_id, self._options = w3, account, chain_id, options
        self._replace_until = 0  # lower nonces are of transactions that were given up
        self._last: tuple[int, bytes] | None = None  # nonce and hash of this process's last transaction

    @property
    def address(self) -> ChecksumAddress:
        address: ChecksumAddress = self._account.address
        return address

    def settle(self) -> None:
        """Wait until no transaction of this account is in flight, be it of an earlier process.

        Those still in flight after the receipt timeout are given up: the next transactions replace them, at twice the
        fee.
        """
        deadline = time.monotonic() + self._options.receipt_timeout
        while True:
            mined, pending = self._counts()
            if pending <= max(mined, self._replace_until):
                return
            if time.monotonic() > deadline:
                self._replace_until = pending
                return
            time.sleep(self._options.poll)

    def send(self, to: ChecksumAddress, data: bytes, what: str, roomy: bool = False) -> Mined:
        """Estimate, sign, send, and wait for the receipt.

        Args:
            roomy: give all the gas that a transaction may have. For calls that succeed even if an inner call runs
                out of gas, so that a node's estimate is too small.

        Raises:
            Reverted, ChainError: refused (nothing was sent, or it was mined and failed).
            ChainUnavailable: it may or may not have been sent; look at the chain before sending it again.
        """
        self.settle()
        call: dict[str, Any] = {"from": self.address, "to": to, "data": HexBytes(data), "value": 0}
        gas = self._gas(call, what, roomy)
        nonce, _ = self._counts()
        fees = self._fees(what, replacing=nonce < self._replace_until)
        body: dict[str, Any] = {"to": to, "data": data, "value": 0, "gas": gas, "nonce": nonce}
        signed = self._account.sign_transaction(body | fees | {"chainId": self._chain_id})
        self._last = nonce, bytes(signed.hash)
        self._broadcast(bytes(signed.raw_transaction), what)
        return self._receipt(bytes(signed.hash), call, what)

    def _counts(self) -> tuple[int, int]:
        """How many transactions of this account are mined, and how many are mined or in flight."""
        with asking("counting transactions"):
            mined = int(self._w3.eth.get_transaction_count(self.address, "latest"))
            pending = int(self._w3.eth.get_transaction_count(self.address, "pending"))
            if not 0 <= mined < 2**63 or not 0 <= pending < 2**63:
                raise ValueError
        if self._last and self._last[0] >= mined and self._known(self._last[1]):
            pending = max(pending, self._last[0] + 1)  # some nodes, such as Ganache, count only what is mined
        return mined, pending

    def _known(self, digest: bytes) -> bool:
        """Whether the node still has a transaction that was sent to it; it may have been restarted since."""
        with asking("looking for a transaction"):
            try:
                self._w3.eth.get_transaction(HexBytes(digest))
            except TransactionNotFound:
                return False
        return True

    def _gas(self, call: dict[str, Any], what: str, roomy: bool) -> int:
        with asking(what):
            estimate = self._w3.eth.estimate_gas(call)  # type: ignore[arg-type]
            if not isinstance(estimate, int) or estimate < 0:
                raise ValueError
        if estimate > MAX_GAS:
            raise ChainError(f"{what} needs {estimate:,} gas; one transaction may use {MAX_GAS:,}")
        return MAX_GAS if roomy else min(MAX_GAS, estimate + estimate // 4 + 20_000)

    def _fees(self, what: str, replacing: bool) -> dict[str, int]:
        with asking(what):
            base = self._w3.eth.get_block("latest").get("baseFeePerGas")
            price = self._w3.eth.gas_price if base is None else 2 * base + self._options.tip
            if not isinstance(price, int) or price < 0:
                raise ValueError
        price, tip = (2 * price, 2 * self._options.tip) if replacing else (price, self._options.tip)
        if price > self._options.max_fee:
            raise ChainError(f"{what}: a unit of gas costs {price:,} wei; the limit is {self._options.max_fee:,}")
        if base is None:
            return {"gasPrice": price}
        return {"type": 2, "maxFeePerGas": price, "maxPriorityFeePerGas": min(tip, price)}

    def _broadcast(self, raw: bytes, what: str) -> None:
        with asking(what):
            try:
                self._w3.eth.send_raw_transaction(HexBytes(raw))
            except Web3RPCError as error:
                message = rpc_message(error)
                if any(text in message.lower() for text in IN_FLIGHT):
                    raise ChainUnavailable(f"{what}: another transaction of {self.address} is in flight") from None
                raise ChainError(f"{what}: the node says: {show(message)}") from None

    def _receipt(self, digest: bytes, call: dict[str, Any], what: str) -> Mined:
        deadline = time.monotonic() + self._options.receipt_timeout
        wait = min(0.02, self._options.poll)
        while True:
            with asking(what):
                try:
                    receipt = self._w3.eth.get_transaction_receipt(HexBytes(digest))
                    mined = Mined(digest, receipt["blockNumber"], receipt["gasUsed"], list(receipt["logs"]))
                    if not isinstance(mined.block, int) or bytes(receipt["transactionHash"]) != digest:
                        raise ValueError
                    break
                except TransactionNotFound:
                    pass
            if time.monotonic() > deadline:
                raise ChainUnavailable(f"{what}: not mined within {self._options.receipt_timeout:g} s")
            time.sleep(wait)
            wait = min(2 * wait, self._options.poll)
        if receipt["status"] != 1:
            self._explain(call, mined.block, what)
        return mined

    def _explain(self, call: dict[str, Any], block: int, what: str) -> None:
        """Raise the reason why a mined transaction failed, found by calling it on the state before its block."""
        with asking(what):
            self._w3.eth.call(call, max(block - 1, 0))  # type: ignore[arg-type]
        raise Reverted(what, "", {})
