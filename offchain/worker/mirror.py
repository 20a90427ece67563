"""Keeps, within a share of the disk, what others may want of tasks that this worker has seen to their end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from offchain.errors import OffchainError
from offchain.market.view import ChainView, Status, TaskView
from offchain.worker.background import Backoff
from offchain.worker.database import Database
from offchain.worker.events import Tell, WorkerEvent
from offchain.worker.materials import Materials
from offchain.worker.names import log_name, outputs_name, state_name, task_name
from offchain.worker.room import ROOM

PAUSE: Final = 60.0  # seconds between two looks at how much is kept
OWED: Final = 7 * 24 * 3600  # seconds for which a solver keeps what it was paid for, however much that is


@dataclass(frozen=True, slots=True)
class Mirrored(WorkerEvent):
    """Somebody else's checkpoint is here, was checked, and is served from here too."""

    name = "mirrored"
    level = "debug"
    task: int
    checkpoint: int


class Mirror:
    """Fetches the last checkpoints of tasks that this worker audited, and removes what finished first where too much is
    kept. What a running task needs, and what this account was paid for lately, is never removed.

    Args:
        keep: bytes for tasks that are over; 0: nothing is fetched or kept of them.
        signed: names of files with signatures that others may still ask for.
    """

    def __init__(
        self,
        materials: Materials,
        db: Database,
        keep: int,
        tell: Tell,
        pause: float = PAUSE,
        signed: Callable[[ChainView], Iterable[str]] = lambda view: (),
    ) -> None:
        self._signed = signed
        self._materials, self._db, self._keep, self._tell = materials, db, keep, tell
        self._pause, self._next = pause, 0.0
        self._tries = Backoff(1.0, 300.0)
        self._asked: set[str] = set()  # blobs that are being fetched

    def look(self, view: ChainView, whole: bool) -> None:
        """Fetch what is missing; make room. `whole`: whether the view has all tasks that matter."""
        if not self._keep:
            return
        for task in self._wanted(view):
            self._fetch(task, task.terms.intervals - 1)
        if whole and time.monotonic() >= self._next:
            self._next = time.monotonic() + self._pause
            self._materials.blobs.keep_within(self._keep, set(self._needed(view)), ROOM)

    def _wanted(self, view: ChainView) -> Iterator[TaskView]:
        """Tasks of others whose last checkpoint is committed, and not here, and of which this worker audited some."""
        for task in view.tasks:
            if task.status is not Status.TRAINING or task.solver == view.me:
                continue
            if len(task.checkpoints) < task.terms.intervals:
                continue
            name = state_name(task.terms, task.checkpoints[-1].root)
            if name in self._materials.blobs and name not in self._asked:
                continue
            audited = self._db.notes(task).audited
            if audited and all(audited.values()):
                yield task

    def _fetch(self, task: TaskView, checkpoint: int) -> None:
        """Who does not serve it is no failure of this worker, which tries again."""
        name = state_name(task.terms, task.checkpoints[checkpoint].root)
        if not self._tries.ready(name):
            return
        self._asked.add(name)
        try:
            here = self._materials.mirror(task, checkpoint)
        except (OffchainError, OSError):
            self._tries.failed(name)
            self._asked.discard(name)
            return
        if here:
            self._tries.succeeded(name)
            self._asked.discard(name)
            self._tell(Mirrored(task.id, checkpoint))

    def _needed(self, view: ChainView) -> Iterator[str]:
        """Names of blobs that must stay."""
        yield from self._signed(view)
        for task in (view.task(task_id) for task_id, _ in view.denied if task_id in view):
            yield task_name(task.terms)
            yield from (state_name(task.terms, root) for root in self._db.signed(task))  # also of a void attempt
        for task in view.tasks:
            mine = task.solver == view.me
            if task.status.ended and not (mine and view.now < task.windows_end + OWED):
                continue
            yield task_name(task.terms)
            for point in task.checkpoints:
                yield state_name(task.terms, point.root)
                yield log_name(task.terms, point.root)
                yield outputs_name(task.terms, point.root)
            if mine:
                yield from (blob for _, blob in self._db.trained_blobs(task).values())
