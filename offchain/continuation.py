"""What follows each prompt of a generation, in what its steps have output so far."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np

from offchain.errors import BadInput
from offchain.ir.arrays import Array
from offchain.ir.primitives import DType
from offchain.task import Task, slot_of

OUTPUT: Final = "token"
PROMPT: Final = "prompt"
LENGTH: Final = "length"


@dataclass(frozen=True)
class Continuation:
    """A generation's prompts, how many new tokens each gets at most, and after which token its text ends."""

    prompts: tuple[tuple[int, ...], ...]
    new: int
    stop: tuple[int, ...] = ()

    @classmethod
    def of_task(cls, task: Task) -> Self:
        """That of a generation's task. Raises BadInput for any other task."""
        columns = {
            spec.name: array.reshape(spec.shape)
            for spec, array in zip(task.graph.datasets, task.datasets, strict=True)
            if spec.name in (PROMPT, LENGTH) and spec.dtype is DType.I32
        }
        prompts, lengths = columns.get(PROMPT, np.zeros(0)), columns.get(LENGTH, np.zeros(0))
        shape = next((slot.spec.shape for slot in task.graph.slots if slot.spec.name == slot_of(OUTPUT)), ())
        outputs = [(output.name, output.dtype) for output in task.outputs]
        rows, longest = prompts.shape if prompts.ndim == 2 else (0, 0)
        new = task.outputs[0].rows + 1 - longest if task.outputs else 0
        if (
            outputs != [(OUTPUT, "int32")]
            or shape[1:] != (1, rows)
            or lengths.shape != (rows,)
            or not all(1 <= length <= longest for length in lengths)
            or new < 1
        ):
            raise BadInput(f"task {task.name!r} is no generation: its steps do not continue prompts by tokens")
        cut = tuple(tuple(map(int, row[:length])) for row, length in zip(prompts, lengths, strict=True))
        return cls(cut, new, task.vocabulary.stop)

    def rows(self, tokens: Any) -> list[list[int]]:
        """What follows each prompt, up to its stop token, in the output "token" of all steps or of the first ones."""
        found = []
        for row in range(len(self.prompts)):
            new = self._new(tokens, row)
            ends = [i for i, token in enumerate(new) if token in self.stop]
            found.append(new[: ends[0]] if ends else new)
        return found

    def done(self, tokens: Any) -> list[bool]:
        """Of each prompt whether nothing more follows it."""
        rows = [self._new(tokens, row) for row in range(len(self.prompts))]
        return [len(new) == self.new or any(token in self.stop for token in new) for new in rows]

    def _new(self, tokens: Any, row: int) -> list[int]:
        first = len(self.prompts[row]) - 1
        return [int(token) for token in tokens[first : first + self.new, row]]


def texts_of(task: Task, outputs: Mapping[str, Array]) -> list[tuple[str, str]]:
    """Each prompt, and what follows it in the outputs so far, as text. Raises BadInput for what is no generation."""
    form, words = Continuation.of_task(task), task.vocabulary
    pairs = zip(form.prompts, form.rows(outputs[OUTPUT]), strict=True)
    return [(words.text(prompt), words.text(new)) for prompt, new in pairs]


def tokens_of(intervals: Sequence[dict[str, Array]], rows: int) -> Array:
    """The tokens of the first intervals, (steps, rows), from the outputs of each."""
    return np.concatenate([np.zeros((0, rows), np.int32), *(interval[OUTPUT] for interval in intervals)])
