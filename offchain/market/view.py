"""What a role sees: frozen snapshots of the chain at one block, read by `offchain.chain.reader`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

from offchain.commit.merkle import Position
from offchain.errors import BadInput
from offchain.market.keeping import Denial, Keeping, Member
from offchain.market.money import part_down

Address = str  # checksummed


SOLVER: Final = 1  # IWorkerRegistry's mask of roles
VERIFIER: Final = 2
NOBODY: Final = "0x" + "0" * 40
PAID_PER_CALL: Final = 64  # TaskMarket.MAX_PAID_PER_CALL: the most intervals that one `collect` or `stall` pays


class Status(IntEnum):
    """ITaskMarket.Status."""

    NONE = 0
    BIDDING = 1
    TRAINING = 2
    VACANT = 3
    COMPLETED = 4
    SLASHED = 5
    STALLED = 6
    CANCELLED = 7

    @property
    def ended(self) -> bool:
        return self >= Status.COMPLETED


@dataclass(frozen=True, slots=True)
class Terms:
    """ITermLimits.Terms: money in the token's smallest unit, durations in seconds, shares in 1/10,000."""

    graph_root: bytes
    state_root: bytes
    steps: int
    interval: int
    interval_time: int
    challenge_window: int
    max_price: int
    stake: int
    bond: int
    urgency: int
    clock: int
    bidding_time: int
    reveal_time: int
    handover_time: int
    risk_bps: int
    attempts: int
    keepers: int  # seats of a committee that keeps the checkpoints; 0: the requester fetches them itself
    audit_fee: int  # of which a verifier's ticket wins one or more, or none
    audit_rate_bps: int  # fees to expect per checkpoint
    keeper_bps: int  # what all seats share, of the pay and beside it
    uri: str

    @property
    def intervals(self) -> int:
        return -(-self.steps // self.interval)

    @property
    def deterred(self) -> tuple[int, int, int, int]:
        """What the stake rule looks at, in the order of ITermLimits.requiredStake."""
        return self.max_price, self.steps, self.interval, self.audit_rate_bps

    @property
    def bonded(self) -> tuple[int, int, int, int]:
        """What the least and the largest bond follow from, in the order of ITermLimits.requiredBond."""
        return self.stake, self.max_price, self.steps, self.interval

    @property
    def audits(self) -> tuple[int, int, int]:
        """What a budget for audits follows from, in the order of IAuditor.bill."""
        return self.intervals, self.audit_fee, self.audit_rate_bps

    def steps_of(self, checkpoint: int) -> tuple[int, int]:
        """[lo, hi): the steps that lead to a checkpoint."""
        return checkpoint * self.interval, min((checkpoint + 1) * self.interval, self.steps)


@dataclass(frozen=True, slots=True)
class CheckpointView:
    """ICheckpointLog.Checkpoint, and the URI of its event. Times are timestamps."""

    root: bytes
    committed_at: int
    challengeable_until: int
    holds: int
    uri: str
    attempt: int = 0
    defended: int = 0  # seconds of its attempt that disputes had taken by then

    @property
    def claimable_until(self) -> int:
        """Last timestamp at which a verifier may vouch for it: IAuditor.claimableUntil."""
        return (self.committed_at + self.challengeable_until) // 2


@dataclass(frozen=True, slots=True)
class TaskView:
    """ITaskMarket.Task with its terms, its checkpoints, and the two best bids that were revealed."""

    id: int
    terms: Terms
    requester: Address
    solver: Address  # the last one; NOBODY before the award
    status: Status
    bidding_ends: int
    awarded_at: int  # or taken over
    price: int  # for what was left when the attempt began
    paid: int
    checkpoints: tuple[CheckpointView, ...]
    attempt: int = 0  # of the next solver while there is none
    first: int = 0  # interval with which the attempt begins
    promised: int = 0  # seconds per full interval
    defended: int = 0  # seconds that disputes took which the solver won
    late: int = 0
    standby: Address = NOBODY  # while bidding, whose revealed bid is the second
    handover_ends: int = 0
    leader: Address = NOBODY  # of the revealed bids, while bidding
    keeping: Keeping | None = None  # of the running attempt; None where the terms ask for no keepers

    @property
    def reveal_ends(self) -> int:
        return self.bidding_ends + self.terms.reveal_time

    @property
    def reserve(self) -> int:
        """The most that may be bid for what is left."""
        left = self.terms.steps - self.terms.steps_of(self.paid)[0]
        return part_down(self.terms.max_price, left, self.terms.steps)

    def waits_for(self, account: Address, now: int) -> bool:
        """Whether that account is the standby, and may take over."""
        return self.status is Status.VACANT and self.standby == account and now <= self.handover_ends

    def forsaken(self, now: int) -> bool:
        """Whether there is no solver, and no standby may come."""
        return self.status is Status.VACANT and (self.standby == NOBODY or now > self.handover_ends)

    def deadline(self, checkpoint: int) -> int:
        """Last timestamp at which that checkpoint may be committed."""
        return self.awarded_at + (checkpoint + 1 - self.first) * self.terms.interval_time + self.defended

    def challengeable(self, checkpoint: int, now: int) -> bool:
        return now <= self.checkpoints[checkpoint].challengeable_until

    def committed(self, attempt: int, checkpoint: int) -> CheckpointView | None:
        """The checkpoint as that attempt committed it; None: it is void."""
        point = self.checkpoints[checkpoint] if checkpoint < len(self.checkpoints) else None
        return point if point is not None and point.attempt == attempt else None

    def final(self, checkpoint: int, now: int) -> bool:
        point = self.checkpoints[checkpoint]
        return not point.holds and not self.challengeable(checkpoint, now) and self.available(checkpoint)

    @property
    def windows_end(self) -> int:
        """Last timestamp at which any of its checkpoints can be challenged; one that came late may be the last."""
        return max((point.challengeable_until for point in self.checkpoints), default=0)

    def available(self, checkpoint: int) -> bool:
        """Whether keepers, or the requester, have said that it can be had."""
        return self.keeping is None or checkpoint < max(self.paid, self.keeping.available)

    def unshown(self, checkpoint: int, now: int) -> bool:
        """Whether a claim whose log was not shown may be settled."""
        if self.challengeable(checkpoint, now) or not self.available(checkpoint):
            return False
        return checkpoint < self.paid or self.keeping is None or not self.keeping.granted

    def lost(self, now: int) -> bool:
        """Whether a checkpoint is not available, and the time of the second committee is over: IKeepers.isLost."""
        keeping = self.keeping
        if keeping is None or not keeping.called_at or keeping.available >= len(self.checkpoints):
            return False
        ends = self.checkpoints[keeping.kept].challengeable_until, keeping.called_at + self.terms.challenge_window
        return now > max(ends)


class Phase(IntEnum):
    """IDispute.Phase."""

    NONE = 0
    REVEAL_STEPS = 1
    NAME_STEP = 2
    REVEAL_TRACE = 3
    NAME_TRACE = 4
    REVEAL_CHILDREN = 5
    NAME_CHILD = 6
    REVEAL_CHUNKS = 7
    REVEAL_CHUNK = 8
    NAME_ELEMENT = 9
    REVEAL_WITNESS = 10
    REVEAL_SUMS = 11
    NAME_SUM = 12
    REVEAL_EXPONENT = 13
    RESOLVED = 14

    @property
    def running(self) -> bool:
        return Phase.NONE < self < Phase.RESOLVED


class TreeName(IntEnum):
    """IDispute.Tree."""

    NODES = 0
    SLOTS = 1
    CHUNKS = 2


@dataclass(frozen=True, slots=True)
class Reveal:
    """Hashes that the solver revealed below one position of a tree."""

    tree: TreeName
    position: Position
    children: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class DisputeView:
    """IDispute.Dispute, and what the solver has revealed where it stands, in this dispute or in another one."""

    id: int
    task_id: int
    attempt: int
    checkpoint: int
    challenger: Address
    solver: Address
    phase: Phase
    tree: TreeName
    lo: int
    hi: int
    conceded: bytes
    claimed: bytes
    position: Position
    node: int
    element: int
    word: int
    segment: tuple[int, int]
    exponents: tuple[int, int]  # claimed, of a sum's operands; 0 where there is no second one
    operand: int  # whose exponent is contested
    mover: Address
    deadline: int  # of the mover, timestamp
    revealed: bool = False  # the solver is on the move, and has revealed in another dispute what is due here
    step_roots: tuple[bytes, ...] = ()  # between lo and hi, where one of them is to be named
    reveals: tuple[Reveal, ...] = ()  # in the trees of step lo
    chunk: bytes = b""  # of which an element is to be named
    sums: tuple[int, ...] = ()  # of which one is to be named


@dataclass(frozen=True, slots=True)
class Fees:
    """What a deployment takes of everybody: ITermLimits.Limits, IAuction.bidBond and IAuditor.auditBond."""

    bid_bond: int = 0
    fee_bps: int = 0
    audit_bond: int = 0
    standby_bps: int = 0


@dataclass(frozen=True, slots=True)
class ChainView:
    """Everything a role may look at, at one block."""

    me: Address
    now: int  # timestamp of the block
    free: int  # my free balance in the vault
    registered: bool
    tasks: tuple[TaskView, ...]
    disputes: tuple[DisputeView, ...]  # running ones
    gas_price: int = 0  # wei, as the node sees it
    opened: frozenset[tuple[int, int, int]] = frozenset()  # (task, attempt, checkpoint) of all disputes that I opened
    sealed: frozenset[tuple[int, int]] = frozenset()  # (task, attempt) of my bids that are not revealed
    fees: Fees = Fees()
    claims: Mapping[tuple[int, int, int], bool] = field(default_factory=dict)  # mine that are open: see Followed.claims
    committees: Mapping[tuple[int, int, int], tuple[Member, ...]] = field(
        default_factory=dict
    )  # by task, attempt, 0 or 1
    seats: frozenset[tuple[int, int, int]] = frozenset()  # those of them on which I sit, and was not paid
    objections: frozenset[tuple[int, int]] = frozenset()  # attempts of which I say that a checkpoint cannot be had
    denied: frozenset[tuple[int, int]] = frozenset()  # attempts in which I may have to show what I signed for
    denials: Mapping[tuple[int, int], Denial] = field(default_factory=dict)  # what came of objections of mine
    theirs: Mapping[tuple[int, int, int, Address], bool] = field(default_factory=dict)  # of others, on my tasks
    _tasks: Mapping[int, TaskView] = field(init=False, repr=False, compare=False)
    _disputes: Mapping[int, DisputeView] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_tasks", {task.id: task for task in self.tasks})
        object.__setattr__(self, "_disputes", {dispute.id: dispute for dispute in self.disputes})

    def __contains__(self, task_id: int) -> bool:
        """Whether a task is in this view."""
        return task_id in self._tasks

    def task(self, task_id: int) -> TaskView:
        """Raises BadInput if the task does not exist, or is none of those that this view follows."""
        try:
            return self._tasks[task_id]
        except KeyError:
            why = f"there is no task {task_id} here, or none that is followed"
            raise BadInput(f"{why}; `offchain task status` lists them") from None

    def dispute(self, dispute_id: int) -> DisputeView:
        """Raises BadInput if no such dispute runs."""
        try:
            return self._disputes[dispute_id]
        except KeyError:
            raise BadInput(f"no dispute {dispute_id} runs") from None

    def engaged(self, task: TaskView) -> bool:
        """Whether this account bids for a task, solves it, or stands by for it."""
        if task.status is Status.BIDDING:
            return (task.id, task.attempt) in self.sealed or self.me in (task.leader, task.standby)
        if task.status is Status.TRAINING:
            return self.me in (task.solver, task.standby)
        return task.waits_for(self.me, self.now)

    def unshown(self) -> list[tuple[int, int]]:
        """Task and attempt of this account's bids that lock a bond for nothing: they were not shown in time.

        Until an attempt is decided its requester may cancel, and the bond comes back; one that nobody decides is not
        waited for any longer than there was time to show a bid.
        """
        return [key for key in sorted(self.sealed) if key[0] in self and not self._awaits(*key)]

    def _awaits(self, task_id: int, attempt: int) -> bool:
        task = self.task(task_id)
        decided = task.status is not Status.BIDDING or task.attempt != attempt
        return not decided and self.now < task.reveal_ends + task.terms.reveal_time

    def over(self, dispute: DisputeView) -> bool:
        """Whether the attempt that a dispute is about has ended before it."""
        task = self.task(dispute.task_id)
        return task.status is not Status.TRAINING or task.attempt != dispute.attempt

    def members(self, task: TaskView) -> tuple[Member, ...] | None:
        """Who sits on the running committee of a task; None: it has not sat down, or there is none."""
        committee = None if task.keeping is None else task.keeping.committee
        return None if committee is None else self.committees.get((task.id, task.attempt, committee))

    def runs(self, task_id: int, attempt: int) -> bool:
        """Whether an attempt runs, of a task that is in this view."""
        task = self.task(task_id)
        return task.status is Status.TRAINING and task.attempt == attempt

    def shortest_clock(self) -> int | None:
        """Seconds of the shortest clock of a task in which a stake or a bond of mine can be lost; None: of none."""
        mine = [task for task in self.tasks if task.solver == self.me and task.status is Status.TRAINING]
        mine += [self.task(d.task_id) for d in self.disputes if self.me == d.challenger and d.task_id in self]
        return min((task.terms.clock for task in mine), default=None)
