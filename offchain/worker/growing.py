"""A file that grows with a task: what its steps have output so far, until the result takes its place."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Final

from offchain.errors import BadBlob
from offchain.market.view import TaskView
from offchain.store.bounded import parsed
from offchain.store.tensorfile import opened, write
from offchain.task import Task
from offchain.worker.gathered import Gathered

FORMAT: Final = "offchain-outputs-so-far-1"
REST: Final = 10.0  # times as long as the last writing took: a task with many intervals is not written over and over


class Growing:
    """Writes the outputs that are here, joined as in the result, up to the first checkpoint whose outputs are not.

    A file of safetensors that is always whole; its metadata has `steps`, and `roots`, those of the checkpoints, which
    nobody has paid for yet. A file that is something else is left until the result comes.

    Attributes:
        steps: whose outputs are in the file.
    """

    def __init__(self, path: Path, task: Task, gathered: Gathered) -> None:
        self.path, self._task, self._gathered = path, task, gathered
        self._roots = _roots_in(path)  # None: another file
        self._view: TaskView | None = None
        self._rested = 0.0

    @property
    def steps(self) -> int:
        return len(self._roots or ()) * self._task.interval

    def look(self, view: TaskView) -> None:
        """Take in what `Gathered` has, and write it unless the last writing was just now."""
        self._view = view
        if time.monotonic() >= self._rested:
            self.flush()

    def flush(self) -> None:
        """Write what is new. Raises BadInput where that cannot be."""
        begun = self._gathered.begun(self._view) if self._view is not None else []
        if self._roots is None or self._view is None or not (begun or self._roots):
            return
        roots = [point.root.hex() for point in self._view.checkpoints]
        if self._roots == roots[: len(self._roots)] and len(begun) <= len(self._roots):
            return  # those of an earlier run, which are not fetched again yet
        started = time.monotonic()
        steps = len(begun) * self._task.interval
        metadata = {"format": FORMAT, "steps": str(steps), "roots": json.dumps(roots[: len(begun)])}
        write(self.path, self._task.joined(begun), metadata)
        self._roots = roots[: len(begun)]
        self._rested = time.monotonic() + REST * (time.monotonic() - started)


def _roots_in(path: Path) -> list[str] | None:
    """The checkpoints in a file that a run before this one left; [] where there is none, None for another file."""
    if not path.exists():
        return []
    try:
        with opened(path, FORMAT) as file:
            roots = parsed(file.text("roots"))
    except (BadBlob, ValueError):
        return None
    return roots if isinstance(roots, list) and all(isinstance(root, str) for root in roots) else None
