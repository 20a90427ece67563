"""Computing intervals a slice at a time, so that whoever computes stays able to answer a dispute."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

from offchain.commit.roots import state_root
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph
from offchain.roles.view import Terms
from offchain.roles.workshop import Start


@dataclass(frozen=True, slots=True)
class Reached:
    """The end of an interval."""

    checkpoint: int
    root: bytes
    state: list[Array]


class Course:
    """The steps from a state on, over one interval after the other.

    Attributes:
        checkpoint: the one at the end of the interval that is being computed.
        target: the one that is wanted; those before it are reached on the way.
        done: steps of the task.
    """

    def __init__(self, executor: Executor[Any], start: Start, target: int, terms: Terms) -> None:
        self.checkpoint, self.target = start.checkpoint, target
        self.done, _ = terms.steps_of(start.checkpoint)
        self._executor, self._terms = executor, terms
        self._state = executor.load(start.arrays)

    @property
    def graph(self) -> Graph:
        return self._executor.graph

    @property
    def goal(self) -> int:
        """Steps done at the end of the present interval."""
        return self._terms.steps_of(self.checkpoint)[1]

    def work(self, seconds: float) -> Reached | None:
        """Compute for about that long (at least a step), at most to the end of the interval."""
        until = time.monotonic() + seconds
        while self.done < self.goal:
            self._state = self._executor.step(self._state, self.done)
            self.done += 1
            if time.monotonic() >= until:
                break
        if self.done < self.goal:
            return None
        state = self._executor.dump(self._state)
        reached = Reached(self.checkpoint, state_root(state), state)
        self.checkpoint += 1
        return reached
