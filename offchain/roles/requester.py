"""The requester: gets its money back from a task that nobody took, or that its solver left."""

from __future__ import annotations

from collections.abc import Iterator

from offchain.market.actions import Action, Award, Stall
from offchain.market.view import ChainView, Status, TaskView


def decide(view: ChainView) -> list[Action]:
    """What a requester does at this block about its own tasks."""
    return [action for task in view.tasks if task.requester == view.me for action in _about(view, task)]


def _about(view: ChainView, task: TaskView) -> Iterator[Action]:
    if task.status is Status.BIDDING and view.now > task.bidding_ends:
        yield Award(task.id)
    following = len(task.checkpoints)
    if task.status is not Status.TRAINING or following == task.terms.intervals:
        return
    pending = range(task.paid, following)
    if view.now > task.deadline(following) and all(task.final(k, view.now) for k in pending):
        yield Stall(task.id)
