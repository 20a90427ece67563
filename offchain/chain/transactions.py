"""Sends an account's transactions: signs them, limits gas and fee, and sees to it that each is mined or replaced.

A transaction that is not mined in time is signed again with the same nonce and a higher fee; one that the node has
dropped is sent again. What is in flight stands in an outbox, which all processes of a worker share.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, Final, Literal, Protocol, cast

from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from hexbytes import HexBytes
from web3 import Web3
from web3.exceptions import TransactionNotFound, Web3RPCError

from offchain.chain.outbox import Flight, Outbox, Sent, in_flight
from offchain.chain.reverts import Reverted, show
from offchain.chain.rpc import Wire, asking, rpc_message
from offchain.errors import ChainError, ChainUnavailable
from offchain.ir.moves import CHARGED

MAX_GAS: Final = CHARGED  # of a transaction; every honest move needs less
SLOTS: Final = 4  # of storage that may be new only because of what is mined, or what time it is, after the estimate
GAS_OF_A_SLOT: Final = 22_100  # EIP-2929 with EIP-2200: a cold slot that was zero
GWEI: Final = 10**9
IN_FLIGHT: Final = ("nonce too low", "correct nonce", "underpriced", "can't be replaced")
KNOWN: Final = ("already known", "known transaction", "already imported")  # this very transaction
CHECK: Final = 1.0  # seconds between two questions whether the node still has a transaction
GIVEN_UP: Final = 1.5  # times the patience, after which a call leaves it to a new look what to send instead
ENDLESS: Final = "Ganache/"  # versions of nodes whose estimates may never end; see `SendOptions.estimate`
LEGACY: Final = -1  # in place of a tip, on chains that know none


@dataclass(frozen=True, slots=True)
class SendOptions:
    """How transactions are sent.

    Attributes:
        max_fee: most that a unit of gas may cost, in wei, whatever the node demands.
        max_fee_dispute: the same for moves in disputes, in which more is at stake.
        tip: for the block's producer, in wei per unit of gas.
        receipt_timeout: seconds after which a transaction that is not mined is replaced at a higher fee; less where
            half of the shortest clock at stake is less, and half of that for moves in disputes.
        poll: seconds between two requests for a receipt.
        estimate: whether the node estimates the gas of what is sent; None: unless it is Ganache. Ganache runs a call
            several times for it, each time on what is mined by then; where that makes the call fail, it never ends and
            never answers.
        outbox: file of what is in flight, shared by the processes that send for the account; None: in memory.
        lane: names this process among them.
    """

    max_fee: int = 500 * GWEI
    max_fee_dispute: int = 2_000 * GWEI
    tip: int = GWEI
    receipt_timeout: float = 30.0
    poll: float = 0.25
    estimate: bool | None = None
    outbox: Path | None = None
    lane: str = "main"


@dataclass(frozen=True, slots=True)
class Mined:
    """A transaction that was mined and did not revert, with its raw log entries."""

    hash: bytes
    block: int
    gas_used: int
    logs: Sequence[Any]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A transaction is still not mined. `age` in seconds, `fee` in wei per unit of gas; `then` is what was done."""

    what: str
    nonce: int
    fee: int
    age: float
    then: Literal["replaced", "sent again"]


@dataclass(frozen=True, slots=True)
class Foreign:
    """Another program sends for this account: a transaction with this nonce was mined that was not sent from here."""

    nonce: int


Watch = Callable[[Waiting | Foreign], None]


class Sender(Protocol):
    """Sends the transactions of one account. A `Signer` does it for workers; tests bring their own."""

    @property
    def address(self) -> ChecksumAddress: ...
    def settle(self) -> None: ...
    def send(self, to: ChecksumAddress, data: bytes, what: str, urgent: bool = False) -> Mined: ...


class Signer:
    """One account's transactions, signed here.

    Attributes:
        clock: shortest clock at stake, in seconds; None: no stake depends on what is sent.
        watch: is told of what is being waited for, and of transactions that others send for this account.
    """

    def __init__(self, w3: Web3, account: LocalAccount, chain_id: int, options: SendOptions) -> None:
        self._w3, self._account, self._chain_id, self._options = w3, account, chain_id, options
        self._wire = cast(Wire, w3.provider)
        self._box = Outbox(options.outbox)
        self._unknown: tuple[int, float] | None = None  # nonce in flight that is not in the outbox, and since when
        self._looked = False
        self._estimating = options.estimate
        self.clock: float | None = None
        self.watch: Watch = lambda event: None

    @property
    def address(self) -> ChecksumAddress:
        address: ChecksumAddress = self._account.address
        return address

    def share(self, outbox: Path, lane: str) -> None:
        """Use this outbox and lane from now on; see `SendOptions`."""
        self._options, self._box = replace(self._options, outbox=outbox, lane=lane), Outbox(outbox)

    def settle(self) -> None:
        """Wait until no transaction of this lane is in flight, be it of an earlier process.

        Those that are not mined in time are given up: the next transactions replace them, at a higher fee. What other
        lanes have in flight is not waited for.
        """
        while True:
            mined, pending = self._counts()
            with self._box.opened() as sent:
                sent.forget(mined)
                own = [flight for flight in sent.flights.values() if flight.lane == self._options.lane]
                end = sent.end
            unknown = self._age_of_unknown(mined, pending, end)
            ages = [time.time() - flight.since for flight in own] + ([] if unknown is None else [unknown])
            if not ages or min(ages) > GIVEN_UP * self._patience(urgent=False):
                return
            self._tend(own, urgent=False)
            time.sleep(self._options.poll)

    def send(self, to: ChecksumAddress, data: bytes, what: str, urgent: bool = False, value: int = 0) -> Mined:
        """Try, sign, send, and wait for the receipt.

        Args:
            urgent: a clock runs out: replace it sooner, and up to the higher fee.
            value: ether that goes with it, in wei.

        Raises:
            Reverted, ChainError: refused (nothing was sent, or it was mined and failed).
            ChainUnavailable: it may or may not have been sent; look at the chain before sending it again.
        """
        self.settle()
        call: dict[str, Any] = {"from": self.address, "to": to, "data": HexBytes(data), "value": value}
        gas = self._gas(call, what)
        flight = self._launch({"to": to, "data": "0x" + data.hex(), "gas": gas, "value": value}, what, urgent)
        with in_flight(what):
            return self._land(flight, call, urgent)

    def _patience(self, urgent: bool) -> float:
        """Seconds after which a transaction is replaced."""
        patience = self._options.receipt_timeout
        if self.clock is not None:
            patience = min(patience, self.clock / 2)
        return patience / 2 if urgent else patience

    def _counts(self) -> tuple[int, int]:
        """How many transactions of this account are mined, and how many are mined or, the node says, in flight."""
        with asking("counting transactions"):
            answers = self._wire.ask([("eth_getTransactionCount", (self.address, at)) for at in ("latest", "pending")])
            mined, pending = (int(answer["result"], 16) for answer in answers)
            if not 0 <= mined < 2**63 or not 0 <= pending < 2**63:
                raise ValueError
        with self._box.opened() as sent:
            foreign = self._looked and sent.next >= 0 and mined > sent.next
            sent.next = max(sent.next, mined)
        self._looked = True
        if foreign:
            self.watch(Foreign(mined - 1))
        return mined, pending

    def _age_of_unknown(self, mined: int, pending: int, end: int) -> float | None:
        """For how long a transaction that is not in the outbox has been in flight; None if there is none."""
        if pending <= max(mined, end):
            self._unknown = None
            return None
        if self._unknown is None or self._unknown[0] < mined:
            self._unknown = pending - 1, time.time()
        return time.time() - self._unknown[1]

    # --- signing

    def _launch(self, body: dict[str, Any], what: str, urgent: bool) -> Flight:
        """Take a nonce, sign, and hand the transaction to the node."""
        mined, pending = self._counts()
        price = self._price(what)
        with self._box.opened() as sent:
            sent.forget(mined)
            nonce = self._nonce(sent, mined, urgent)
            before = sent.flights.get(nonce)
            fee, tip = self._fees(what, price, urgent, before, doubled=before is None and pending > nonce)
            flight = self._signed(Flight(nonce, self._options.lane, what, body, fee, tip, time.time(), 0, "", ()))
            sent.put(flight)
        if before is not None:
            self._tell(before, "replaced")
        try:
            self._broadcast(flight)
        except ChainError:
            with self._box.opened() as sent:
                sent.remove(flight)
            raise
        return flight

    def _nonce(self, sent: Sent, mined: int, urgent: bool) -> int:
        """That of the first transaction that was given up, but no later than the first free one: what a reorganisation
        took away leaves a gap, before which nothing is mined."""
        mine = [flight for _, flight in sorted(sent.flights.items()) if urgent or flight.lane == self._options.lane]
        given_up = (each.nonce for each in mine if time.time() - each.since > self._patience(urgent))
        free = next(nonce for nonce in count(mined) if nonce not in sent.flights)
        return min(free, next(given_up, free))

    def _price(self, what: str) -> tuple[int, int]:
        """What a unit of gas costs now, with room for two doublings of the base fee in a dozen blocks; and the tip."""
        with asking(what):
            base = self._w3.eth.get_block("latest").get("baseFeePerGas")
            price = self._w3.eth.gas_price if base is None else 2 * base + self._options.tip
            if not isinstance(price, int) or price < 0:
                raise ValueError
        return price, LEGACY if base is None else self._options.tip

    def _fees(
        self, what: str, price: tuple[int, int], urgent: bool, before: Flight | None, doubled: bool = False
    ) -> tuple[int, int]:
        """Fee and tip to sign: those of today, and enough to replace the transaction before. Raises ChainError."""
        fee, tip = price
        most = self._options.max_fee_dispute if urgent else self._options.max_fee
        if before is not None:
            fee, tip = max(fee, _raised(before.fee)), max(tip, _raised(before.tip))
            if fee > most >= before.fee + before.fee // 8 + 1:
                fee = most  # less than we would give, and as much as nodes want for a replacement
        elif doubled:  # nobody here knows the fee of what is in flight
            fee, tip = 2 * fee, max(2 * tip, LEGACY)
        if fee > most:
            raise ChainError(f"{what}: a unit of gas costs {fee:,} wei; the limit is {most:,}")
        return fee, min(tip, fee)

    def _signed(self, flight: Flight) -> Flight:
        """The flight with its fees signed, beside what was signed for it before."""
        fees = {"gasPrice": flight.fee}
        if flight.tip != LEGACY:
            fees = {"type": 2, "maxFeePerGas": flight.fee, "maxPriorityFeePerGas": flight.tip}
        body = {"value": 0} | flight.body | fees | {"nonce": flight.nonce, "chainId": self._chain_id}
        signed = self._account.sign_transaction(body)
        digest, raw = "0x" + bytes(signed.hash).hex(), "0x" + bytes(signed.raw_transaction).hex()
        return replace(flight, signed_at=time.time(), raw=raw, hashes=(*flight.hashes, digest))

    def _gas(self, call: dict[str, Any], what: str) -> int:
        with asking(what):
            if not self._estimates():
                self._w3.eth.call(call | {"gas": MAX_GAS})  # type: ignore[arg-type]
                return MAX_GAS
            estimate = self._w3.eth.estimate_gas(call)  # type: ignore[arg-type]
            if not isinstance(estimate, int) or estimate < 0:
                raise ValueError
        if estimate > MAX_GAS:
            raise ChainError(f"{what} needs {estimate:,} gas; one transaction may use {MAX_GAS:,}")
        return min(MAX_GAS, estimate + max(estimate // 4, SLOTS * GAS_OF_A_SLOT))

    def _estimates(self) -> bool:
        if self._estimating is None:
            version = self._wire.ask([("web3_clientVersion", ())])[0].get("result")
            self._estimating = not str(version).startswith(ENDLESS)
        return self._estimating

    def _broadcast(self, flight: Flight) -> None:
        with asking(flight.what):
            try:
                self._w3.eth.send_raw_transaction(HexBytes(flight.raw))
            except Web3RPCError as error:
                message = rpc_message(error)
                if any(text in message.lower() for text in KNOWN):
                    return
                if any(text in message.lower() for text in IN_FLIGHT):
                    text = f"{flight.what}: another transaction of {self.address} is in flight"
                    raise ChainUnavailable(text) from None
                raise ChainError(f"{flight.what}: the node says: {show(message)}") from None

    # --- waiting

    def _land(self, flight: Flight, call: dict[str, Any], urgent: bool) -> Mined:
        """Wait for the receipt of whatever was signed for this flight."""
        began, checked = time.monotonic(), time.monotonic()
        limit, often = GIVEN_UP * self._patience(urgent=False), min(CHECK, self._patience(urgent) / 4)
        wait = min(0.02, self._options.poll)
        while True:
            flight = self._held(flight)
            mined = self._mined(flight, call)
            if mined is not None:
                return mined
            if time.monotonic() - began > limit:
                raise ChainUnavailable(f"{flight.what}: not mined within {limit:g} s")
            if time.monotonic() - checked > often:
                checked = time.monotonic()
                self._watch_over(flight, call, urgent)
            time.sleep(wait)
            wait = min(2 * wait, self._options.poll)

    def _watch_over(self, flight: Flight, call: dict[str, Any], urgent: bool) -> None:
        """Tend it and what must be mined before it. Raises ChainUnavailable if its nonce is another's now."""
        mined, _ = self._counts()
        if mined > flight.nonce:
            if self._mined(flight, call) is None:
                raise ChainUnavailable(f"{flight.what}: another transaction of {self.address} took its place")
            return
        with self._box.opened() as sent:
            before = [other for nonce, other in sorted(sent.flights.items()) if nonce <= flight.nonce]
        self._tend(before, urgent)

    def _held(self, flight: Flight) -> Flight:
        """The flight as it is in the outbox, where another process may have signed it again."""
        with self._box.opened() as sent:
            held = sent.flights.get(flight.nonce)
        return held if held is not None and held.since == flight.since else flight

    def _tend(self, flights: Sequence[Flight], urgent: bool) -> None:
        """Send again what the node does not have; sign those again, at a higher fee, that were not mined in time."""
        questions = [("eth_getTransactionByHash", (flight.hashes[-1],)) for flight in flights]
        answers = self._wire.ask(questions)
        for flight, answer in zip(flights, answers, strict=True):
            late = time.time() - flight.signed_at > self._patience(urgent)
            if answer.get("result") and not late:
                continue
            again = self._raise(flight, urgent) if late else flight
            self._tell(again, "replaced" if again.fee > flight.fee else "sent again")
            with suppress(ChainError, ChainUnavailable):  # the receipt decides, or the next look
                self._broadcast(again)

    def _raise(self, flight: Flight, urgent: bool) -> Flight:
        """Sign it again at a higher fee, if the limit allows; whoever holds the outbox first does."""
        try:
            fee, tip = self._fees(flight.what, self._price(flight.what), urgent, flight)
        except ChainError:
            fee, tip = flight.fee, flight.tip
        with self._box.opened() as sent:
            held = sent.flights.get(flight.nonce)
            if held != flight:
                return held or flight
            if fee > flight.fee:
                again = self._signed(replace(flight, fee=fee, tip=tip))
            else:
                again = replace(flight, signed_at=time.time())
            sent.put(again)
        return again

    def _tell(self, flight: Flight, then: Literal["replaced", "sent again"]) -> None:
        self.watch(Waiting(flight.what, flight.nonce, flight.fee, time.time() - flight.since, then))

    def _mined(self, flight: Flight, call: dict[str, Any]) -> Mined | None:
        """None while it is not mined. Raises Reverted if it failed."""
        answers = self._wire.ask([("eth_getTransactionReceipt", (digest,)) for digest in flight.hashes])
        digest = next((d for d, answer in zip(flight.hashes, answers, strict=True) if answer.get("result")), None)
        if digest is None:
            return None
        with asking(flight.what):
            try:
                receipt = self._w3.eth.get_transaction_receipt(HexBytes(digest))
            except TransactionNotFound:
                return None
            mined = Mined(bytes(HexBytes(digest)), receipt["blockNumber"], receipt["gasUsed"], list(receipt["logs"]))
            if not isinstance(mined.block, int) or bytes(receipt["transactionHash"]) != mined.hash:
                raise ValueError
        with self._box.opened() as sent:
            sent.forget(flight.nonce + 1)
        if receipt["status"] != 1:
            self._explain(call, mined.block, flight.what)
        return mined

    def _explain(self, call: dict[str, Any], block: int, what: str) -> None:
        """Raise the reason why a mined transaction failed, found by calling it on the state before its block."""
        with asking(what):
            self._w3.eth.call(call, max(block - 1, 0))  # type: ignore[arg-type]
        raise Reverted(what, "", {})


def _raised(fee: int) -> int:
    """A quarter more: nodes want an eighth for a replacement."""
    return fee if fee == LEGACY else fee + fee // 4 + 1
