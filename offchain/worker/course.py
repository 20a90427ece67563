"""Computes intervals in slices of time, so that the worker can answer a dispute between two of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any, TypeVar

import numpy as np

from offchain.commit.closing import Keep, Reached, close
from offchain.exec.ahead import Ahead
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.rows import keeps_rows
from offchain.market.view import TaskView, Terms
from offchain.task import Task
from offchain.worker.claims import Claim
from offchain.worker.doubt import Doubt
from offchain.worker.materials import Start

T = TypeVar("T")


class Course:
    """The steps from a state on, interval after interval.

    The state at the end of an interval is hashed and stored in another thread, while the next interval is computed.

    Of an interval whose outputs are claimed many steps are made at once. If they output something else, or if the root
    after them is not the one that is claimed, that is a doubt, which waits for the state that is claimed at the end. By
    that state one step may be enough. Else all are made again one by one, and that decides: one of them outputs
    something else, which no later step of the interval writes over, or the root after all of them is another.

    Attributes:
        task: whose steps they are; `executor` runs its graph.
        due: the checkpoint that `work` returns next.
        root: of the state just before it.
        checkpoint: the one at the end of the interval that is being computed: `due`, or the one after it.
        target: the last checkpoint that is wanted.
        ahead: whether to go on beyond the target while its state is hashed.
        done: how many steps of the task are computed.
        claims: of the solver, about intervals to come.
        told: whether claims are of use: none of them was wrong, and nothing failed with them.
        wrong: the first step that does not output what is claimed, as many at once have it; None where none was found.
        doubt: about the present interval, which `settle` is to end.
        contradicted: a step that shows that the root after its interval is false, whatever comes after it. The course
            is over then.
        failed: the interval of which many steps at once raised an error, and why; its steps are made one by one.
    """

    def __init__(
        self, task: Task, executor: Executor[Any], start: Start, target: int, terms: Terms, *, ahead: bool
    ) -> None:
        self.task = task
        self.due = self.checkpoint = start.checkpoint
        self.root, self.target, self.ahead = start.root, target, ahead
        self.done, _ = terms.steps_of(start.checkpoint)
        self.claims: dict[int, Claim] = {}
        self.told, self.wrong = True, None  # type: bool, int | None
        self.doubt: Doubt | None = None
        self.contradicted: int | None = None
        self.failed: tuple[int, str] | None = None
        self._doubted: dict[int, Array] = {}  # what the interval that is made one by one is said to output, for good
        self._executor, self._terms = executor, terms
        self._state = executor.load(start.arrays)
        self._begun: dict[int, Any] = {}  # the states before intervals of which it is known what they should output
        self._closing: Future[Reached] | None = None

    @property
    def goal(self) -> int:
        """Steps done at the end of the present interval."""
        return self._terms.steps_of(self.checkpoint)[1]

    def follows(self, view: TaskView) -> bool:
        """Whether its steps begin at what the chain has: an attempt that failed may have had another root there."""
        before = self.due - 1
        return not 0 <= before < len(view.checkpoints) or view.checkpoints[before].root == self.root

    def work(self, seconds: float, keep: Keep) -> Reached | None:
        """Compute for about `seconds`, or until the next checkpoint is hashed and stored; returns it, else None.

        `keep` stores it, in another thread. What `keep` raises is raised here, and that checkpoint is skipped.
        """
        until = time.monotonic() + seconds
        while self._closing is None or not self._closing.done():
            if self._wanted and self.done < self.goal:
                self._go_on()
            elif self._closing is not None:
                wait([self._closing], max(0.0, until - time.monotonic()))
            elif self.doubt is not None or self.contradicted is not None:
                break
            if self._wanted and self.done == self.goal and self._closing is None:
                self._close(keep)
            if time.monotonic() >= until:
                break
        return self._hand_out()

    def settle(self, claimed: Sequence[Array]) -> None:
        """Ends the doubt. `claimed`: the state at the end of the present interval; () where nobody has it."""
        doubt, self.doubt = self.doubt, None
        if doubt is not None and claimed:
            try:
                self.contradicted = doubt.contradicted(claimed)
            except Exception as error:  # as in running ahead
                self._fail(error)

    def _go_on(self) -> None:
        """One step, or many at once that output what is claimed."""
        claim = self.claims.get(self.checkpoint)
        if claim is not None and claim.outputs and claim.ahead is not None:
            if self.done == self._terms.steps_of(self.checkpoint)[0]:
                self._begun[self.checkpoint] = self._state
            if self.done + claim.ahead.steps <= self.goal:
                self._run_ahead(claim.ahead, claim.outputs)
                return
        self._state = self._executor.step(self._state, self.done)
        self.done += 1
        if self._doubted and self._differs(self.done - 1):
            self.contradicted = self.done - 1

    def _run_ahead(self, ahead: Ahead[Any], outputs: Mapping[int, Array]) -> None:
        try:
            state, right = ahead.ahead(self._state, self.done, outputs)
        except Exception as error:  # whatever it is: no audit depends on running ahead, and none waits for it again
            self._fail(error)
            self._again(self.checkpoint)
            return
        if right == ahead.steps:
            self._state, self.done = state, self.done + right
            return
        self.wrong = self.done + right
        run = partial(self._passed, ahead, outputs, self._state, self.done, right)
        self._again(self.checkpoint, partial(Doubt, run=run, wrong=self.wrong))
        self._doubted = self._lasting(outputs)

    def _passed(
        self, ahead: Ahead[Any], outputs: Mapping[int, Array], state: Any, t: int, right: int
    ) -> Sequence[Array]:
        """The state after so many steps from step t on, as many at once make them."""
        if right:
            (state,), _ = ahead.passing(state, t, outputs, [right])
        return self._executor.dump(state)

    def _fail(self, error: Exception) -> None:
        self.failed = self.checkpoint, f"{type(error).__name__}: {error}"

    def _lasting(self, outputs: Mapping[int, Array]) -> dict[int, Array]:
        """Those whose rows no later step of an interval writes over: one false row of them makes the root false."""
        return {slot: array for slot, array in outputs.items() if keeps_rows(self.task.graph, slot, self.task.steps)}

    def _differs(self, t: int) -> bool:
        """Whether step t, the last one made, does not output what is claimed."""
        interval = self.task.interval
        found = self._executor.lend(self._state, [*self._doubted])
        return any(
            (_row(made, t, interval) != _row(claimed, t, interval)).any()
            for made, claimed in zip(found, self._doubted.values(), strict=True)
        )

    def _again(self, checkpoint: int, doubt: Callable[..., Doubt] | None = None) -> None:
        """Back to the start of an interval, to make its steps one by one unless one is enough."""
        self.checkpoint, self.told = checkpoint, False
        self.done, goal = self._terms.steps_of(checkpoint)
        self._state = self._begun.pop(checkpoint)
        self.doubt = doubt(self.task, self._executor, self.done, goal, self._state) if doubt else None
        self.claims = _before(checkpoint, self.claims)  # intervals that are being hashed may be in doubt as well
        self._begun = _before(checkpoint, self._begun)
        self.contradicted, self._doubted = None, {}

    @property
    def _wanted(self) -> bool:
        """Whether the present interval should be computed at all."""
        last = self._terms.intervals - 1 if self.ahead else self.target
        return self.checkpoint <= last and self.doubt is None and self.contradicted is None

    def _close(self, keep: Keep) -> None:
        self._closing = close(self.checkpoint, self._executor.dump(self._state), keep)
        self.checkpoint += 1
        self._doubted = {}

    def _hand_out(self) -> Reached | None:
        if self._closing is None or not self._closing.done():
            return None
        closed, self._closing = self._closing, None
        self.due += 1
        reached = closed.result()
        claim, begun = self.claims.pop(reached.checkpoint, None), reached.checkpoint in self._begun
        if begun and claim is not None and reached.root != claim.root:
            self.due = reached.checkpoint
            self._again(reached.checkpoint, partial(Doubt, run=lambda: reached.state))
            return None
        self._begun.pop(reached.checkpoint, None)
        self.root = reached.root
        return reached


def _before(checkpoint: int, by: Mapping[int, T]) -> dict[int, T]:
    return {k: value for k, value in by.items() if k < checkpoint}


def _row(array: Array, t: int, interval: int) -> Array:
    """What a slot of outputs holds of step t, as words: a NaN equals itself."""
    words: Array = array.reshape(interval, -1)[t % interval].view(np.int32)
    return words
