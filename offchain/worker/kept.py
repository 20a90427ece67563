"""What a worker tells of checkpoints that are kept: by itself, and by those who keep its own."""

from __future__ import annotations

from dataclasses import dataclass

from offchain.market.money import Units
from offchain.market.view import Address
from offchain.worker.events import WorkerEvent


@dataclass(frozen=True, slots=True)
class Keeps(WorkerEvent):
    """As a member of a committee it has a checkpoint and those before it, serves them, and has signed for that."""

    name = "keeps"
    task: int
    attempt: int
    committee: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class SeatSent(WorkerEvent):
    """A committee has sat down: so many members keep the checkpoints."""

    name = "seat"
    task: int
    members: int
    gas: int


@dataclass(frozen=True, slots=True)
class AttestSent(WorkerEvent):
    """So many members have signed for checkpoints up to this one."""

    name = "attest"
    task: int
    checkpoint: int
    members: int
    gas: int


@dataclass(frozen=True, slots=True)
class FalseSignature(WorkerEvent):
    """One of the keepers' signatures is false: all are asked for again, and each is checked."""

    name = "false signature"
    level = "warning"
    task: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class AcknowledgeSent(WorkerEvent):
    """The requester has the checkpoints up to this one."""

    name = "acknowledge"
    task: int
    checkpoint: int
    gas: int


@dataclass(frozen=True, slots=True)
class ObjectionSent(WorkerEvent):
    """Others have signed for a checkpoint which this keeper cannot have from anybody."""

    name = "objection"
    level = "warning"
    task: int
    checkpoint: int
    gas: int


@dataclass(frozen=True, slots=True)
class RecallSent(WorkerEvent):
    """The second committee was called."""

    name = "recall"
    task: int
    gas: int


@dataclass(frozen=True, slots=True)
class ObjectionSettled(WorkerEvent):
    """The bond of an objection is back."""

    name = "objection settled"
    task: int
    attempt: int
    gas: int


@dataclass(frozen=True, slots=True)
class ShowSent(WorkerEvent):
    """It has shown that it holds what somebody else could not have."""

    name = "show"
    task: int
    attempt: int
    gas: int


@dataclass(frozen=True, slots=True)
class DenounceSent(WorkerEvent):
    """A keeper had signed for what this one could not have, and did not show it: so much of its stake is burned."""

    name = "denounce"
    task: int
    attempt: int
    keeper: Address
    amount: Units
    gas: int


@dataclass(frozen=True, slots=True)
class RewardSent(WorkerEvent):
    """Keeping was paid."""

    name = "reward"
    task: int
    attempt: int
    committee: int
    amount: Units
    gas: int


@dataclass(frozen=True, slots=True)
class RewardLeft(WorkerEvent):
    """Keeping earned less than the gas of taking it costs. It stays due, and is looked at again after a start."""

    name = "reward left"
    task: int
    attempt: int
    committee: int
    amount: Units
