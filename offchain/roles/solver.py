"""The solver: bids, trains, commits, collects, and defends what it committed."""

from __future__ import annotations

from collections.abc import Iterator

from offchain.market.actions import (
    Action,
    Award,
    Bid,
    Collect,
    Commit,
    Decline,
    Defend,
    Fetch,
    Reveal,
    TakeOver,
    Timeout,
    Train,
)
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView, DisputeView, Status, TaskView
from offchain.roles.ledger import Ledger
from offchain.roles.policy import Policy


def decide(view: ChainView, notes: Notes, policy: Policy) -> list[Action]:
    """What a solver does at this block. Disputes come first: a clock runs in them."""
    actions = [a for dispute in view.disputes if dispute.solver == view.me for a in _in_dispute(view, dispute)]
    ledger = Ledger.of(view, notes, policy.memory)
    for task in view.tasks:
        known = notes.get(task.id, TaskNotes())
        if task.waits_for(view.me, view.now):
            if view.free >= task.terms.stake:
                actions.append(TakeOver(task.id))
        elif task.status is Status.TRAINING and task.solver == view.me:
            actions += _training(view, task, known)
    offered = [task for task in view.tasks if task.status is Status.BIDDING]
    for task in sorted(offered, key=lambda each: _margin(view, each, notes, policy), reverse=True):
        actions += _bidding(view, task, notes.get(task.id, TaskNotes()), policy, ledger)
    return actions


def _margin(view: ChainView, task: TaskView, notes: Notes, policy: Policy) -> float:
    """The most that a task can leave for a second of this machine, in the token's smallest unit.

    What others bid decides how much of it is left. 0 where it is not known what the task needs.
    """
    known = notes.get(task.id, TaskNotes())
    if not known.needs:
        return 0
    price, _ = policy.bid(task, known.needs, view.gas_price, view.fees.fee_bps)
    return (task.reserve - price) / max(known.needs.interval_seconds * (task.terms.intervals - task.paid), 1e-3)


def _in_dispute(view: ChainView, dispute: DisputeView) -> Iterator[Action]:
    if view.over(dispute):
        return  # convicted in another dispute; what is left is the challenger's bond, and its affair
    if dispute.mover == view.me and view.now <= dispute.deadline:
        yield Defend(dispute.id)
    elif dispute.mover != view.me and view.now > dispute.deadline:
        yield Timeout(dispute.id)


def _bidding(view: ChainView, task: TaskView, known: TaskNotes, policy: Policy, ledger: Ledger) -> Iterator[Action]:
    sealed = (task.id, task.attempt) in view.sealed
    if view.now >= task.reveal_ends:
        if task.leader == view.me:
            yield Award(task.id)
    elif view.now >= task.bidding_ends:
        if sealed and known.bid and known.bid.attempt == task.attempt:
            yield Reveal(task.id)
    elif not sealed:
        yield from _wanting(view, task, known, policy, ledger)


def _wanting(view: ChainView, task: TaskView, known: TaskNotes, policy: Policy, ledger: Ledger) -> Iterator[Action]:
    """A bid, if there is one to make: a task that pays, beside those that are held, with money for its stake."""
    if task.requester == view.me or policy.refusal(task.terms) or not view.registered:
        return
    if view.free - ledger.stakes < task.terms.stake + view.fees.bid_bond:
        return
    if known.fit is None and not known.resting:
        yield Fetch(task.id)
    elif known.fit and known.needs:
        price, promised = policy.bid(task, known.needs, view.gas_price, view.fees.fee_bps)
        why = ledger.refusal(task, known.needs) or _too_dear(task, price)
        if why is None:
            ledger.hold(task, known.needs)  # the bids of one look count together
            ledger.stakes += task.terms.stake + view.fees.bid_bond
        yield Bid(task.id, price, promised) if why is None else Decline(task.id, why)


def _too_dear(task: TaskView, price: int) -> str | None:
    return f"it pays {task.reserve} units at most; training it costs {price} here" if price > task.reserve else None


def _training(view: ChainView, task: TaskView, known: TaskNotes) -> Iterator[Action]:
    if task.paid < len(task.checkpoints) and task.final(task.paid, view.now):
        yield Collect(task.id)
    following = len(task.checkpoints)
    if following == task.terms.intervals:
        return
    if known.fit is None and not known.resting:
        yield Fetch(task.id)  # after a restart that lost the database
    elif following not in known.trained:
        yield Train(task.id, following)
    elif view.now <= task.deadline(following):
        yield Commit(task.id, following, known.trained[following])
