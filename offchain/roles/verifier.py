"""The verifier: replays intervals that nobody can predict, vouches for what is right, and challenges what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from typing import Final

from offchain.market.actions import (
    Accuse,
    Action,
    Audit,
    Challenge,
    Claim,
    Collect,
    Decline,
    Dismiss,
    DrawLot,
    Fetch,
    OpenDispute,
    Reason,
    SettleClaim,
    Timeout,
    Vouch,
)
from offchain.market.money import tokens
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView, DisputeView, Status, TaskView
from offchain.roles.policy import DISPUTE_GAS, REWARD, Policy

PATIENCE: Final = 60  # seconds that a solver has to collect what is final, before who vouched for it does


def decide(view: ChainView, notes: Notes, policy: Policy, secret: bytes) -> list[Action]:
    """What a verifier does at this block. `secret`, which nobody else knows, decides which intervals it audits."""
    actions = [a for dispute in view.disputes if dispute.challenger == view.me for a in _in_dispute(view, dispute)]
    for key in view.claims:
        actions += _claimed(view, notes, *key)
    for task in view.tasks:
        if task.status is not Status.TRAINING or task.solver == view.me:
            continue
        if policy.audits(task.terms, view.gas_price):
            actions += _auditing(view, task, notes.get(task.id, TaskNotes()), policy, secret)
        else:
            actions.append(Decline(task.id, _unpaid(view, task, policy)))
    return actions


def _unpaid(view: ChainView, task: TaskView, policy: Policy) -> Reason:
    """Why a task is not audited: a conviction would cost more than it brings."""
    reward, gas = int(task.terms.stake * REWARD), policy.gas_cost(DISPUTE_GAS, view.gas_price)
    why = f"a conviction would bring {tokens(reward)}, and the gas of its dispute costs {tokens(gas)}"
    return Reason("unaudited", why, "a lower fee for gas, or a lower --coin-price, would have it audited")


def drawn(secret: bytes, task: TaskView, checkpoint: int, share: float) -> bool:
    """Whether the lottery picks a checkpoint. Nobody can tell without the secret, or before the root is known."""
    ticket = sha256(secret + task.id.to_bytes(32, "big") + bytes([task.attempt]) + checkpoint.to_bytes(4, "big"))
    ticket.update(task.checkpoints[checkpoint].root)
    return int.from_bytes(ticket.digest()[:8], "big") < share * 2**64


def _in_dispute(view: ChainView, dispute: DisputeView) -> Iterator[Action]:
    if view.over(dispute):
        yield Dismiss(dispute.id)
    elif dispute.mover == view.me and view.now <= dispute.deadline:
        yield Challenge(dispute.id)
    elif dispute.mover != view.me and view.now > dispute.deadline:
        yield Timeout(dispute.id)


def _auditing(view: ChainView, task: TaskView, known: TaskNotes, policy: Policy, secret: bytes) -> Iterator[Action]:
    lots = policy.vouches(task.terms, view.gas_price)
    for checkpoint in range(task.paid, len(task.checkpoints)):
        if not task.challengeable(checkpoint, view.now):
            continue
        right, won = known.audited.get(checkpoint), known.lots.get(checkpoint)
        claimable = lots and view.now <= task.checkpoints[checkpoint].claimable_until
        if claimable and won is None and not policy.draining:
            yield DrawLot(task.id, checkpoint)
        if claimable and won and right:
            yield from _claiming(view, task, known, checkpoint)
        due = (claimable and won) or drawn(secret, task, checkpoint, policy.audit_share)
        if right is None and due:
            if policy.draining:
                return
            if known.fit:
                yield Audit(task.id, checkpoint)
            elif known.fit is None and not known.resting:
                yield Fetch(task.id)
            return
        if right is False:
            if checkpoint not in known.disputed:
                affordable = view.free >= task.terms.bond
                yield OpenDispute(task.id, checkpoint) if affordable else Accuse(task.id, checkpoint)
            return  # checkpoints after a wrong one need no replay


def _claiming(view: ChainView, task: TaskView, known: TaskNotes, checkpoint: int) -> Iterator[Action]:
    """Vouch for what was replayed, once."""
    claimed = (task.id, task.attempt, checkpoint) in view.claims
    if not claimed and checkpoint in known.ready and view.free >= view.fees.audit_bond:
        yield Claim(task.id, checkpoint)


def _claimed(view: ChainView, notes: Notes, task_id: int, attempt: int, checkpoint: int) -> Iterator[Action]:
    """What is due about a claim of this account."""
    if task_id not in view:
        return
    task, revealed = view.task(task_id), view.claims[task_id, attempt, checkpoint]
    point = task.committed(attempt, checkpoint)
    if point is None:
        yield SettleClaim(task_id, attempt, checkpoint)  # the attempt is over
    elif not revealed:
        known = notes.get(task_id, TaskNotes())
        if not point.claimable_until < view.now <= point.challengeable_until:
            if task.keeping and task.keeping.granted and task.unshown(checkpoint, view.now):
                yield SettleClaim(task_id, attempt, checkpoint)  # that may have come too late to show anything
        elif task.available(checkpoint) and checkpoint in known.ready:
            yield Vouch(task_id, checkpoint)
    elif task.paid > checkpoint:
        yield SettleClaim(task_id, attempt, checkpoint)
    elif task.final(task.paid, view.now) and view.now > point.challengeable_until + PATIENCE:
        yield Collect(task_id)
