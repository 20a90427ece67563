"""What an account has to do in time, and from when it may do what: read off a view of the chain."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from offchain.market.view import ChainView, Status, TaskView


@dataclass(frozen=True, slots=True)
class Duty:
    """`at`: the timestamp by which it must be done, or, where `must` is False, from which it may be."""

    at: int
    what: str
    task: int
    must: bool = True


def duties(view: ChainView) -> list[Duty]:
    """Those of the account that looks, the most urgent first."""
    found = [duty for task in view.tasks for duty in _of_task(view, task)]
    found += [Duty(view.now, "settle a bid that was not shown", task, must=False) for task, _ in view.unshown()]
    for dispute in view.disputes:
        if dispute.mover == view.me and not view.over(dispute):
            found.append(Duty(dispute.deadline, f"move in dispute {dispute.id}", dispute.task_id))
    return sorted(found, key=lambda duty: (not duty.must, duty.at, duty.task))


def _of_task(view: ChainView, task: TaskView) -> Iterator[Duty]:
    me, now = view.me, view.now
    if task.status is Status.BIDDING:
        if (task.id, task.attempt) in view.sealed and now < task.reveal_ends:
            yield Duty(task.reveal_ends, "show the bid", task.id)
        if me in (task.requester, task.leader):
            yield Duty(task.reveal_ends, "award", task.id, must=False)
    elif task.waits_for(me, now):
        yield Duty(task.handover_ends, "take over", task.id)
    elif task.status is Status.TRAINING and task.solver == me:
        following = len(task.checkpoints)
        if following < task.terms.intervals:
            yield Duty(task.deadline(following), f"commit checkpoint {following}", task.id)
        if task.paid < following and not task.checkpoints[task.paid].holds:
            yield Duty(task.checkpoints[task.paid].challengeable_until + 1, "collect", task.id, must=False)
