"""What a worker does about each action that a role asks for, but for computing, which `Work` does in slices."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final

from offchain.chain import claims, verifiers
from offchain.chain.client import Chain, Receipt
from offchain.market.actions import (
    Accuse,
    Action,
    Award,
    Bid,
    Challenge,
    Claim,
    Collect,
    Commit,
    Decline,
    Defend,
    Dismiss,
    DrawLot,
    Fetch,
    OpenDispute,
    Prepare,
    Reopen,
    Reveal,
    SettleBid,
    SettleClaim,
    Stall,
    TakeOver,
    Timeout,
    Vouch,
)
from offchain.market.notes import OwnBid
from offchain.market.view import ChainView
from offchain.worker import events, vouched
from offchain.worker.alarms import FraudUnanswered
from offchain.worker.database import Database
from offchain.worker.disputes import Disputes
from offchain.worker.events import Tell, WorkerEvent
from offchain.worker.keeping import Keeping
from offchain.worker.materials import Materials
from offchain.worker.names import state_name
from offchain.worker.said import SAID
from offchain.worker.work import Work

FORGOTTEN: Final = 1_000  # tasks that are over, of which is still known what was told
REPEAT: Final = 60.0  # seconds until a false checkpoint that nobody disputes is told of again


class Acts:
    """One row per action: what is sent or fetched for it. Tells what came of it. False: that is not known yet.

    Args:
        settled: is called with task and attempt of a bid of the account's that locks nothing any more.
    """

    def __init__(
        self,
        chain: Chain,
        materials: Materials,
        db: Database,
        work: Work,
        disputes: Disputes,
        tell: Tell,
        keeping: Keeping,
        settled: Callable[[int, int], None],
        signing_key: int | None = None,
    ) -> None:
        self._signing_key, self._settled = signing_key, settled
        self._chain, self._materials, self._db, self._tell = chain, materials, db, tell
        self._declined: dict[int, set[str]] = {}  # task -> kinds of reasons that were told
        self._accused: dict[tuple[int, int], float] = {}  # task and checkpoint -> when it was told
        self.table: dict[type[Action], Callable[[ChainView, Any], bool | None]] = {
            Bid: self._bid,
            Reveal: self._reveal,
            SettleBid: self._settle_bid,
            TakeOver: lambda view, a: self._send(chain.take_over(a.task_id), partial(events.TakeOverSent, a.task_id)),
            Reopen: lambda view, a: self._send(chain.reopen(a.task_id), partial(events.ReopenSent, a.task_id)),
            Decline: self._decline,
            Accuse: self._accuse,
            Award: lambda view, a: self._send(chain.award(a.task_id), partial(events.AwardSent, a.task_id)),
            Commit: self._commit,
            Collect: lambda view, a: self._send(chain.collect(a.task_id), partial(events.CollectSent, a.task_id)),
            Stall: lambda view, a: self._send(chain.stall(a.task_id), partial(events.StallSent, a.task_id)),
            Fetch: lambda view, a: work.fetch(view.task(a.task_id)),
            Prepare: lambda view, a: work.prepare(view.task(a.task_id)),
            DrawLot: self._draw,
            Claim: self._claim,
            Vouch: self._vouch,
            SettleClaim: self._settle,
            OpenDispute: lambda view, a: disputes.open(view.task(a.task_id), a.checkpoint),
            Defend: lambda view, a: disputes.defend(view, view.dispute(a.dispute_id)),
            Challenge: lambda view, a: disputes.challenge(view, view.dispute(a.dispute_id)),
            Timeout: lambda view, a: disputes.end(events.TimedOut, a.dispute_id, chain.timeout),
            Dismiss: lambda view, a: disputes.end(events.Dismissed, a.dispute_id, chain.dismiss),
            **keeping.table,
        }

    def perform(self, view: ChainView, action: Action) -> bool | None:
        """Raises KeyError for an action that has no row."""
        return self.table[type(action)](view, action)

    def _decline(self, view: ChainView, action: Decline) -> None:
        """Told once, not with every look. That bidding is over is no news of a task that was declined before."""
        task, reason = action.task_id, action.reason
        told = self._declined.get(task, set())
        if reason.kind in told or (told and reason.kind == "late"):
            return
        if len(self._declined) > FORGOTTEN + 2 * len(view.tasks):
            self._declined = {known: kinds for known, kinds in self._declined.items() if known in view}
        self._declined[task] = told | {reason.kind}
        self._tell(events.Declined(task, reason.kind, reason.why, reason.change))

    def _accuse(self, view: ChainView, action: Accuse) -> None:
        """Told again and again: whoever reads it can still deposit the bond."""
        key, now = (action.task_id, action.checkpoint), time.monotonic()
        if now < self._accused.get(key, -REPEAT) + REPEAT:
            return
        self._accused[key] = now
        task = view.task(action.task_id)
        left = task.checkpoints[action.checkpoint].challengeable_until - view.now
        self._tell(FraudUnanswered(*key, task.terms.bond, view.free, left))

    def _bid(self, view: ChainView, action: Bid) -> None:
        """The salt is on disk before the seal is sent: a bid that cannot be revealed loses its bond."""
        task = view.task(action.task_id)
        bid = self._db.bid(task, OwnBid(task.attempt, action.price, action.promised, secrets.token_bytes(32)))
        sent = self._chain.bid(task.id, bid)
        self._send(sent, partial(events.BidSent, task.id, bid.price, bid.promised))

    def _reveal(self, view: ChainView, action: Reveal) -> None:
        task = view.task(action.task_id)
        bid = self._db.notes(task).bid
        if bid is None:
            return
        self._send(self._chain.reveal(task.id, bid), partial(events.RevealSent, task.id))

    def _settle_bid(self, view: ChainView, action: SettleBid) -> None:
        """Somebody else may have settled it; where that gave the bond back, no event of the auction says so."""
        about = action.task_id, action.attempt
        if any(self._chain.sealed(*about)):
            sent = self._chain.settle_bid(*about, self._chain.address)
            burned = any(event.name == "Forfeited" for event in sent.events)
            self._tell(events.BidSettled(*about, 0 if burned else view.fees.bid_bond, sent.gas_used))
        self._settled(*about)

    def _draw(self, view: ChainView, action: DrawLot) -> None:
        task, checkpoint = view.task(action.task_id), action.checkpoint
        ticket = self._ticket(task.id, checkpoint)
        self._db.add_lot(task, checkpoint, ticket is not None)
        fees = ticket.fees if ticket else 0
        self._tell(vouched.LotDrawn(task.id, task.attempt, checkpoint, fees > 0, fees))

    def _ticket(self, task_id: int, checkpoint: int) -> verifiers.Draw | None:
        """This account's winning ticket, if it has one."""
        if self._signing_key is None:
            return None
        return verifiers.draw(self._chain, self._signing_key, task_id, checkpoint)

    def _claim(self, view: ChainView, action: Claim) -> None:
        """The end of the log is on disk: a claim that cannot be revealed loses its bond."""
        task, checkpoint = view.task(action.task_id), action.checkpoint
        shown, ticket = self._db.log(task, checkpoint), self._ticket(task.id, checkpoint)
        if shown is None or ticket is None:
            return
        sent = claims.claim(self._chain, task.id, checkpoint, ticket, shown.commitment(self._chain.address))
        self._send(sent, partial(vouched.ClaimSent, task.id, checkpoint))

    def _vouch(self, view: ChainView, action: Vouch) -> None:
        task, checkpoint = view.task(action.task_id), action.checkpoint
        shown = self._db.log(task, checkpoint)
        if shown is not None:
            sent = claims.reveal(self._chain, task.id, checkpoint, shown)
            self._send(sent, partial(vouched.VouchSent, task.id, checkpoint))

    def _settle(self, view: ChainView, action: SettleClaim) -> None:
        sent = claims.settle(self._chain, action.task_id, action.attempt, action.checkpoint, action.verifier)
        self._send(sent, partial(vouched.SettleSent, action.task_id, action.checkpoint))

    def _commit(self, view: ChainView, action: Commit) -> None:
        task, checkpoint, root = action.task_id, action.checkpoint, action.root
        uri = self._materials.blobs.uri(state_name(view.task(task).terms, root))
        self._send(self._chain.commit(task, checkpoint, root, uri), partial(events.CommitSent, task, checkpoint, root))

    def _send(self, receipt: Receipt, sent: Callable[[int], WorkerEvent]) -> None:
        """Tell of a transaction that was mined, with its gas, and of what the market said in it."""
        self._tell(sent(receipt.gas_used))
        for event in receipt.events:
            said = SAID.get((self._chain.part_at[event.address], event.name))
            if said:
                self._tell(said(event.args))
