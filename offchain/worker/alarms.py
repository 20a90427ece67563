"""What an operator must hear of its money: events of their own, at the levels of warnings and errors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from offchain.market.money import Units
from offchain.worker.events import WorkerEvent

LossKind = Literal["deadline", "conviction", "bid", "dispute", "keeping"]


@dataclass(frozen=True, slots=True)
class LowEther(WorkerEvent):
    """The account's ether pays for few moves in disputes at the present fee. Who cannot move loses stake or bond."""

    name = "low ether"
    level = "warning"
    ether: Units
    moves: int
    least: int


@dataclass(frozen=True, slots=True)
class AddressUnfit(WorkerEvent):
    """Others cannot fetch from the address that this worker announces. Who serves nothing is not paid in the end."""

    name = "address"
    level = "warning"
    url: str
    why: str


@dataclass(frozen=True, slots=True)
class LowVault(WorkerEvent):
    """Less is free in the vault than is needed. `what` for."""

    name = "low vault"
    level = "warning"
    free: Units
    needed: Units
    what: str


@dataclass(frozen=True, slots=True)
class NotDrawn(WorkerEvent):
    """A verifier that is drawn for no audit and no committee: it replays for nothing but the frauds that it finds."""

    name = "not drawn"
    level = "warning"
    why: str
    remedy: str


@dataclass(frozen=True, slots=True)
class FraudUnanswered(WorkerEvent):
    """A checkpoint is false, and this account lacks the bond to dispute it. Told again until that changes."""

    name = "fraud unanswered"
    level = "error"
    task: int
    checkpoint: int
    bond: Units
    free: Units
    seconds_left: int


@dataclass(frozen=True, slots=True)
class Outbid(WorkerEvent):
    """A task for which this account has shown a bid went to another. `stands_by`: it is the runner-up."""

    name = "outbid"
    task: int
    solver: str
    price: Units
    stands_by: bool


@dataclass(frozen=True, slots=True)
class Lost(WorkerEvent):
    """Money of this account is gone. `how` it came to that, of which `kind` is one word."""

    name = "lost"
    level = "error"
    task: int
    kind: LossKind
    how: str
    amount: Units
