"""What a worker tells of its own pace: its looks at the chain, and what it fetches. Too frequent for the log."""

from __future__ import annotations

from dataclasses import dataclass

from offchain.market.money import Units
from offchain.market.view import ChainView
from offchain.worker.events import WorkerEvent


@dataclass(frozen=True, slots=True)
class Looked(WorkerEvent):
    """The chain was read. `moves_due` disputes wait for this account; `held` tasks engage it, of `tasks` that are
    followed; it sits in `seats` committees of keepers that have not paid it. `ether` is what it
    was when last asked for."""

    name = "looked"
    level = None
    seconds: float
    chain_time: int
    free: Units
    ether: Units
    tasks: int
    held: int
    moves_due: int
    seats: int = 0

    @classmethod
    def of(cls, view: ChainView, seconds: float, ether: int) -> Looked:
        due = sum(dispute.mover == view.me for dispute in view.disputes)
        held = sum(view.engaged(task) for task in view.tasks)
        return cls(seconds, view.now, view.free, ether, len(view.tasks), held, due, len(view.seats))


@dataclass(frozen=True, slots=True)
class Fetched(WorkerEvent):
    """A file was asked for: `kind` is "task", "state" or "log"; `size` in bytes, 0 where it did not come."""

    name = "fetched"
    level = None
    kind: str
    came: bool
    seconds: float
    size: int
