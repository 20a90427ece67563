"""Where a task stands, in words, until when, and when its result can be expected."""

from __future__ import annotations

from dataclasses import dataclass

from offchain.market.money import part_up
from offchain.market.view import NOBODY, ChainView, Status, TaskView


@dataclass(frozen=True, slots=True)
class Stage:
    """Attributes:
    words: what happens now.
    until: the timestamp at which that is over, if it is known.
    result: the timestamp at which the result is there, if all goes as it was promised.
    """

    words: str
    until: int | None = None
    result: int | None = None


def stage(task: TaskView, now: int) -> Stage:
    """Where a task stands at a time of the chain's clock."""
    if task.status is Status.BIDDING:
        bidding = now < task.bidding_ends
        words = "taking sealed bids" if bidding else "bids are shown" if now < task.reveal_ends else "to be awarded"
        until = task.bidding_ends if bidding else task.reveal_ends
        return Stage(words, until if now < task.reveal_ends else None, _result_if_awarded(task, now))
    if task.status is Status.TRAINING:
        return _training(task, now)
    if task.status is Status.VACANT:
        waits = task.standby != NOBODY and now <= task.handover_ends
        return Stage("the runner-up may take over", task.handover_ends) if waits else Stage("to be reopened")
    return Stage(task.status.name.lower())


def _training(task: TaskView, now: int) -> Stage:
    committed, intervals = len(task.checkpoints), task.terms.intervals
    result = _result(task, now)
    if held := [k for k in range(task.paid, committed) if task.checkpoints[k].holds]:
        return Stage(f"checkpoint {held[0]} is disputed", None, result)
    if committed < intervals:
        return Stage(f"training for checkpoint {committed} of 0 to {intervals - 1}", task.deadline(committed), result)
    last = task.windows_end
    if now <= last:
        return Stage("challenge window", last, result)
    return waiting(task, now) or Stage("to be collected")


def waiting(task: TaskView, now: int) -> Stage | None:
    """Whom a running attempt waits for so that what is committed can be had; None: it can, or nobody was asked."""
    keeping = task.keeping
    if keeping is None or keeping.available >= len(task.checkpoints):
        return None
    what, point = f"checkpoint {keeping.kept}", task.checkpoints[keeping.kept]
    if task.lost(now):
        return Stage(f"{what} could not be had from anybody: its solver has stalled")
    if keeping.called_at:
        until = max(point.challengeable_until, keeping.called_at + task.terms.challenge_window)
        return Stage(f"{what} waits for the second committee of keepers", until)
    if now > point.challengeable_until:
        return Stage(f"{what} was kept by too few: the second committee may be called")
    return Stage(f"{what} waits for its keepers, or its requester's word", point.challengeable_until)


def _result(task: TaskView, now: int) -> int:
    """When the last checkpoint is final, if its solver keeps its promise from now on."""
    terms, committed = task.terms, len(task.checkpoints)
    if committed == terms.intervals:
        return task.windows_end
    start, done = terms.steps_of(task.first)[0], terms.steps_of(committed)[0]
    left = part_up(task.promised, terms.steps - done, terms.interval)
    due = task.awarded_at + task.defended + part_up(task.promised, done - start, terms.interval)  # of what is there
    return max(due, now - task.promised) + left + terms.challenge_window


def _result_if_awarded(task: TaskView, now: int) -> int:
    """The latest: a solver may promise no more than the interval time."""
    left = task.terms.intervals - task.paid
    return max(now, task.reveal_ends) + left * task.terms.interval_time + task.terms.challenge_window


def cancelled(number: int) -> str:
    """What gets a posted task's money back at first."""
    return f"`offchain task cancel {number}` gets it back, as long as nobody has shown a bid"


def way_back(view: ChainView, task: TaskView) -> str:
    """What gets the requester's locked money back, where nobody else does anything: commands, and from when they work.

    "" for a task that has ended.
    """
    number = task.id
    if task.status is Status.BIDDING and task.leader == NOBODY:
        return cancelled(number)
    if task.status is Status.BIDDING:
        wait = max(0, task.reveal_ends - view.now)
        return f"`offchain task award {number}` in {wait} s gives it to the best bid, or ends it"
    if task.status is Status.TRAINING:
        following = len(task.checkpoints)
        if following == task.terms.intervals:
            after = "after the last challenge window pays for all, and gives the rest back"
            return f"`offchain task collect {number}` {after}"
        wait = max(0, task.deadline(following) - view.now)
        return (
            f"what is not delivered comes back: if checkpoint {following} is not there in {wait} s, "
            f"`offchain task stall {number}`"
        )
    if task.status is Status.VACANT:
        waits = task.standby != NOBODY and view.now <= task.handover_ends
        then = f" in {task.handover_ends - view.now} s" if waits else ""
        return f"`offchain task cancel {number}`{then} gets it back, unless somebody takes over"
    return ""
