"""What is learned from events: which tasks matter here, and which of them must be read again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from offchain.chain.abi import Event
from offchain.chain.decoding import BlockHead
from offchain.chain.disputes import EVENTS, Reveals
from offchain.chain.register import EVENTS as ENTRIES
from offchain.chain.register import Register
from offchain.chain.seats import EVENTS as KEEPING
from offchain.chain.seats import Seats
from offchain.market.view import NOBODY, CheckpointView, Status, TaskView, Terms

ENDINGS: Final = frozenset({"Ended"})
# after these a task that was dropped may matter again
OPENINGS: Final = frozenset({"Posted", "Awarded", "TookOver", "Reopened"})
CLAIMS: Final = frozenset({"Claimed", "Vouched", "Settled"})  # by the auditor
BUDGETS: Final = frozenset({"Funded", "Refunded"})  # by the auditor; nothing follows from them
BIDS: Final = frozenset({"Sealed", "Revealed", "Forfeited"})  # by the auction
PARTIES: Final = ("requester", "solver", "challenger", "standby", "bidder")  # names of the accounts in events


@dataclass(frozen=True, slots=True)
class Scope:
    """Which tasks are followed: those of an account, to their end and beyond, and others while it may act in them.

    Attributes:
        me: the account.
        audits: whether it looks at tasks that others train.
        only: follow these tasks and no others, whoever's they are.
        ended: follow everybody's tasks beyond their end, for people who look at lists.
    """

    me: str
    audits: bool = True
    only: frozenset[int] | None = None
    ended: bool = False

    @property
    def curious(self) -> bool:
        """Whether disputes between others matter."""
        return self.ended or self.only is not None


@dataclass
class Followed:
    """Everything learned so far, of which only what matters is kept. Dropped when the chain was reorganised.

    A task is in `tasks`, in `changed`, or both, or it costs nothing.

    Attributes:
        head: the block up to which events were taken in.
        mine: tasks in which the account has a part.
        changed: tasks that an event named since they were last read, in the order of the events.
        stale: (of each task) checkpoints whose holds changed.
        uris: (of each task) checkpoint -> root and URI, until the checkpoint is read.
        disputes: (of each task) dispute -> challenger, of those that run.
        task_of: the other way round.
        attempt_of: dispute -> the attempt that it is about.
        reveals: what was revealed in the disputes of each attempt at a task, which serves later disputes, too.
        opened: (task, attempt, checkpoint) of the account's own disputes.
        sealed: (task, attempt) of the account's bids that are not revealed.
        claims: (task, attempt, checkpoint) of the account's claims that are not settled -> whether it has revealed.
        posted: tasks that the account has posted.
        theirs: likewise, of others about those tasks; the verifier is a part of the key.
        outcomes: dispute -> winner, or "" where it was dismissed; of those that matter to the account.
        register: where workers can be reached.
        seats: who keeps what.
    """

    scope: Scope
    head: BlockHead | None = None
    tasks: dict[int, TaskView] = field(default_factory=dict)
    terms: dict[int, Terms] = field(default_factory=dict)
    mine: set[int] = field(default_factory=set)
    changed: dict[int, None] = field(default_factory=dict)
    stale: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    uris: dict[int, dict[int, tuple[bytes, str]]] = field(default_factory=lambda: defaultdict(dict))
    disputes: dict[int, dict[int, str]] = field(default_factory=lambda: defaultdict(dict))
    task_of: dict[int, int] = field(default_factory=dict)
    attempt_of: dict[int, int] = field(default_factory=dict)
    reveals: dict[tuple[int, int], Reveals] = field(default_factory=lambda: defaultdict(Reveals))
    opened: set[tuple[int, int, int]] = field(default_factory=set)
    sealed: set[tuple[int, int]] = field(default_factory=set)
    claims: dict[tuple[int, int, int], bool] = field(default_factory=dict)
    posted: set[int] = field(default_factory=set)
    theirs: dict[tuple[int, int, int, str], bool] = field(default_factory=dict)
    outcomes: dict[int, str] = field(default_factory=dict)
    register: Register = field(default_factory=Register)
    seats: Seats = field(init=False)

    def __post_init__(self) -> None:
        self.seats = Seats(self.scope.me)

    def take(self, event: Event) -> None:
        """Learn what an event says."""
        if event.name in ENTRIES:
            self.register.take(event)
        elif "taskId" in event.args:
            self._take_of_task(event, event.args["taskId"])
        elif event.args.get("id") in self.task_of:
            self._take_of_dispute(event, event.args["id"])

    def _take_of_task(self, event: Event, task_id: int) -> None:
        scope, name, args = self.scope, event.name, event.args
        if (scope.only is not None and task_id not in scope.only) or name in BUDGETS:
            return
        if name in CLAIMS and not self._take_of_claim(event, task_id):
            return
        if name in KEEPING:
            self.seats.take(event)
            if self.seats.engaged(task_id):
                self.mine.add(task_id)
        if any(args.get(party) == scope.me for party in PARTIES):
            self.mine.add(task_id)
        if name == "Posted" and args["requester"] == scope.me:
            self.posted.add(task_id)
        if name in BIDS and args["bidder"] == scope.me:
            change = self.sealed.add if name == "Sealed" else self.sealed.discard
            change((task_id, args["attempt"]))
        lasting = self.lasts(task_id)
        if not lasting and (name in ENDINGS or (name == "Awarded" and not scope.audits)):
            self.drop(task_id)
            return
        if not (lasting or name in OPENINGS or task_id in self.tasks or task_id in self.changed):
            self.seats.drop(task_id)
            return
        self.changed[task_id] = None
        if name == "Committed":
            self.uris[task_id][args["index"]] = args["root"], args["uri"]
        elif name in ("Held", "Unheld", "Prolonged"):
            self.stale[task_id].add(args["index"])
        elif name == "Opened":
            self._open(task_id, args)
        elif name == "Voided" and task_id in self.tasks:
            task = self.tasks[task_id]
            self.tasks[task_id] = replace(task, checkpoints=task.checkpoints[: args["index"]])
            self.stale.pop(task_id, None)

    def _take_of_claim(self, event: Event, task_id: int) -> bool:
        """Whether it is the account's own."""
        args, name = event.args, event.name
        key, who = (task_id, args["attempt"], args["checkpoint"]), args["verifier"]
        own = bool(who == self.scope.me)
        if name == "Settled":
            self.claims.pop(key, None) if own else self.theirs.pop((*key, who), None)
        elif own:
            self.mine.add(task_id)
            self.claims[key] = name == "Vouched"
        elif task_id in self.posted:
            self.theirs[*key, who] = name == "Vouched"
        return own

    def _open(self, task_id: int, args: Mapping[str, Any]) -> None:
        self.disputes[task_id][args["id"]] = args["challenger"]
        self.task_of[args["id"]], self.attempt_of[args["id"]] = task_id, args["attempt"]
        if args["challenger"] == self.scope.me:
            self.opened.add((task_id, args["attempt"], args["checkpoint"]))

    def _take_of_dispute(self, event: Event, dispute_id: int) -> None:
        if event.name in ("Resolved", "Dismissed"):
            if self.lasts(self.task_of[dispute_id]):
                self.outcomes[dispute_id] = event.args.get("winner", "")
            self.close(dispute_id)
        elif event.name in EVENTS:
            self.revealed(dispute_id).take(event)

    def revealed(self, dispute_id: int) -> Reveals:
        """What is revealed in the attempt that a dispute is about."""
        return self.reveals[self.task_of[dispute_id], self.attempt_of[dispute_id]]

    def close(self, dispute_id: int) -> None:
        """Forget a dispute that is over, but for its outcome."""
        task_id = self.task_of.pop(dispute_id, None)
        self.attempt_of.pop(dispute_id, None)
        if task_id is not None:
            self.disputes[task_id].pop(dispute_id, None)
            if not self.disputes[task_id]:
                del self.disputes[task_id]

    def settle_bid(self, task_id: int, attempt: int) -> None:
        """A bid of the account's locks nothing any more. Of a bond that came back no event of the auction tells."""
        self.sealed.discard((task_id, attempt))
        if task_id in self.tasks:
            self.changed[task_id] = None  # it may not matter any more

    def drop(self, task_id: int) -> None:
        """Forget a task, until an event brings it back."""
        for known in (self.tasks, self.terms, self.changed, self.stale, self.uris):
            known.pop(task_id, None)
        for key in [key for key in self.reveals if key[0] == task_id]:
            del self.reveals[key]
        for dispute_id in list(self.disputes.pop(task_id, ())):
            self.close(dispute_id)
        self.seats.drop(task_id)

    def lasts(self, task_id: int) -> bool:
        """Whether a task is kept to its end and beyond."""
        return task_id in self.mine or self.scope.curious

    def matters(self, task: TaskView, now: int) -> bool:
        """Whether there may be something to do in a task of others at this time, until an event names it."""
        if task.status is Status.BIDDING:
            bid = task.leader != NOBODY  # whoever audits it has its file, and will want it after the award
            return now < task.bidding_ends or (bid and self.scope.audits)
        return task.status in (Status.TRAINING, Status.VACANT) and self.scope.audits

    def keep(self, task: TaskView, now: int) -> bool:
        """Take in a task without its checkpoints; those that are known stay. False if it was dropped instead."""
        if task.id in self.mine and not self._has_part(task):
            self.mine.discard(task.id)  # it was beaten
        if not self.lasts(task.id) and not self.matters(task, now):
            self.drop(task.id)
            return False
        before = self.tasks.get(task.id)
        self.tasks[task.id] = replace(task, checkpoints=before.checkpoints if before else ())
        return True

    def _has_part(self, task: TaskView) -> bool:
        parties = (task.requester, task.solver, task.standby, task.leader)
        begun = (*self.sealed, *self.opened, *self.claims)
        held = any(number == task.id for number, *_ in begun) or self.seats.engaged(task.id)
        return held or self.scope.me in parties

    def unread(self, task_id: int, count: int, most: int) -> list[int]:
        """The first checkpoints of a task that must be read, out of `count`: changed ones, then new ones."""
        have = len(self.tasks[task_id].checkpoints)
        changed = sorted(k for k in self.stale.get(task_id, ()) if k < have)
        return [*changed, *range(have, min(count, have + most))][:most]

    def put(self, task_id: int, k: int, raw: Mapping[str, Any]) -> None:
        """Take in a checkpoint as the contract has it. New ones must come in their order."""
        task = self.tasks[task_id]
        uris, points = self.uris.get(task_id, {}), task.checkpoints
        before = points[k].uri if k < len(points) else ""
        root, uri = uris.pop(k, (raw["root"], before))
        point = CheckpointView(
            root=raw["root"],
            committed_at=raw["committedAt"],
            challengeable_until=raw["challengeableUntil"],
            holds=raw["holds"],
            attempt=raw["attempt"],
            defended=raw["defended"],
            uri=uri if root == raw["root"] else "",
        )
        self.tasks[task_id] = replace(task, checkpoints=(*points[:k], point, *points[k + 1 :]))
        self.stale.get(task_id, set()).discard(k)

    def watched(self) -> list[int]:
        """Disputes that run and in which the account is a party, or that it looks at."""
        return [
            dispute_id
            for task_id, disputes in self.disputes.items()
            for dispute_id, challenger in disputes.items()
            if self.scope.curious or challenger == self.scope.me or self._solves(task_id)
        ]

    def _solves(self, task_id: int) -> bool:
        task = self.tasks.get(task_id)
        return task is not None and task.solver == self.scope.me
