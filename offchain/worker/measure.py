"""Measures what a task takes on this machine, before money depends on it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from statistics import median
from typing import Any, Final

from offchain.dispute import cost
from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph
from offchain.task import Task
from offchain.worker.fit import Figures
from offchain.worker.making import finish
from offchain.worker.subnormal import Penalty

REPEATS: Final = 3
PASSES: Final = 3  # over the nodes of a disputed step


class Waited:
    """An executor that has computed a step when `step` returns, also on a device that computes in the background."""

    def __init__(self, executor: Executor[Any]) -> None:
        self._executor = executor
        self.graph: Graph = executor.graph

    def load(self, state: Sequence[Array]) -> Any:
        return self._executor.load(state)

    def dump(self, state: Any) -> list[Array]:
        return self._executor.dump(state)

    def lend(self, state: Any, slots: Sequence[int]) -> list[Array]:
        return self._executor.lend(state, slots)

    def step(self, state: Any, t: int) -> Any:
        after = self._executor.step(state, t)
        finish()
        return after

    def outputs(self, state: Any, t: int) -> Iterator[Array]:
        return self._executor.outputs(state, t)


def measure(task: Task, ledger: Ledger, executor: Executor[Any], penalty: Penalty, memory: int) -> Figures:
    """Figures of a task. Takes as long as five steps, and the tracing of four; longer where these are short.

    A graph can make its values subnormal in a step that no trial meets. So a step is taken to be as slow as a measured
    one in which every operation met subnormal values of which that can be true.
    """
    waited = Waited(executor)
    found = cost.measure(waited, ledger, task.state, task.steps - 1)
    extra = penalty.of(task.graph)
    plain = max(found.plain, _ordinary(waited, task) + extra)
    return Figures(replace(found, plain=plain, traced=found.traced + PASSES * extra), memory)


def _ordinary(executor: Waited, task: Task) -> float:
    """Median seconds of the first steps, with the values that they have."""
    state, times = executor.load(task.state), list[float]()
    for t in range(REPEATS):
        began = time.monotonic()
        state = executor.step(state, t % task.steps)
        times.append(time.monotonic() - began)
    return median(times)
