"""The requester: it ends its tasks where nobody else does, to get its money back, or its result."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from offchain.market.actions import Action, Award, Collect, Reopen, SettleClaim, Stall
from offchain.market.view import PAID_PER_CALL, ChainView, Status, TaskView
from offchain.roles import keeper

PATIENCE: Final = 60  # seconds that a solver has to collect what is final, before its requester does


def decide(view: ChainView) -> list[Action]:
    """What a requester does at this block about its own tasks."""
    actions = [action for task in view.tasks if task.requester == view.me for action in _about(view, task)]
    return [*actions, *_unearned(view)]


def _unearned(view: ChainView) -> Iterator[Action]:
    """Claims that earn nothing: their fees come back as they are settled, and who has not shown the log loses a bond.

    At once: of an attempt that failed meanwhile nobody could tell any more whether the log was shown in time.
    """
    for (task_id, attempt, checkpoint, verifier), shown in view.theirs.items():
        if task_id not in view:
            continue
        task = view.task(task_id)
        void = task.committed(attempt, checkpoint) is None
        if void or (not shown and task.unshown(checkpoint, view.now)):
            yield SettleClaim(task_id, attempt, checkpoint, verifier)


def _about(view: ChainView, task: TaskView) -> Iterator[Action]:
    if task.status is Status.BIDDING and view.now >= task.reveal_ends:
        yield Award(task.id)
    elif task.forsaken(view.now):
        yield Reopen(task.id)
    elif task.status is Status.TRAINING:
        yield from keeper.of_requester(view, task)
        yield from _ending(view, task)


def _ending(view: ChainView, task: TaskView) -> Iterator[Action]:
    """Stall what the solver left; complete what it finished and never collected, as only that makes it a result."""
    committed = len(task.checkpoints)
    if not all(task.final(k, view.now) for k in range(task.paid, committed)):
        return
    if committed == task.terms.intervals:
        if view.now > task.windows_end + PATIENCE:
            yield Collect(task.id)
    elif view.now > task.deadline(committed):
        # `stall` pays what is final, but no more than this at once, and is refused if anything is left to pay.
        yield Collect(task.id) if committed - task.paid > PAID_PER_CALL else Stall(task.id)
