"""What the steps of a task output, gathered by its requester: each interval's as its checkpoint comes."""

from __future__ import annotations

import time
from collections.abc import Container, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from offchain.commit.merkle import Tree
from offchain.errors import BadInput, NoResult, NoRoom, Unreachable
from offchain.ir.arrays import Array
from offchain.market.view import CheckpointView, TaskView
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import load_outputs, read_outputs
from offchain.task import Task
from offchain.worker.holders import Holders
from offchain.worker.names import outputs_name
from offchain.worker.room import SLACK

PATIENCE: Final = 60.0  # seconds for those of one checkpoint
ALL: Final = 300.0  # seconds for all that are missing when the task has ended


@dataclass(frozen=True, slots=True)
class Came:
    """The outputs of an interval are here, and were checked against its checkpoint.

    Attributes:
        checkpoint: its number, from 0.
        arrays: (rows, ...) by name.
    """

    checkpoint: int
    arrays: dict[str, Array]


class Gathered:
    """The outputs of a task, each interval's from when it was fetched. Nothing to do for a task without outputs."""

    def __init__(self, task: Task, blobs: BlobStore, holders: Holders | None = None) -> None:
        self._task, self._blobs, self._holders = task, blobs, holders or Holders()
        self._arrays: dict[bytes, dict[str, Array]] = {}  # by root: a checkpoint may be replaced
        self._trees: dict[bytes, Tree] = {}  # of those that were fetched

    def look(self, view: TaskView) -> Iterator[Came]:
        """Fetch the outputs of new checkpoints. What cannot be fetched is tried again in the next look.

        A solver that serves slowly must not keep its requester from acting: while the task runs one checkpoint is tried
        in a look, and what is left when it has ended is tried for ALL seconds.
        """
        end = time.monotonic() + (ALL if view.status.ended else 0)
        for number, point in enumerate(view.checkpoints if self._task.outputs else ()):
            if point.root in self._arrays:
                continue
            with suppress(Unreachable, NoRoom, BadInput):
                self._arrays[point.root] = self._fetched(view, point)
                yield Came(number, self._arrays[point.root])
            if time.monotonic() >= end:
                return

    def add(self, root: bytes, state: list[Array]) -> None:
        """The state with this root is here: its outputs need not be fetched."""
        if self._task.outputs:
            self._arrays[root] = self._task.output_arrays(state)

    def begun(self, view: TaskView) -> list[dict[str, Array]]:
        """The outputs of the first intervals, up to the first one that is not here."""
        points = view.checkpoints if self._task.outputs else ()
        held = [self._arrays.get(point.root) for point in points]
        return [arrays for arrays in held[: held.index(None) if None in held else None] if arrays is not None]

    def joined(self, view: TaskView) -> dict[str, Array]:
        """All outputs of a task that has ended, by name. Raises NoResult where some are served by nobody any more."""
        self._require(view, self._arrays)
        return self._task.joined([self._arrays[point.root] for point in view.checkpoints if self._task.outputs])

    def parts(self, view: TaskView) -> list[tuple[dict[str, Array], Tree]]:
        """Each interval's outputs, with the tree of its checkpoint. Raises NoResult where some are served by nobody."""
        self._require(view, self._trees)
        return [(self._arrays[p.root], self._trees[p.root]) for p in view.checkpoints if self._task.outputs]

    def _require(self, view: TaskView, held: Container[bytes]) -> None:
        missing = [i for i, point in enumerate(view.checkpoints) if point.root not in held]
        if self._task.outputs and missing:
            raise NoResult(
                f"task {view.id}: the outputs of checkpoints {', '.join(map(str, missing))} are served by nobody any "
                "more; `offchain run` of its file computes them again"
            )

    def _fetched(self, view: TaskView, point: CheckpointView) -> dict[str, Array]:
        task, root, name = self._task, point.root, outputs_name(view.terms, point.root)
        graph, held = task.graph, sum(4 * array.size for array in task.output_arrays(task.state).values())
        limit = held + SLACK + 256 * len(graph.slots)
        places = self._holders.of_outputs(view, point)
        path = self._blobs.fetch(places, name, lambda file: load_outputs(file, task, root), limit, PATIENCE)
        arrays, self._trees[root] = read_outputs(path, task, root)
        self._blobs.remove(name)
        return arrays
