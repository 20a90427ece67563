"""What happens in a worker, one frozen type per event. The log, the terminal and the demo read them.

`name` is what the log calls an event: other processes read it there, so it does not change with the class's name.
Fields of type `Units` are money; the log shows them in whole tokens, or coins; those of type `GasPrice` in gwei. `gas`
is in units of gas, `retry_in` in seconds; roots are 32 bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal

from offchain.market.money import GasPrice, Units

Purpose = Literal["train", "audit"]


@dataclass(frozen=True, slots=True)
class WorkerEvent:
    """Anything that is worth telling. `level` is that of its line in the log; None writes no line."""

    name: ClassVar[str]
    level: ClassVar[str | None] = "info"

    def facts(self) -> dict[str, Any]:
        """Its fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


Tell = Callable[[WorkerEvent], None]


# --- the process


@dataclass(frozen=True, slots=True)
class Started(WorkerEvent):
    """`blobs` is the URL that checkpoints are served at; empty: they are not served."""

    name = "started"
    roles: tuple[str, ...]
    blobs: str


@dataclass(frozen=True, slots=True)
class Stopped(WorkerEvent):
    name = "stopped"


@dataclass(frozen=True, slots=True)
class SetAside(WorkerEvent):
    """The worker's database was damaged. It lies under another name now; a new one begins with what its copy knew."""

    name = "database set aside"
    level = "error"
    file: str


@dataclass(frozen=True, slots=True)
class Failed(WorkerEvent):
    """An action failed, for a reason that was not told before; it will be tried again."""

    name = "failed"
    level = "warning"
    action: str
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class Overtaken(WorkerEvent):
    """Somebody else did first what this worker wanted to do, and anybody may do."""

    name = "overtaken"
    level = "debug"
    action: str
    answer: str


@dataclass(frozen=True, slots=True)
class Draining(WorkerEvent):
    """It takes nothing new, and ends once it holds nothing. `begins` is False where the operator took that back."""

    name = "draining"
    begins: bool
    holds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Drained(WorkerEvent):
    """It holds nothing, and ends."""

    name = "drained"


@dataclass(frozen=True, slots=True)
class ChainSilent(WorkerEvent):
    name = "chain unavailable"
    level = "warning"
    error: str
    retry_in: float


@dataclass(frozen=True, slots=True)
class DefenceStarted(WorkerEvent):
    """The process that plays this worker's disputes reads the chain."""

    name = "defence started"


@dataclass(frozen=True, slots=True)
class DefenceLost(WorkerEvent):
    """The process that plays this worker's disputes ended by itself; it is started again."""

    name = "defence lost"
    level = "error"
    why: str
    retry_in: float


# --- own transactions


@dataclass(frozen=True, slots=True)
class InFlight(WorkerEvent):
    """A transaction was not mined in time, or the node had lost it. `age` in seconds."""

    name = "in flight"
    level = "warning"
    what: str
    nonce: int
    fee: GasPrice
    age: float
    then: str


@dataclass(frozen=True, slots=True)
class AccountShared(WorkerEvent):
    """Another program sends for this account. Two workers of one account undo each other's work, and lose stakes."""

    name = "account shared"
    level = "warning"
    nonce: int


# --- computing


@dataclass(frozen=True, slots=True)
class TaskFit(WorkerEvent):
    """A task's file was checked, and this worker would take the task. `why` names the seconds of a step."""

    name = "fit"
    task: int
    why: str


@dataclass(frozen=True, slots=True)
class TaskUnfit(WorkerEvent):
    """This worker does not take a task: for good, or, where the reason may lie elsewhere, until it is tried again."""

    name = "unfit"
    task: int
    why: str
    retry_in: float | None = None


@dataclass(frozen=True, slots=True)
class Declined(WorkerEvent):
    """This worker leaves a task alone. `kind`, of which one is told for a task, `why` and `change`: see `Reason`."""

    name = "declined"
    task: int
    kind: str
    why: str
    change: str


@dataclass(frozen=True, slots=True)
class Computing(WorkerEvent):
    """Training, or the replay of an audit, begins at a state that this worker has."""

    name = "computing"
    task: int
    purpose: Purpose
    checkpoint: int
    from_step: int


@dataclass(frozen=True, slots=True)
class Progress(WorkerEvent):
    """`steps` of the task are computed, out of `of`. Too frequent for the log."""

    name = "progress"
    level = None
    task: int
    purpose: Purpose
    steps: int
    of: int


@dataclass(frozen=True, slots=True)
class Trained(WorkerEvent):
    name = "trained"
    task: int
    checkpoint: int
    root: bytes


@dataclass(frozen=True, slots=True)
class Audited(WorkerEvent):
    """`claimed` is the root on chain, `computed` this worker's; empty where a step that outputs something else than its
    solver says was enough."""

    name = "audited"
    task: int
    checkpoint: int
    right: bool
    claimed: bytes
    computed: bytes


@dataclass(frozen=True, slots=True)
class NotJudged(WorkerEvent):
    name = "not judged"
    task: int
    checkpoint: int
    why: str


# --- own transactions to the market


@dataclass(frozen=True, slots=True)
class BidSent(WorkerEvent):
    """A sealed bid: nobody else sees price and promise yet."""

    name = "bid"
    task: int
    price: Units
    promised: int
    gas: int


@dataclass(frozen=True, slots=True)
class RevealSent(WorkerEvent):
    name = "reveal"
    task: int
    gas: int


@dataclass(frozen=True, slots=True)
class BidSettled(WorkerEvent):
    """A bid that was not shown locks its bond no more. `returned`: of the bond; 0: it burned."""

    name = "bid settled"
    task: int
    attempt: int
    returned: Units
    gas: int


@dataclass(frozen=True, slots=True)
class TakeOverSent(WorkerEvent):
    name = "take over"
    task: int
    gas: int


@dataclass(frozen=True, slots=True)
class ReopenSent(WorkerEvent):
    name = "reopen"
    task: int
    gas: int


@dataclass(frozen=True, slots=True)
class AwardSent(WorkerEvent):
    name = "award"
    task: int
    gas: int


@dataclass(frozen=True, slots=True)
class CommitSent(WorkerEvent):
    name = "commit"
    task: int
    checkpoint: int
    root: bytes
    gas: int


@dataclass(frozen=True, slots=True)
class CollectSent(WorkerEvent):
    name = "collect"
    task: int
    gas: int


@dataclass(frozen=True, slots=True)
class StallSent(WorkerEvent):
    name = "stall"
    task: int
    gas: int


# --- disputes


@dataclass(frozen=True, slots=True)
class Challenged(WorkerEvent):
    """This worker opened a dispute."""

    name = "challenged"
    task: int
    checkpoint: int
    dispute: int


@dataclass(frozen=True, slots=True)
class DisputeSeen(WorkerEvent):
    """A dispute runs in which this worker is on that side."""

    name = "dispute"
    dispute: int
    task: int
    checkpoint: int
    side: Literal["solver", "challenger"]


@dataclass(frozen=True, slots=True)
class Moved(WorkerEvent):
    """This worker's move. `lo` and `hi` bound the steps that are still disputed."""

    name = "move"
    dispute: int
    phase: str
    function: str
    lo: int
    hi: int
    gas: int


@dataclass(frozen=True, slots=True)
class NothingToName(WorkerEvent):
    """The challenger found nothing wrong in what the solver revealed, for the `times`-th time in a row."""

    name = "nothing wrong"
    dispute: int
    phase: str
    times: int


@dataclass(frozen=True, slots=True)
class DisputeOver(WorkerEvent):
    name = "dispute over"
    dispute: int
    won: bool
    dismissed: bool


@dataclass(frozen=True, slots=True)
class DisputeEnded(WorkerEvent):
    """A transaction of this worker's that ends a dispute, or what is left of it."""

    dispute: int
    gas: int


@dataclass(frozen=True, slots=True)
class TimedOut(DisputeEnded):
    """The other side's clock had run out."""

    name = "timeout"


@dataclass(frozen=True, slots=True)
class Dismissed(DisputeEnded):
    """The task had ended; the bond is free again."""

    name = "dismiss"


@dataclass(frozen=True, slots=True)
class Conceded(DisputeEnded):
    name = "concede"
