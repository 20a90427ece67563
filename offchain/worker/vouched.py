"""What a worker tells of its tickets and claims."""

from __future__ import annotations

from dataclasses import dataclass

from offchain.worker.events import WorkerEvent


@dataclass(frozen=True, slots=True)
class LotDrawn(WorkerEvent):
    """Whether this account's ticket for a checkpoint of an attempt wins; how many fees an audit may earn then."""

    name = "lot drawn"
    task: int
    attempt: int
    checkpoint: int
    won: bool
    fees: int


@dataclass(frozen=True, slots=True)
class ClaimSent(WorkerEvent):
    """This account vouches for a checkpoint that it has replayed."""

    name = "claim"
    task: int
    checkpoint: int
    gas: int


@dataclass(frozen=True, slots=True)
class VouchSent(WorkerEvent):
    """It has shown the end of the log."""

    name = "vouch"
    task: int
    checkpoint: int
    gas: int


@dataclass(frozen=True, slots=True)
class SettleSent(WorkerEvent):
    name = "settle"
    task: int
    checkpoint: int
    gas: int
