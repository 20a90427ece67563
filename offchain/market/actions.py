"""What a role may ask the worker to do. Fetch, Prepare, Decline, Accuse, Train and Audit happen on this machine, all
else on chain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch the task's file, verify and check it; note whether this worker would take the task."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Prepare:
    """Have a task ready to be computed, which this account is about to get."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Bid:
    """Commit to a bid, for all that is left of the task; `promised` seconds per full interval."""

    task_id: int
    price: int
    promised: int


@dataclass(frozen=True, slots=True)
class Reveal:
    """Show the bid that was committed."""

    task_id: int


@dataclass(frozen=True, slots=True)
class SettleBid:
    """End an own bid that was not shown in time: its bond burns, or comes back if the requester has cancelled."""

    task_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class TakeOver:
    """Train the rest of a task whose solver failed, as its standby."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Reopen:
    """Let solvers bid for the rest of a task whose solver failed."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a task is left alone.

    Attributes:
        kind: one word; of each kind a worker tells one reason for a task.
        why: what the task asks for, and what this account or this machine has.
        change: what would change it.
    """

    kind: str
    why: str
    change: str

    def __str__(self) -> str:
        return f"{self.why}; {self.change}"


@dataclass(frozen=True, slots=True)
class Decline:
    """Tell why a task is left alone."""

    task_id: int
    reason: Reason


@dataclass(frozen=True, slots=True)
class Accuse:
    """Tell that a checkpoint is false, and that there is no bond to dispute it with."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Award:
    task_id: int


@dataclass(frozen=True, slots=True)
class Train:
    """Compute towards a checkpoint for a bounded time; once it is reached, store and serve it, and note its root."""

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
    """Replay an interval for a bounded time; at its end, note whether its root is right."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class DrawLot:
    """Look whether this account's ticket for a checkpoint wins, and note it."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Claim:
    """Vouch for a checkpoint that was replayed: commit to the end of its log."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Vouch:
    """Show the end of the log that was committed to."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class SettleClaim:
    """End a claim whose fate is known; `verifier`: whose it is, "" for one's own."""

    task_id: int
    attempt: int
    checkpoint: int
    verifier: str = ""


@dataclass(frozen=True, slots=True)
class Keep:
    """Fetch a committed checkpoint, check it, keep and serve it, and sign that it can be had here."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Seat:
    """Find out who sits on the running committee."""

    task_id: int


@dataclass(frozen=True, slots=True)
class Attest:
    """Gather keepers' signatures for a checkpoint and those before it; once there are enough, send them as one."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """Fetch a checkpoint, as the requester, and say that it and those before it can be had."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class ObjectTo:
    """Say, as a member of the first committee, that a checkpoint cannot be had, whatever others have signed."""

    task_id: int
    checkpoint: int


@dataclass(frozen=True, slots=True)
class Recall:
    """Call the second committee."""

    task_id: int


@dataclass(frozen=True, slots=True)
class SettleObjection:
    """Take back the bond of an objection."""

    task_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class ShowKept:
    """Show the chunk that was drawn of a checkpoint that somebody said cannot be had, where that is due."""

    task_id: int
    attempt: int


@dataclass(frozen=True, slots=True)
class Denounce:
    """Burn a bond of the stake of a member, by its place, that signed for what was lost and has not shown it."""

    task_id: int
    attempt: int
    place: int


@dataclass(frozen=True, slots=True)
class Reward:
    """Take what was earned as a member of a committee of an attempt that is over."""

    task_id: int
    attempt: int
    committee: int


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
    | Prepare
    | Bid
    | Reveal
    | SettleBid
    | TakeOver
    | Reopen
    | Decline
    | Accuse
    | Award
    | Train
    | Commit
    | Collect
    | Stall
    | Audit
    | DrawLot
    | Claim
    | Vouch
    | SettleClaim
    | Keep
    | Seat
    | Attest
    | Acknowledge
    | ObjectTo
    | Recall
    | SettleObjection
    | ShowKept
    | Denounce
    | Reward
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
