"""Follows the chain, and returns what is on it at one block as one frozen view.

Events say what has changed, and only that is read, in batches. So a look costs a few requests, however many tasks there
are; a task that is over, or in which this account has nothing to do, costs none and takes no memory.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from threading import Lock
from typing import Any, Final

from web3.exceptions import BlockNotFound

from offchain.chain.abi import Event
from offchain.chain.client import Call, Chain
from offchain.chain.decoding import BlockHead, task_from, terms_from
from offchain.chain.disputes import dispute_view
from offchain.chain.followed import Followed, Scope
from offchain.chain.keepers import denial, keeping_from
from offchain.errors import ChainError, ChainUnavailable
from offchain.market.keeping import Denial
from offchain.market.view import NOBODY, ChainView, DisputeView, Fees, Phase, Status, TaskView

PARTS: Final = ("registry", "auction", "market", "log", "game", "auditor", "keepers")  # whose events are taken in
RANGE: Final = 2_000  # blocks in one request for events; fewer if the node refuses so many
TASKS: Final = 50  # tasks that are read together at most
POINTS: Final = 5  # checkpoints that are read together for each of them
BUDGET: Final = 1.0  # seconds of a look for reading tasks in which this account has no part


class Reader:
    """Makes `ChainView`s for one account.

    The first looks at a long chain may not show all tasks of others yet: reading them is spread over looks, BUDGET
    seconds each. The account's own tasks are always there.

    Args:
        audits: whether tasks that others train matter.
        only: the tasks to follow; None: all that matter.
        ended: follow everybody's tasks, and also those that have ended, in one look however long it takes.
    """

    def __init__(
        self, chain: Chain, audits: bool = True, only: Collection[int] | None = None, ended: bool = False
    ) -> None:
        self._chain = chain
        self._scope = Scope(chain.address, audits, None if only is None else frozenset(only), ended)
        self._known = Followed(self._scope)
        self._view: ChainView | None = None  # of the block `_known.head`
        self._forgetting = False
        self._width = TASKS // 10  # tasks that are read together on this node
        self._one = Lock()
        self.hear: Callable[[Event], None] | None = None  # is called with each event, again after a reorganisation
        self._fixed: Fees | None = None

    @property
    def behind(self) -> int:
        """How many tasks are still to be read."""
        return len(self._known.changed)

    def endpoints(self) -> Mapping[str, str]:
        """Account -> base address of what it serves, of the workers in the register. May be asked from any thread."""
        return self._known.register.seen()

    def forget(self) -> None:
        """Drop everything learned before the next look, so that it is read again. May be called from any thread."""
        self._forgetting = True

    def leave(self, what: tuple[int, ...]) -> None:
        """Nothing is left to do in a committee, or about an attempt, of this account's."""
        self._known.seats.leave(what)

    def settle_bid(self, task_id: int, attempt: int) -> None:
        """A bid of this account's locks nothing any more."""
        self._known.settle_bid(task_id, attempt)

    def _drop(self) -> None:
        self._known, self._view, self._forgetting = Followed(self._scope), None, False

    def outcome(self, dispute_id: int) -> str | None:
        """The winner of a dispute; "" if it was dismissed, None if it is not over."""
        return self._known.outcomes.get(dispute_id)

    def read(self) -> ChainView:
        """The view of the latest block. Raises ChainUnavailable, and keeps what was learned before.

        May be called from any thread; one reads at a time.
        """
        with self._one:
            return self._latest()

    def _latest(self) -> ChainView:
        head = self._head()
        if self._view is not None and head == self._known.head and not self._known.changed:
            return self._view
        self._view = None
        try:
            view = self._read(head)
            replaced = self._chain.block(head.number).hash != head.hash
        except (ChainError, BlockNotFound) as error:
            # Our view functions do not revert on what exists: the block is gone, or the node is at fault.
            raise ChainUnavailable(f"block {head.number} cannot be read: {error}") from error
        if replaced:
            raise ChainUnavailable(f"block {head.number} was replaced while it was read")
        self._view = view
        return view

    def _head(self) -> BlockHead:
        """The latest block. Forgets everything if the chain was reorganised."""
        if self._forgetting:
            self._drop()
        last = self._known.head
        head, again = self._chain.blocks("latest", "earliest" if last is None else last.number)
        if head is None:
            raise ChainUnavailable("the node knows no block")
        if head.number < self._chain.written:
            raise ChainUnavailable(f"the node is at block {head.number}, before this account's last transaction")
        if last is not None and (head.number < last.number or again is None or again.hash != last.hash):
            self._drop()
        return head

    def _read(self, head: BlockHead) -> ChainView:
        self._follow(head)
        self._read_changed(head)
        me, at = self._chain.address, head.number
        watched = self._known.watched()
        calls: list[Call] = [("vault", "freeOf", me), ("registry", "worker", me)]
        for dispute_id in watched:
            calls += [("game", "dispute", dispute_id), ("game", "onMove", dispute_id)]
        free, worker, *raw = self._chain.calls(calls, at)
        return ChainView(
            me=me,
            now=head.timestamp,
            free=int(free),
            registered=worker["roles"] != 0,
            tasks=self._tasks(head.timestamp),
            disputes=self._disputes(watched, raw),
            opened=frozenset(self._known.opened),
            sealed=frozenset(self._known.sealed),
            claims=dict(self._known.claims),
            theirs=dict(self._known.theirs),
            committees=self._known.seats.sitting(),
            seats=frozenset(self._known.seats.mine),
            objections=frozenset(self._known.seats.objections),
            denied=frozenset(self._known.seats.denied),
            denials=self._denials(head),
            gas_price=self._chain.gas_price(),
            fees=self._fees(),
        )

    def _fees(self) -> Fees:
        """Read once: a deployment never changes them."""
        if self._fixed is None:
            asked: list[Call] = [("limits", "values"), ("auction", "bidBond"), ("auditor", "auditBond")]
            limits, bid_bond, audit_bond = self._chain.calls(asked)
            self._fixed = Fees(bid_bond, limits["feeBps"], audit_bond, limits["standbyBps"])
        return self._fixed

    def _denials(self, head: BlockHead) -> dict[tuple[int, int], Denial]:
        """Of the account's objections in attempts that are over. Where nothing is owed any more they are forgotten."""
        seats, found = self._known.seats, dict[tuple[int, int], Denial]()
        for task_id, attempt in sorted(seats.accused):
            task, sitting = self._known.tasks.get(task_id), seats.sitting().get((task_id, attempt, 0))
            if task is None or (task.status is Status.TRAINING and task.attempt == attempt):
                continue
            owed = denial(self._chain, task_id, attempt, sitting or (), head.timestamp, head.number)
            if owed is None:
                seats.leave((task_id, attempt))
            else:
                found[task_id, attempt] = owed
        return found

    # --- events

    def _follow(self, head: BlockHead) -> None:
        """Take in the events up to `head`, range by range; what was taken in is not asked for again."""
        known, width = self._known, RANGE
        while True:
            first = self._chain.deployment.block if known.head is None else known.head.number + 1
            if first > head.number:
                known.head = head
                return
            stop = min(first + width - 1, head.number)
            try:
                events = self._chain.logs(PARTS, first, stop)
            except (ChainError, ChainUnavailable):
                if stop == first or self._chain.head().number < head.number:
                    raise
                width = max(1, (stop - first) // 2)  # perhaps too many blocks
                continue
            end = head if stop == head.number else self._chain.block(stop)
            for event in events:
                known.take(event)
                if self.hear:
                    self.hear(event)
            known.head = end

    # --- tasks

    def _read_changed(self, head: BlockHead) -> None:
        """Read the tasks that events have named: the account's own all, others for a while."""
        known = self._known
        while own := [task_id for task_id in known.changed if task_id in known.mine][:TASKS]:
            self._read_some(own, head)
        began = before = time.monotonic()
        while known.changed and (self._scope.curious or before < began + BUDGET):
            self._read_some(list(islice(known.changed, self._width)), head)
            now = time.monotonic()
            self._adapt(now - before)
            before = now

    def _adapt(self, seconds: float) -> None:
        """After a request that took so long: a slow node is asked for less at once, so that no look becomes long."""
        if seconds > BUDGET / 2:
            self._width = max(1, self._width // 2)
        elif seconds < BUDGET / 8:
            self._width = min(TASKS, 2 * self._width)

    def _read_some(self, ids: Sequence[int], head: BlockHead) -> None:
        """Read tasks, and POINTS checkpoints for each. Who is read whole is not `changed` any more."""
        known = self._known
        due: dict[int, int] = {}  # task -> how many checkpoints it has
        for task, count in self._headers(ids, head.number):
            if known.keep(task, head.timestamp):
                due[task.id] = count
        most = POINTS * len(ids)
        unread = [(task_id, k) for task_id, count in due.items() for k in known.unread(task_id, count, most)]
        self._read_points(unread[:most], head.number)
        for task_id, count in due.items():
            if not known.unread(task_id, count, 1):
                del known.changed[task_id]

    def _headers(self, ids: Sequence[int], at: int) -> Iterator[tuple[TaskView, int]]:
        """Tasks without their checkpoints, and how many of those there are."""
        terms = self._known.terms
        new = [task_id for task_id in ids if task_id not in terms]
        calls: list[Call] = [("market", "terms", task_id) for task_id in new]
        for task_id in ids:
            calls += [("market", "task", task_id), ("log", "count", task_id)]
        answers = self._chain.calls(calls, at)
        terms.update({task_id: terms_from(task_id, raw) for task_id, raw in zip(new, answers, strict=False)})
        found = list[tuple[TaskView, int]]()
        tasks, counts = answers[len(new) :: 2], answers[len(new) + 1 :: 2]
        for task_id, raw, count in zip(ids, tasks, counts, strict=True):
            task = task_from(task_id, terms[task_id], raw)
            if not task.paid <= count <= task.terms.intervals:
                raise ChainUnavailable(f"task {task_id}: {count} checkpoints are impossible")
            found.append((task, count))
        return self._with_leaders(self._with_keeping(found, at), at)

    def _with_keeping(self, found: Sequence[tuple[TaskView, int]], at: int) -> list[tuple[TaskView, int]]:
        """With what can be had of the checkpoints of each task that has keepers."""
        kept = [task for task, _ in found if task.terms.keepers and task.status is Status.TRAINING]
        answers = self._chain.calls([("keepers", "keepingOf", task.id, task.attempt) for task in kept], at)
        known = {task.id: keeping_from(raw) for task, raw in zip(kept, answers, strict=True)}
        return [(replace(task, keeping=known.get(task.id)), count) for task, count in found]

    def _with_leaders(self, found: Sequence[tuple[TaskView, int]], at: int) -> Iterator[tuple[TaskView, int]]:
        """With the two best bids of each task that takes bids."""
        bidding = [task for task, _ in found if task.status is Status.BIDDING]
        answers = self._chain.calls([("auction", "bids", task.id, task.attempt) for task in bidding], at)
        pairs = ((first["bidder"], second["bidder"]) for first, second in answers)
        best = dict(zip((task.id for task in bidding), pairs, strict=True))
        for task, count in found:
            leader, standby = best.get(task.id, (NOBODY, task.standby))
            yield replace(task, leader=leader, standby=standby), count

    def _read_points(self, wanted: Sequence[tuple[int, int]], at: int) -> None:
        """Read checkpoints; those of a task in their order."""
        calls: list[Call] = [("log", "checkpoint", task_id, k) for task_id, k in wanted]
        for (task_id, k), raw in zip(wanted, self._chain.calls(calls, at), strict=True):
            self._known.put(task_id, k, raw)

    def _tasks(self, now: int) -> tuple[TaskView, ...]:
        """All tasks that matter, in their order; the others are dropped."""
        known = self._known
        for task in list(known.tasks.values()):
            if task.id not in known.changed and not known.lasts(task.id) and not known.matters(task, now):
                known.drop(task.id)
        return tuple(known.tasks[task_id] for task_id in sorted(known.tasks))

    # --- disputes

    def _disputes(self, ids: Sequence[int], answers: Sequence[Any]) -> tuple[DisputeView, ...]:
        """Those that run, from the answers `dispute` and `onMove` for each."""
        known, running = self._known, []
        for dispute_id, raw, on_move in zip(ids, answers[::2], answers[1::2], strict=True):
            if Phase.NONE < raw["phase"] < Phase.RESOLVED:
                running.append(self._dispute(dispute_id, raw, on_move))
            else:
                known.close(dispute_id)
        return tuple(running)

    def _dispute(self, dispute_id: int, raw: dict[str, Any], on_move: Any) -> DisputeView:
        """Raises ChainUnavailable where the node has not shown what was revealed: then everything is read again."""
        try:
            return dispute_view(dispute_id, raw, on_move, self._known.revealed(dispute_id))
        except ChainUnavailable:
            self.forget()
            raise
