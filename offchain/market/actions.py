"""What a role may ask its runner to do. Work (Fetch, Train, Audit) happens here, the rest on chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch, verify and check the task's file; remember the verdict."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Bid:
    task_id: int
    price: int


@dataclass(frozen=True, slots=True)
class Award:
    task_id: int


@dataclass(frozen=True, slots=True)
class Train:
    """Work towards a checkpoint for a bounded time; when it is reached, store and serve it, and remember its root."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Commit:
    task_id: int
    checkpoint: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Collect:
    task_id: int


@dataclass(frozen=True, slots=True)
class Stall:
    task_id: int


@dataclass(frozen=True, slots=True)
class Audit:
    """Replay an interval for a bounded time; when done, remember whether its root is right."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class OpenDispute:
    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Defend:
    """The solver's next move in a dispute."""

    dispute_id: int


@dataclass(frozen=True, slots=True)
class Challenge:
    """The challenger's next move in a dispute."""

    dispute_id: int


@dataclass(frozen=True, slots=True)
class Timeout:
    dispute_id: int


@dataclass(frozen=True, slots=True)
class Dismiss:
    dispute_id: int


Action = (
    Fetch
    | Bid
    | Award
    | Train
    | Commit
    | Collect
    | Stall
    | Audit
    | OpenDispute
    | Defend
    | Challenge
    | Timeout
    | Dismiss
)


@dataclass(frozen=True, slots=True)
class Move:
    """A call of IDisputeGame: function name and its arguments after the dispute's id."""

    function: str
    args: tuple[Any, ...]
