"""What a worker has noted about tasks, beside what the chain says: read by roles, kept in its database."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Needs:
    """What a task asks of this worker's machine while it is held, measured there, with headroom.

    Attributes:
        memory: bytes of the two processes that compute and defend it.
        interval_seconds: of computing an interval.
        dispute_seconds: of a dispute: replaying an interval, tracing a step, moving.
    """

    memory: int
    interval_seconds: float
    dispute_seconds: float


@dataclass(frozen=True, slots=True)
class OwnBid:
    """A bid of this worker for an attempt at a task, and the salt that hides it until it is revealed.

    Attributes:
        price: in the token's smallest unit, for all that is left of the task.
        promised: seconds per full interval.
        salt: 32 bytes that nobody else knows.
    """

    attempt: int
    price: int
    promised: int
    salt: bytes


@dataclass(frozen=True, slots=True)
class TaskNotes:
    """Notes about one task.

    Attributes:
        fit: whether this worker would take the task; None until its file was fetched and tried.
        resting: whether the last try failed for a reason that may pass, and it is too early for another.
        needs: of a task that is fit.
        trained: checkpoint -> root that this worker computed.
        audited: checkpoint -> whether the root on chain is right.
        lots: checkpoint -> whether this account is drawn to audit it.
        ready: checkpoints whose end of the log this worker knows, so that it can vouch for them.
        kept: checkpoints that this account keeps, and has signed for as a member of the running committee.
        bid: the last bid for it.
        disputed: checkpoints that this worker opened a dispute about.
    """

    fit: bool | None = None
    resting: bool = False
    needs: Needs | None = None
    trained: Mapping[int, bytes] = field(default_factory=dict)
    audited: Mapping[int, bool] = field(default_factory=dict)
    lots: Mapping[int, bool] = field(default_factory=dict)
    ready: frozenset[int] = frozenset()
    kept: frozenset[int] = frozenset()
    disputed: frozenset[int] = frozenset()
    bid: OwnBid | None = None


Notes = Mapping[int, TaskNotes]  # by the task's id
