"""The solver: bids, trains, commits, collects, and defends what it committed."""

from __future__ import annotations

from collections.abc import Iterator

from offchain.market.actions import Action, Award, Bid, Collect, Commit, Decline, Defend, Fetch, Timeout, Train
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView, DisputeView, Status, TaskView
from offchain.roles.ledger import Ledger
from offchain.roles.policy import Policy

NOBODY = "0x" + "0" * 40


def decide(view: ChainView, notes: Notes, policy: Policy) -> list[Action]:
    """What a solver does at this block. Disputes come first: a clock runs in them."""
    actions = [a for dispute in view.disputes if dispute.solver == view.me for a in _in_dispute(view, dispute)]
    ledger = Ledger.of(view, notes, policy.memory)
    for task in view.tasks:
        known = notes.get(task.id, TaskNotes())
        if task.status is Status.BIDDING:
            actions += _bidding(view, task, known, policy, ledger)
        elif task.status is Status.TRAINING and task.solver == view.me:
            actions += _training(view, task, known)
    return actions


def _in_dispute(view: ChainView, dispute: DisputeView) -> Iterator[Action]:
    if view.task(dispute.task_id).status is not Status.TRAINING:
        return  # convicted in another dispute; what is left is the challenger's bond, and its affair
    if dispute.mover == view.me and view.now <= dispute.deadline:
        yield Defend(dispute.id)
    elif dispute.mover != view.me and view.now > dispute.deadline:
        yield Timeout(dispute.id)


def _bidding(view: ChainView, task: TaskView, known: TaskNotes, policy: Policy, ledger: Ledger) -> Iterator[Action]:
    if view.now > task.bidding_ends:
        if task.solver == view.me:
            yield Award(task.id)
        return
    if task.requester == view.me or task.solver == view.me or policy.refusal(task.terms) or not view.registered:
        return
    price = policy.bid(task.terms, None if task.solver == NOBODY else task.price, view.gas_price)
    if price is None or view.free < task.terms.stake:
        return
    if known.fit and known.needs:
        why = ledger.refusal(task, known.needs)
        if why is None:
            ledger.hold(task, known.needs)  # the bids of one look count together
        yield Bid(task.id, price) if why is None else Decline(task.id, why)
    elif known.fit is None and not known.resting:
        yield Fetch(task.id)  # only what is worth a bid: its file is large, and its trial takes time


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
