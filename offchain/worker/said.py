"""What the contracts say in answer to a worker's own transactions, as events of the worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from offchain.market.money import Units
from offchain.market.view import Address, Status
from offchain.worker.events import WorkerEvent


@dataclass(frozen=True, slots=True)
class Revealed(WorkerEvent):
    """A bid was shown; its score is price and burden."""

    name = "revealed"
    task: int
    bidder: Address
    price: Units
    promised: int
    burden: Units


@dataclass(frozen=True, slots=True)
class Awarded(WorkerEvent):
    name = "awarded"
    task: int
    solver: Address
    price: Units
    standby: Address


@dataclass(frozen=True, slots=True)
class TookOver(WorkerEvent):
    name = "took over"
    task: int
    solver: Address
    price: Units


@dataclass(frozen=True, slots=True)
class Reopened(WorkerEvent):
    name = "reopened"
    task: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Paid(WorkerEvent):
    """`index` is the checkpoint that was paid for; `withheld` is what its lateness cost."""

    name = "paid"
    task: int
    index: int
    solver: Address
    amount: Units
    withheld: Units
    fee: Units


@dataclass(frozen=True, slots=True)
class Stalled(WorkerEvent):
    name = "stalled"
    task: int
    solver: Address
    burned: Units


@dataclass(frozen=True, slots=True)
class Vacated(WorkerEvent):
    """The solver failed; `standby` may take over."""

    name = "vacated"
    task: int
    attempt: int
    standby: Address


@dataclass(frozen=True, slots=True)
class Ended(WorkerEvent):
    """`how`: the status of the task from now on. `refunded` went back to the requester."""

    name = "ended"
    task: int
    how: str
    refunded: Units


@dataclass(frozen=True, slots=True)
class ClaimSettled(WorkerEvent):
    """A claim was paid its fees, lost its bond, or neither."""

    name = "claim settled"
    task: int
    checkpoint: int
    verifier: Address
    earned: bool
    forfeited: bool
    fees: int


# by contract and event, in answer to own transactions; the vault has a `Paid` of its own
SAID: Final[dict[tuple[str, str], Callable[[Mapping[str, Any]], WorkerEvent]]] = {
    ("auction", "Revealed"): lambda a: Revealed(a["taskId"], a["bidder"], a["price"], a["promised"], a["burden"]),
    ("market", "Awarded"): lambda a: Awarded(a["taskId"], a["solver"], a["price"], a["standby"]),
    ("market", "TookOver"): lambda a: TookOver(a["taskId"], a["solver"], a["price"]),
    ("market", "Reopened"): lambda a: Reopened(a["taskId"], a["attempt"]),
    ("market", "Paid"): lambda a: Paid(a["taskId"], a["index"], a["solver"], a["amount"], a["withheld"], a["fee"]),
    ("market", "Stalled"): lambda a: Stalled(a["taskId"], a["solver"], a["burned"]),
    ("market", "Vacated"): lambda a: Vacated(a["taskId"], a["attempt"], a["standby"]),
    ("auditor", "Settled"): lambda a: ClaimSettled(
        a["taskId"], a["checkpoint"], a["verifier"], a["earned"], a["forfeited"], a["fees"]
    ),
    ("market", "Ended"): lambda a: Ended(a["taskId"], Status(a["how"]).name.lower(), a["refunded"]),
}
