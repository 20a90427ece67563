"""The keeper: keeps and signs checkpoints of attempts on whose committee it sits, and objects to what it cannot have.

Verifiers are drawn as keepers, so whoever has that role has this one. What the solver and the requester do so that
checkpoints count as available is here, too.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from offchain.market.actions import (
    Acknowledge,
    Action,
    Attest,
    Denounce,
    Keep,
    ObjectTo,
    Recall,
    Reward,
    Seat,
    SettleObjection,
    ShowKept,
    Stall,
)
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView, CheckpointView, Status, TaskView
from offchain.roles.policy import Policy

PROMPT: Final = 8  # parts of a challenge window, of which one passes before signatures are gathered; they count as
# prompt for two (Keepers.PROMPT_PART), so that several checkpoints may share one attestation
LATE: Final = 4  # parts of the time for claims; in the last a keeper says that it cannot have a checkpoint
NOTICE: Final = 120  # seconds, where a part is shorter: for a look after a restart, and ten blocks of a slow chain
AT_ONCE: Final = 64  # checkpoints that one call makes available: each costs gas


def decide(view: ChainView, notes: Notes, policy: Policy) -> list[Action]:
    """What an account does at this block because of its seats."""
    actions = list[Action]()
    for task in view.tasks:
        if task.status is Status.TRAINING and _sits(view, task):
            known = notes.get(task.id, TaskNotes())
            if known.kept or not policy.draining:  # who drains goes on where it has signed, and begins nowhere
                actions += _keeping(view, task, known)
    return [*actions, *_afterwards(view), *_denouncing(view, policy)]


def of_solver(view: ChainView, task: TaskView) -> Iterator[Action]:
    """What the solver of a running attempt does so that its checkpoints can be paid for."""
    keeping = task.keeping
    if keeping is None or keeping.granted:
        return
    if view.members(task) is None:
        yield Seat(task.id)
    elif (first := _missing(task)) is not None:
        last = len(task.checkpoints) == task.terms.intervals
        if last or view.now >= first.committed_at + task.terms.challenge_window // PROMPT:
            yield Attest(task.id, _last(task))
    yield from _calling(view, task)


def of_requester(view: ChainView, task: TaskView) -> Iterator[Action]:
    """What a requester does about a running attempt whose checkpoints cannot be had."""
    keeping = task.keeping
    if keeping is None or keeping.granted:
        return
    first = _missing(task)
    if task.lost(view.now):
        yield Stall(task.id)
    elif first is not None and view.now > first.committed_at + task.terms.challenge_window // 2:
        yield Acknowledge(task.id, _last(task))
    if keeping.committee and view.members(task) is None:
        yield Seat(task.id)
    yield from _calling(view, task)


def _missing(task: TaskView) -> CheckpointView | None:
    """The first checkpoint that is not available."""
    assert task.keeping is not None
    kept = task.keeping.available
    return task.checkpoints[kept] if kept < len(task.checkpoints) else None


def _last(task: TaskView) -> int:
    """Up to which checkpoint one call makes them available."""
    assert task.keeping is not None
    return min(len(task.checkpoints), max(task.first, task.keeping.kept) + AT_ONCE) - 1


def _calling(view: ChainView, task: TaskView) -> Iterator[Action]:
    """The second committee, once the first one's time is over."""
    assert task.keeping is not None
    first = _missing(task)
    if not task.keeping.called_at and first is not None and view.now > first.challengeable_until:
        yield Recall(task.id)


def _sits(view: ChainView, task: TaskView) -> bool:
    return any(member.holder == view.me for member in view.members(task) or ())


def _keeping(view: ChainView, task: TaskView, known: TaskNotes) -> Iterator[Action]:
    """In their order: who signs for a checkpoint says that it has all those before it."""
    for k in range(max(task.paid, task.first), len(task.checkpoints)):
        if k in known.kept:
            continue
        if _is_denied(view, task, k):
            yield ObjectTo(task.id, k)
        yield Keep(task.id, k)
        return


def _is_denied(view: ChainView, task: TaskView, k: int) -> bool:
    """Whether others have signed for what this account cannot have, and the time for claims is about to end."""
    point, keeping = task.checkpoints[k], task.keeping
    if keeping is None or keeping.called_at or not task.available(k) or view.free < view.fees.audit_bond:
        return False
    return objecting_from(point) < view.now <= point.claimable_until


def objecting_from(point: CheckpointView) -> int:
    """When who cannot have a checkpoint begins to object to it. Who is merely slow has half of the time for claims: a
    needless objection costs everybody a window and the gas of a second committee, and there is one an attempt."""
    time = point.claimable_until - point.committed_at
    return point.claimable_until - min(max(time // LATE, NOTICE), time // 2)


def _afterwards(view: ChainView) -> Iterator[Action]:
    """What is left to do about attempts that are over, and about objections that are decided."""
    for task_id, attempt in sorted(view.objections):
        if task_id not in view:
            continue
        task = view.task(task_id)
        if not view.runs(task_id, attempt):
            yield SettleObjection(task_id, attempt)
        elif task.keeping and task.keeping.called_at and view.members(task) is None:
            yield Seat(task_id)
        elif task.checkpoints and all(map(task.available, range(len(task.checkpoints)))):
            yield SettleObjection(task_id, attempt)
    for task_id, attempt in sorted(view.denied):
        if task_id in view and not view.runs(task_id, attempt):
            yield ShowKept(task_id, attempt)
    for task_id, attempt, committee in sorted(view.seats):
        if task_id in view and not view.runs(task_id, attempt):
            yield Reward(task_id, attempt, committee)


def _denouncing(view: ChainView, policy: Policy) -> Iterator[Action]:
    """Who signed for what this account could not have, and did not show it, loses a bond where that is worth the gas.

    It concerns the objector first: whoever signs for what nobody serves is drawn, and paid, in its place.
    """
    for (task_id, attempt), denial in sorted(view.denials.items()):
        for place, fine in denial.fines.items():
            if view.now > denial.until and policy.denounces(fine, denial, view.gas_price):
                yield Denounce(task_id, attempt, place)
