"""Follows the chain, and returns what is on it at one block as one frozen view."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any, Final

from web3.exceptions import BlockNotFound

from offchain.chain.abi import Event
from offchain.chain.client import BlockHead, Chain
from offchain.chain.disputes import EVENTS, dispute_view
from offchain.errors import ChainError, ChainUnavailable
from offchain.market.view import ChainView, CheckpointView, DisputeView, Phase, Status, TaskView, Terms

RANGE: Final = 2_000  # blocks in one request for events; fewer if the node refuses so many
MAX_NEW: Final = 100_000  # tasks or disputes; a node that claims more is not believed


@dataclass
class _Followed:
    """Everything learned so far. Dropped as a whole when the chain was reorganised."""

    head: BlockHead | None = None
    terms: dict[int, Terms] = field(default_factory=dict)
    finished: dict[int, TaskView] = field(default_factory=dict)
    paid: dict[int, tuple[CheckpointView, ...]] = field(default_factory=dict)
    uris: dict[tuple[int, int], tuple[bytes, str]] = field(default_factory=dict)  # (task, k) -> (root, uri)
    events: dict[int, list[Event]] = field(default_factory=lambda: defaultdict(list))  # of running disputes
    opened: dict[tuple[int, int], set[str]] = field(default_factory=lambda: defaultdict(set))  # (task, k) -> by whom
    outcomes: dict[int, str] = field(default_factory=dict)  # dispute -> winner, or "" where it was dismissed
    resolved: set[int] = field(default_factory=set)
    convicted: dict[int, str] = field(default_factory=dict)  # dispute -> challenger

    def take(self, event: Event) -> None:
        """Learn what an event says."""
        args = event.args
        if event.name == "Committed":
            self.uris[args["taskId"], args["index"]] = (args["root"], args["uri"])
        elif event.name == "Opened":
            self.opened[args["taskId"], args["checkpoint"]].add(args["challenger"])
        elif event.name in ("Resolved", "Dismissed"):
            self.outcomes[args["id"]] = args.get("winner", "")
        elif event.name in EVENTS and args["id"] not in self.resolved:
            self.events[args["id"]].append(event)


class Reader:
    """Makes `ChainView`s for one account. Keeps what cannot change, and reads everything else again."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain
        self._known = _Followed()

    @property
    def convicted(self) -> dict[int, str]:
        """Dispute -> challenger, for convictions whose slash the market has refused so far."""
        return dict(self._known.convicted)

    def forget(self) -> None:
        """Drop everything learned, so that it is read again."""
        self._known = _Followed()

    def opened_by(self, account: str) -> frozenset[tuple[int, int]]:
        """(task, checkpoint) of every dispute that an account ever opened."""
        return frozenset(key for key, accounts in self._known.opened.items() if account in accounts)

    def outcome(self, dispute_id: int) -> str | None:
        """The winner of a dispute; "" if it was dismissed, None if it is not over."""
        return self._known.outcomes.get(dispute_id)

    def read(self) -> ChainView:
        """The view of the latest block. Raises ChainUnavailable, and keeps what was learned before."""
        head = self._chain.head()
        if head.number < self._chain.written:
            raise ChainUnavailable(f"the node is at block {head.number}, before this account's last transaction")
        self._drop_if_reorganised(head)
        try:
            view = self._read(head)
            replaced = self._chain.block(head.number).hash != head.hash
        except (ChainError, BlockNotFound) as error:
            # Our view functions do not revert on what exists: the block is gone, or the node is at fault.
            raise ChainUnavailable(f"block {head.number} cannot be read: {error}") from error
        if replaced:
            raise ChainUnavailable(f"block {head.number} was replaced while it was read")
        return view

    def _read(self, head: BlockHead) -> ChainView:
        self._follow(head)
        me, at = self._chain.address, head.number
        disputes = self._disputes(at)
        return ChainView(
            me=me,
            now=head.timestamp,
            free=self._chain.free(me, block=at),
            registered=self._chain.roles_of(me, block=at) != 0,
            tasks=self._tasks(at),
            disputes=disputes,
            gas_price=self._chain.gas_price(),
        )

    def _drop_if_reorganised(self, head: BlockHead) -> None:
        last = self._known.head
        if last is None:
            return
        try:
            same = head.number >= last.number and self._chain.block(last.number).hash == last.hash
        except BlockNotFound:
            same = False
        if not same:
            self._known = _Followed()

    def _follow(self, head: BlockHead) -> None:
        """Take in the events up to `head`: all or none, so that none is taken twice."""
        known = self._known
        first = self._chain.deployment.block if known.head is None else known.head.number + 1
        for event in self._events(first, head.number):
            known.take(event)
        known.head = head

    def _events(self, first: int, last: int) -> list[Event]:
        found: list[Event] = []
        width = RANGE
        while first <= last:
            stop = min(first + width - 1, last)
            try:
                found += self._chain.logs(("log", "game"), first, stop)
            except (ChainError, ChainUnavailable):
                if stop == first or self._chain.head().number < last:
                    raise
                width = max(1, (stop - first) // 2)  # perhaps too many blocks
                continue
            first = stop + 1
        return found

    def _tasks(self, at: int) -> tuple[TaskView, ...]:
        count = self._chain.task_count(block=at)
        if count > MAX_NEW:
            raise ChainUnavailable(f"the node claims {count} tasks")
        return tuple(self._task(task_id, at) for task_id in range(count))

    def _task(self, task_id: int, at: int) -> TaskView:
        known = self._known
        if task_id in known.finished:
            return known.finished[task_id]
        if task_id not in known.terms:
            known.terms[task_id] = self._chain.terms(task_id, block=at)
        task = self._chain.task(task_id, known.terms[task_id], block=at)
        if task.status is not Status.BIDDING:
            task = replace(task, checkpoints=self._checkpoints(task, at))
        if task.status.ended:
            known.finished[task_id] = task
        return task

    def _checkpoints(self, task: TaskView, at: int) -> tuple[CheckpointView, ...]:
        count = self._chain.call("log", "count", task.id, block=at)
        if not task.paid <= count <= task.terms.intervals:
            raise ChainUnavailable(f"task {task.id}: {count} checkpoints are impossible")
        kept = self._known.paid.get(task.id, ())[: task.paid]
        fresh = [self._checkpoint(task.id, k, at) for k in range(len(kept), count)]
        self._known.paid[task.id] = (*kept, *fresh)[: task.paid]  # what is paid for does not change any more
        return (*kept, *fresh)

    def _checkpoint(self, task_id: int, k: int, at: int) -> CheckpointView:
        raw = self._chain.call("log", "checkpoint", task_id, k, block=at)
        root, uri = self._known.uris.get((task_id, k), (b"", ""))
        uri = uri if root == raw["root"] else ""
        return CheckpointView(raw["root"], raw["committedAt"], raw["challengeableUntil"], raw["holds"], uri)

    def _disputes(self, at: int) -> tuple[DisputeView, ...]:
        count = self._chain.call("game", "disputeCount", block=at)
        if count > MAX_NEW:
            raise ChainUnavailable(f"the node claims {count} disputes")
        known = self._known
        known.convicted = {}
        running = []
        for dispute_id in range(1, count + 1):
            if dispute_id in known.resolved:
                continue
            raw = self._chain.call("game", "dispute", dispute_id, block=at)
            if Phase.NONE < raw["phase"] < Phase.CONVICTED:
                running.append(self._dispute(dispute_id, raw, at))
            elif raw["phase"] == Phase.CONVICTED:
                known.convicted[dispute_id] = raw["challenger"]
            else:
                known.resolved.add(dispute_id)
                known.events.pop(dispute_id, None)
        return tuple(running)

    def _dispute(self, dispute_id: int, raw: dict[str, Any], at: int) -> DisputeView:
        mover, deadline = self._chain.call("game", "onMove", dispute_id, block=at)
        return dispute_view(dispute_id, raw, (mover, deadline), self._known.events[dispute_id])
