"""What a worker does about each action that a role asks for, but for computing, which `Work` does in slices."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final

from offchain.chain.client import Chain, Receipt
from offchain.market.actions import (
    Action,
    Award,
    Bid,
    Challenge,
    Collect,
    Commit,
    Decline,
    Defend,
    Dismiss,
    Fetch,
    OpenDispute,
    Stall,
    Timeout,
)
from offchain.market.view import ChainView
from offchain.worker import events
from offchain.worker.disputes import Disputes
from offchain.worker.events import Tell, WorkerEvent
from offchain.worker.materials import Materials, state_name
from offchain.worker.work import Work

SAID: Final[dict[str, Callable[[Mapping[str, Any]], WorkerEvent]]] = {  # by the market, in answer to own transactions
    "Awarded": lambda args: events.Awarded(args["taskId"], args["solver"], args["price"]),
    "Paid": lambda args: events.Paid(args["taskId"], args["index"], args["solver"], args["amount"]),
    "Completed": lambda args: events.Completed(args["taskId"]),
    "Cancelled": lambda args: events.Cancelled(args["taskId"]),
    "Stalled": lambda args: events.Stalled(args["taskId"], args["refunded"], args["burned"]),
}


class Acts:
    """One row per action: what is sent or fetched for it. Tells what came of it."""

    def __init__(self, chain: Chain, materials: Materials, work: Work, disputes: Disputes, tell: Tell) -> None:
        self._chain, self._materials, self._tell = chain, materials, tell
        self._declined: dict[int, str] = {}  # task -> why, as it was told
        self.table: dict[type[Action], Callable[[ChainView, Any], None]] = {
            Bid: lambda view, a: self._send(chain.bid(a.task_id, a.price), partial(events.BidSent, a.task_id, a.price)),
            Decline: self._decline,
            Award: lambda view, a: self._send(chain.award(a.task_id), partial(events.AwardSent, a.task_id)),
            Commit: self._commit,
            Collect: lambda view, a: self._send(chain.collect(a.task_id), partial(events.CollectSent, a.task_id)),
            Stall: lambda view, a: self._send(chain.stall(a.task_id), partial(events.StallSent, a.task_id)),
            Fetch: lambda view, a: work.fetch(view.task(a.task_id)),
            OpenDispute: lambda view, a: disputes.open(view.task(a.task_id), a.checkpoint),
            Defend: lambda view, a: disputes.defend(view, view.dispute(a.dispute_id)),
            Challenge: lambda view, a: disputes.challenge(view, view.dispute(a.dispute_id)),
            Timeout: lambda view, a: disputes.end(events.TimedOut, a.dispute_id, chain.timeout),
            Dismiss: lambda view, a: disputes.end(events.Dismissed, a.dispute_id, chain.dismiss),
        }

    def perform(self, view: ChainView, action: Action) -> None:
        """Raises KeyError for an action that has no row."""
        self.table[type(action)](view, action)

    def _decline(self, view: ChainView, action: Decline) -> None:
        """Told once, not with every look."""
        if self._declined.get(action.task_id) != action.why:
            self._declined[action.task_id] = action.why
            self._tell(events.Declined(action.task_id, action.why))

    def _commit(self, view: ChainView, action: Commit) -> None:
        task, checkpoint, root = action.task_id, action.checkpoint, action.root
        uri = self._materials.blobs.uri(state_name(view.task(task).terms, root))
        self._send(self._chain.commit(task, checkpoint, root, uri), partial(events.CommitSent, task, checkpoint, root))

    def _send(self, receipt: Receipt, sent: Callable[[int], WorkerEvent]) -> None:
        """Tell of a transaction that was mined, with its gas, and of what the market said in it."""
        self._tell(sent(receipt.gas_used))
        for event in receipt.events:
            if event.name in SAID and event.address == self._chain.deployment.market:
                self._tell(SAID[event.name](event.args))
