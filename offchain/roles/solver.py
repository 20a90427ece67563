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
    Prepare,
    Reason,
    Reveal,
    SettleBid,
    TakeOver,
    Timeout,
    Train,
)
from offchain.market.money import tokens
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView, DisputeView, Status, TaskView
from offchain.roles import keeper
from offchain.roles.ledger import Ledger
from offchain.roles.policy import Policy


def decide(view: ChainView, notes: Notes, policy: Policy) -> list[Action]:
    """What a solver does at this block. Disputes come first: a clock runs in them."""
    actions = [a for dispute in view.disputes if dispute.solver == view.me for a in _in_dispute(view, dispute)]
    actions += [SettleBid(*bid) for bid in view.unshown()]
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
    if view.now >= task.bidding_ends and task.leader == view.me:
        yield Prepare(task.id)  # its time counts from the award
    if view.now >= task.reveal_ends:
        if task.leader == view.me:
            yield Award(task.id)
    elif view.now >= task.bidding_ends:
        if sealed and known.bid and known.bid.attempt == task.attempt:
            yield Reveal(task.id)
        elif task.leader != view.me and known == TaskNotes():
            why = f"bids were taken until {view.now - task.bidding_ends} s ago, and this worker had made none"
            yield Decline(task.id, Reason("late", why, "a worker that runs meanwhile sees it in time"))
    elif not sealed:
        yield from _wanting(view, task, known, policy, ledger)


def _wanting(view: ChainView, task: TaskView, known: TaskNotes, policy: Policy, ledger: Ledger) -> Iterator[Action]:
    """A bid, if there is one to make: a task that pays, beside those that are held, with money for its stake."""
    if reason := policy.refusal(task.terms) or _forbidden(view, task, policy) or _too_poor(view, task, ledger):
        yield Decline(task.id, reason)
    elif known.fit is None and not known.resting:
        yield Fetch(task.id)
    elif known.fit and known.needs:
        price, promised = policy.bid(task, known.needs, view.gas_price, view.fees.fee_bps)
        reason = ledger.refusal(task, known.needs) or _too_dear(task, price)
        if reason is None:
            ledger.hold(task, known.needs)  # the bids of one look count together
            ledger.stakes += task.terms.stake + view.fees.bid_bond
        yield Bid(task.id, price, promised) if reason is None else Decline(task.id, reason)


def _forbidden(view: ChainView, task: TaskView, policy: Policy) -> Reason | None:
    """Why no bid of this account is allowed."""
    if task.requester == view.me:
        return Reason("own", "it is this account's own task", "workers of other accounts may bid")
    if policy.draining:
        return Reason("draining", "this worker takes nothing new", "`offchain worker drain --undo` ends that")
    if not view.registered:
        why = "it takes bids of registered solvers, and this account is not in the register"
        return Reason("unregistered", why, "a worker registers when it starts")
    return None


def _too_poor(view: ChainView, task: TaskView, ledger: Ledger) -> Reason | None:
    """Why the vault has too little for its stake and the bond of a bid."""
    needed, has = task.terms.stake + view.fees.bid_bond, view.free - ledger.stakes
    if has >= needed:
        return None
    kept = f", and {tokens(ledger.stakes)} more is kept for other bids" if ledger.stakes else ""
    why = (
        f"it asks for a stake of {tokens(task.terms.stake)} and a bond of {tokens(view.fees.bid_bond)}; "
        f"{tokens(max(0, has))} is free in the vault{kept}"
    )
    return Reason("money", why, f"`offchain vault deposit {tokens(needed - has).replace(',', '')}`")


def _too_dear(task: TaskView, price: int) -> Reason | None:
    if price <= task.reserve:
        return None
    why = f"it pays {tokens(task.reserve)} at most; training it costs {tokens(price)} here"
    return Reason("price", why, "a lower --hourly, or a lower fee for gas, would bring a bid")


def _training(view: ChainView, task: TaskView, known: TaskNotes) -> Iterator[Action]:
    if task.paid < len(task.checkpoints) and task.final(task.paid, view.now):
        yield Collect(task.id)
    yield from keeper.of_solver(view, task)
    following = len(task.checkpoints)
    if following == task.terms.intervals:
        return
    if known.fit is None and not known.resting:
        yield Fetch(task.id)  # after a restart that lost the database
    elif following not in known.trained:
        yield Train(task.id, following)
    elif view.now <= task.deadline(following):
        yield Commit(task.id, following, known.trained[following])
