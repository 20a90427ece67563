"""Loss and metrics on a validation set, which a task may bring for whoever trains it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from offchain.exec import Executor
from offchain.ir.arrays import Array
from offchain.task import Task

Make = Callable[[Task], Executor[Any]]


class Validation:
    """The validation set of a task, and executors for it, which `make` makes.

    Each figure is the mean over all rows: that of the batches', weighted by their rows.
    """

    def __init__(self, task: Task, make: Make) -> None:
        self.task = task
        self._executors = [make(part) for part in task.validation]

    def of(self, state: Sequence[Array]) -> dict[str, float]:
        """Each metric by name, of the model in a state (arrays in slot order); {} without a validation set."""
        named = self.task.tensors(state)
        parts = list(zip(self.task.validation, self._executors, strict=True))
        means = [_log(part, executor, named).astype(np.float64).mean(0) for part, executor in parts]
        if not means:
            return {}
        figures = np.average(means, axis=0, weights=[_rows(part) for part in self.task.validation])
        return {name: float(figures[i]) for i, name in enumerate(self.task.graph.metrics)}


def _rows(part: Task) -> int:
    return part.graph.datasets[0].shape[0]


def _log(part: Task, executor: Executor[Any], named: Mapping[str, Array]) -> Array:
    """One row a batch."""
    specs = [slot.spec for slot in part.graph.slots]
    state = executor.load([*(named[spec.name].reshape(-1) for spec in specs[:-1]), part.state[-1]])
    for t in range(part.steps):
        state = executor.step(state, t)
    return executor.dump(state)[-1].reshape(specs[-1].shape)
