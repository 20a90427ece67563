"""What a requester learns of a training besides its model: the whole loss curve, and figures on the validation set."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Final

from offchain.errors import BadInput, NoRoom, Unreachable
from offchain.exec import Setting, make_executor
from offchain.ir.arrays import Array
from offchain.market.view import CheckpointView, TaskView
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import load_log, load_state
from offchain.task import Task
from offchain.validation import Validation
from offchain.worker.holders import Holders
from offchain.worker.names import log_name, state_name
from offchain.worker.room import SLACK, state_bytes

TRIES: Final = 3  # to fetch a state that is to be evaluated
PATIENCE: Final = 60.0  # seconds for each
ALL_LOGS: Final = 300.0  # seconds
ALL_STATES: Final = 300.0  # seconds
Curves = dict[str, list[float | None]]


def curves(view: TaskView, task: Task, blobs: BlobStore, holders: Holders | None = None) -> Curves:
    """Each metric at all steps of a task, from the logs that its solver keeps, each checked against its checkpoint.

    None for the steps of a log that is not served.
    """
    found: Curves = {name: [] for name in task.graph.metrics}
    end = time.monotonic() + ALL_LOGS
    for point in view.checkpoints:
        log = log_of(view, point, task, (blobs, holders or Holders()), end - time.monotonic())
        for i, values in enumerate(found.values()):
            values += [None] * task.interval if log is None else [float(value) for value in log[:, i]]
    return found


def log_of(
    view: TaskView, point: CheckpointView, task: Task, found: tuple[BlobStore, Holders], patience: float = ALL_LOGS
) -> Array | None:
    """The log of a checkpoint, (steps, metrics), checked against its root; None where nobody serves it in `patience`
    seconds."""
    (blobs, holders), name, graph, root = found, log_name(view.terms, point.root), task.graph, point.root
    limit = 4 * graph.slots[-1].spec.length + SLACK + 256 * len(graph.slots)
    if patience <= 0:
        return None
    with suppress(Unreachable, NoRoom, BadInput):
        places = holders.of_log(view, point)
        path = blobs.fetch(places, name, lambda path: load_log(path, graph, root), limit, patience)
        return load_log(path, graph, root)
    return None


class Validated:
    """Figures on a task's validation set, of each checkpoint that is committed while `look` is called.

    Attributes:
        holders: who may have its states.
    """

    def __init__(self, task: Task, blobs: BlobStore, holders: Holders | None = None) -> None:
        self._task, self._blobs, self.holders = task, blobs, holders or Holders()
        self._figures: dict[bytes, dict[str, float]] = {}  # by root: a checkpoint may be replaced
        self._tries: dict[bytes, int] = {}
        self._validation: Validation | None = None

    def look(self, view: TaskView) -> None:
        """Fetch and evaluate states that are new. What cannot be fetched is tried again in the next looks.

        A solver that serves slowly must not keep its requester from acting: while the task runs one state is tried in a
        look, and what is left when it has ended is tried for ALL_STATES seconds.
        """
        end = time.monotonic() + (ALL_STATES if view.status.ended else 0)
        for point in view.checkpoints if self._task.validation else ():
            tries = self._tries.get(point.root, 0)
            if point.root in self._figures or tries >= TRIES:
                continue
            self._tries[point.root] = tries + 1
            with suppress(Unreachable, NoRoom, BadInput):
                self.add(point.root, self._state(view, point))
            if time.monotonic() >= end:
                return

    def add(self, root: bytes, state: list[Array]) -> None:
        """Evaluate a state that has this root."""
        if self._validation is None:
            self._validation = Validation(
                self._task, lambda part: make_executor("fused", part.graph, part.constants, part.datasets, Setting())
            )
        if root not in self._figures and self._task.validation:
            self._figures[root] = self._validation.of(state)

    def unseen(self, view: TaskView) -> list[int]:
        """The steps after which the states come that were not evaluated, since nobody serves them any more."""
        if not self._task.validation:
            return []
        numbered = enumerate(view.checkpoints, 1)
        return [number * self._task.interval for number, point in numbered if point.root not in self._figures]

    def curves(self, view: TaskView) -> Curves:
        """Each metric at each checkpoint; None where it was not seen. {} for a task without a validation set."""
        seen = [self._figures.get(point.root, {}) for point in view.checkpoints]
        names = self._task.graph.metrics if self._task.validation else ()
        return {name: [figures.get(name) for figures in seen] for name in names}

    def _state(self, view: TaskView, point: CheckpointView) -> list[Array]:
        name, graph, root = state_name(view.terms, point.root), self._task.graph, point.root
        places, limit = self.holders.of_state(view, point), state_bytes(graph)
        path = self._blobs.fetch(places, name, lambda file: load_state(file, graph, root), limit, timeout=PATIENCE)
        state = load_state(path, graph, root)
        self._blobs.remove(name)
        return state
