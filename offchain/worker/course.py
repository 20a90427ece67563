"""Work intervals a slice at a time, so that whoever computes stays able to answer a dispute."""

from __future__ import annotations

import time
from concurrent.futures import Future, wait
from typing import Any

from offchain.commit.closing import Keep, Reached, close
from offchain.exec.base import Executor
from offchain.ir.graph import Graph
from offchain.market.view import Terms
from offchain.worker.materials import Start


class Course:
    """The steps from a state on, over one interval after the other.

    While another thread hashes the state at the end of an interval and keeps it, the steps of the next one run.

    Attributes:
        due: the checkpoint that `work` hands out next.
        checkpoint: the one at the end of the interval that is being computed: `due`, or the next.
        target: the one that is wanted; those before it are reached on the way.
        ahead: go on beyond the target while its state is hashed.
        done: steps of the task.
    """

    def __init__(self, executor: Executor[Any], start: Start, target: int, terms: Terms, *, ahead: bool) -> None:
        self.due = self.checkpoint = start.checkpoint
        self.target, self.ahead = target, ahead
        self.done, _ = terms.steps_of(start.checkpoint)
        self._executor, self._terms = executor, terms
        self._state = executor.load(start.arrays)
        self._closing: Future[Reached] | None = None

    @property
    def graph(self) -> Graph:
        return self._executor.graph

    @property
    def goal(self) -> int:
        """Steps done at the end of the present interval."""
        return self._terms.steps_of(self.checkpoint)[1]

    def work(self, seconds: float, keep: Keep) -> Reached | None:
        """Compute for about that long, at most until the next end of an interval was hashed and kept; that is returned.

        `keep` is called in another thread. What it raises is raised here, and that checkpoint is not handed out.
        """
        until = time.monotonic() + seconds
        while self._closing is None or not self._closing.done():
            if self._wanted and self.done < self.goal:
                self._state = self._executor.step(self._state, self.done)
                self.done += 1
            elif self._closing is not None:
                wait([self._closing], max(0.0, until - time.monotonic()))
            if self._wanted and self.done == self.goal and self._closing is None:
                self._close(keep)
            if time.monotonic() >= until:
                break
        return self._hand_out()

    @property
    def _wanted(self) -> bool:
        """Whether the present interval is to be computed."""
        return self.checkpoint <= (self._terms.intervals - 1 if self.ahead else self.target)

    def _close(self, keep: Keep) -> None:
        self._closing = close(self.checkpoint, self._executor.dump(self._state), keep)
        self.checkpoint += 1

    def _hand_out(self) -> Reached | None:
        if self._closing is None or not self._closing.done():
            return None
        closed, self._closing = self._closing, None
        self.due += 1
        return closed.result()
