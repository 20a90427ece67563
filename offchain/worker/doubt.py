"""An interval whose outputs or whose end many steps at once found wrong. That alone contradicts nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from offchain.errors import BadBlob
from offchain.exec.base import Executor
from offchain.exec.recalled import Ends, Recalled
from offchain.ir.arrays import Array
from offchain.ir.recall import recall_of
from offchain.store.checkpoint import output_slots
from offchain.task import Task


@dataclass(frozen=True)
class Doubt:
    """About the interval from step `first` up to but not including `goal`.

    Attributes:
        begun: the state before it, which is right.
        run: gives the state before step `wrong`, or at the end where that is None, as many at once made it.
        wrong: the first step that does not output what is claimed.
    """

    task: Task
    executor: Executor[Any]
    first: int
    goal: int
    begun: Any
    run: Callable[[], Sequence[Array]]
    wrong: int | None = None

    def contradicted(self, claimed: Sequence[Array]) -> int | None:
        """A step that shows alone that the state `claimed` at the end is wrong; None if none is found.

        That state itself says what was before the step (`offchain.ir.recall`), and the step makes something else of it
        than is claimed. So nothing rests on the many at once but the choice of the step.
        """
        recall = recall_of(self.task.graph, self.task.steps, output_slots(self.task))
        if recall is None:
            return None
        ends = Ends(self.first, self.goal, self.executor.dump(self.begun), claimed)
        recalled = Recalled.of(recall, self.task.constants, self.task.datasets, ends)
        if recalled is None:
            return None
        try:
            return next((t for t in self._suspects(recalled) if self._is_wrong(recalled, recall.sound, t)), None)
        except BadBlob:  # what is claimed holds a NaN that no step makes
            return None

    def _is_wrong(self, recalled: Recalled, sound: Sequence[int], t: int) -> bool:
        before = recalled.before(t)
        if before is None:
            return False
        after = self.executor.step(self.executor.load(before), t)
        return recalled.contradicts(self.executor.lend(after, sound), t)

    def _suspects(self, recalled: Recalled) -> Iterator[int]:
        """The step with the first wrong output. If what is claimed follows there from a state that is wrong before it,
        the step that made it so."""
        if self.wrong is not None:
            yield self.wrong
        earlier = recalled.suspect(self.run(), self.goal if self.wrong is None else self.wrong)
        if earlier is not None:
            yield earlier
