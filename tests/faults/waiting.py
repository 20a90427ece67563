"""What a task waits for: whether one of the crew has something to do, else until when the clock may be put forward."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from offchain.chain.claims import Fate, claims_of
from offchain.market.keeping import is_quorum
from offchain.market.view import ChainView, Status, TaskView
from offchain.roles.keeper import objecting_from
from offchain.worker.events import Audited, BidSent
from offchain.worker.kept import Keeps
from tests.faults.island import CREW, KEEPERS, Island

LEAP: Final = 60  # seconds by which the clock is put forward, at the least: a part of every window
SOLVERS: Final = ("solver-a", "solver-b")
ALL: Final = "verifier-b"  # replays also what it is not drawn for


def somebody_is_due(island: Island, view: ChainView, task: TaskView, served: bool) -> bool:
    """Whether one of the crew, or the task's solver, can still do something at this time, and will.

    Args:
        served: whether the checkpoints can be had.
    """
    if task.status is Status.BIDDING:
        return _bidders_are(island, view, task)
    if task.status is Status.VACANT:  # also again: who took over may have been reorganised away
        return any(task.waits_for(island.chains[name].address, view.now) for name in SOLVERS)
    if task.status is not Status.TRAINING:
        return False
    if len(task.checkpoints) < task.terms.intervals or not (island.idle or _all_is_seen(island, task)):
        return True
    if _accusers_are(island, view, task) or _vouchers_are(island, view, task):
        return True
    return served and _keepers_are(island, view, task)


def _bidders_are(island: Island, view: ChainView, task: TaskView) -> bool:
    if view.now < task.bidding_ends:
        return not all(island.said(name, BidSent, task.id) for name in SOLVERS)
    chains = (island.chains[name] for name in SOLVERS)
    # One that was reorganised away in the last moment is not to be shown.
    return any(any(chain.sealed(task.id, task.attempt)) for chain in chains)


def _all_is_seen(island: Island, task: TaskView) -> bool:
    seen = {(entry["checkpoint"], entry["claimed"]) for entry in island.said(ALL, Audited, task.id)}
    return seen >= {(k, point.root.hex()) for k, point in enumerate(task.checkpoints)}


def _accusers_are(island: Island, view: ChainView, task: TaskView) -> bool:
    """Whether a root that one of the crew found false is to be disputed."""
    if any(dispute.task_id == task.id for dispute in view.disputes):
        return False
    false = {(e["checkpoint"], e["claimed"]) for name in CREW for e in island.said(name, Audited, task.id)
             if not e["right"]}  # fmt: skip
    open_ones = (k for k in range(len(task.checkpoints)) if task.challengeable(k, view.now))
    return any((k, task.checkpoints[k].root.hex()) in false for k in open_ones)


def _vouchers_are(island: Island, view: ChainView, task: TaskView) -> bool:
    """Whether a claim of the crew's is to be revealed."""
    crew = {island.chains[name].address for name in CREW}
    claims = claims_of(island.chains["requester"], task.id)
    hidden = [claim for claim in claims if claim.fate is Fate.CLAIMED and claim.verifier in crew]
    points = [point for each in hidden if (point := task.committed(each.attempt, each.checkpoint)) is not None]
    return any(point.claimable_until < view.now <= point.challengeable_until for point in points)


def _keepers_are(island: Island, view: ChainView, task: TaskView) -> bool:
    """Whether a committee is to sit down, one of its members to sign, or what they have signed to be sent."""
    keeping, members = task.keeping, view.members(task)
    if keeping is None or keeping.granted or keeping.available >= len(task.checkpoints):
        return False
    if members is None:
        return True
    seats = {name: m.seats for name in KEEPERS for m in members if m.holder == island.chains[name].address}
    about = task.attempt, keeping.committee
    due = {(*about, k) for k in range(max(task.paid, task.first), len(task.checkpoints))}
    signed = {name: {(e["attempt"], e["committee"], e["checkpoint"]) for e in island.said(name, Keeps, task.id)}
              for name in seats}  # fmt: skip
    return any(due - signed[name] for name in seats) or is_quorum(sum(seats.values()), task.terms.keepers)


def leap(view: ChainView, task: TaskView, served: bool, waits: Collection[int]) -> int:
    """Seconds until the next window ends, or the time of somebody who says nothing. `waits`: more such timestamps."""
    silent = [dispute.deadline for dispute in view.disputes]
    ends = (task.bidding_ends, task.reveal_ends, task.handover_ends, *_ends(task, served), *silent, *waits)
    return max(LEAP, min((end - view.now + 1 for end in ends if end >= view.now), default=LEAP))


def _ends(task: TaskView, served: bool) -> Iterator[int]:
    window = task.terms.challenge_window
    for k, point in enumerate(task.checkpoints):
        yield from (point.claimable_until, point.challengeable_until)
        if not task.available(k):
            yield point.committed_at + window // 2  # then the requester fetches it
        if not served:
            yield objecting_from(point)
    if task.keeping and task.keeping.called_at:
        yield task.keeping.called_at + window


def phase_of(task: TaskView, now: int, disputed: bool, denounced: bool) -> str:
    """What a task waits for, in a word or two.

    Args:
        denounced: whether somebody is to lose a bond for what it has signed.
    """
    if task.status is Status.TRAINING:
        return "disputing" if disputed else _training(task, now)
    if task.status is Status.BIDDING:
        return "bidding" if now <= task.bidding_ends else "revealing"
    if denounced:
        return "denouncing"
    return {Status.VACANT: "taking over", Status.NONE: "posting"}.get(task.status, "settling")


def _training(task: TaskView, now: int) -> str:
    committed, keeping = len(task.checkpoints), task.keeping
    if keeping and keeping.available < committed:
        if keeping.called_at:
            return "second committee"
        return "keeping"
    if committed < task.terms.intervals:
        return "training"
    return "auditing" if now <= max(point.claimable_until for point in task.checkpoints) else "vouching"
