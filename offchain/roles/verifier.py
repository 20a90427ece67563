"""The verifier: replays intervals that nobody can predict, and challenges what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256

from offchain.market.actions import Action, Audit, Challenge, Dismiss, Fetch, OpenDispute, Timeout
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView, DisputeView, Status, TaskView
from offchain.roles.policy import Policy


def decide(view: ChainView, notes: Notes, policy: Policy, secret: bytes) -> list[Action]:
    """What a verifier does at this block. `secret`, which nobody else knows, decides which intervals it audits."""
    actions = [a for dispute in view.disputes if dispute.challenger == view.me for a in _in_dispute(view, dispute)]
    for task in view.tasks:
        if task.status is Status.TRAINING and task.solver != view.me and policy.audits(task.terms, view.gas_price):
            actions += _auditing(view, task, notes.get(task.id, TaskNotes()), policy, secret)
    return actions


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
    for checkpoint in range(task.paid, len(task.checkpoints)):
        if not task.challengeable(checkpoint, view.now):
            continue
        right = known.audited.get(checkpoint)
        if right is None and drawn(secret, task, checkpoint, policy.audit_share):
            if known.fit:
                yield Audit(task.id, checkpoint)
            elif known.fit is None and not known.resting:
                yield Fetch(task.id)
            return
        if right is False:
            if checkpoint not in known.disputed and view.free >= task.terms.bond:
                yield OpenDispute(task.id, checkpoint)
            return  # checkpoints after a wrong one need no replay
