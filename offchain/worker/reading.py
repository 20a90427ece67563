"""The text of a generation as it grows, for whoever reads it while its task runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile
from operator import eq

from offchain.continuation import Continuation, tokens_of
from offchain.ir.arrays import Array
from offchain.market.view import TaskView
from offchain.task import Task
from offchain.worker.gathered import Gathered


@dataclass(frozen=True, slots=True)
class Row:
    """A prompt, and what follows it so far.

    Attributes:
        tokens: those that follow, without the one that ends them.
        paid: how many of them are final: their intervals are paid.
        text: what they are as text.
        done: whether nothing more follows.
    """

    prompt: str
    tokens: tuple[int, ...]
    paid: int
    text: str
    done: bool


@dataclass(frozen=True, slots=True)
class Piece:
    """What a checkpoint adds to a row."""

    checkpoint: int
    row: int
    tokens: tuple[int, ...]
    text: str
    done: bool


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A text was shown, but this checkpoint, and with it the later ones, counts no more: its solver was convicted."""

    checkpoint: int


class Reading:
    """Reads a generation's outputs up to the first checkpoint that is not here. Raises BadInput for any other task."""

    def __init__(self, task: Task, gathered: Gathered) -> None:
        self._task, self._gathered = task, gathered
        self._form, self._words = Continuation.of_task(task), task.vocabulary
        self._roots: list[bytes] = []  # of what was told

    def news(self, view: TaskView) -> Iterator[Piece | Withdrawn]:
        """What was not told so far, of outputs that are here."""
        begun, roots = self._gathered.begun(view), [point.root for point in view.checkpoints]
        same = sum(takewhile(bool, map(eq, self._roots, roots)))
        if same < len(self._roots):
            yield Withdrawn(same)
            del self._roots[same:]
        for checkpoint in range(same, len(begun)):
            self._roots.append(roots[checkpoint])
            yield from self._pieces(checkpoint, begun)

    def rows(self, view: TaskView) -> list[Row]:
        """All text so far."""
        begun = self._gathered.begun(view)
        tokens = self._tokens(begun)
        paid = self._form.rows(self._tokens(begun[: view.paid]))
        return [
            Row(self._words.text(prompt), tuple(new), len(final), self._words.text(new, whole=done), done)
            for prompt, new, final, done in zip(
                self._form.prompts, self._form.rows(tokens), paid, self._form.done(tokens), strict=True
            )
        ]

    def _pieces(self, checkpoint: int, begun: list[dict[str, Array]]) -> Iterator[Piece]:
        before, after = (self._tokens(begun[:count]) for count in (checkpoint, checkpoint + 1))
        was, done = self._form.done(before), self._form.done(after)
        for row, (old, new) in enumerate(zip(self._form.rows(before), self._form.rows(after), strict=True)):
            if was[row] or (old == new and not done[row]):
                continue
            text = self._words.text(new, whole=done[row])[len(self._words.text(old, whole=False)) :]
            yield Piece(checkpoint, row, tuple(new[len(old) :]), text, done[row])

    def _tokens(self, intervals: list[dict[str, Array]]) -> Array:
        """(steps, rows) of the task's own steps; the last interval may have some that fill it up."""
        return tokens_of(intervals, len(self._form.prompts))[: self._task.outputs[0].rows]
