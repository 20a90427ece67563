"""A task as data: the step graph, the tensors that it reads, the initial state and the number of steps.

`offchain.lower.compile` makes a task, `offchain.training` and the workers run it, `offchain.store.taskfile` keeps it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Any, Final

import numpy as np

from offchain.commit.roots import graph_root, state_root
from offchain.errors import BadBlob
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph
from offchain.vocabulary import Vocabulary


@dataclass(frozen=True)
class PackedTensor:
    """A named tensor of `shape` that shares a slot with others and starts at element `offset` of it.

    The protocol knows only slots; people and `load_state_dict` want each parameter under its own name.
    """

    name: str
    slot: str
    offset: int
    shape: tuple[int, ...]


@dataclass(frozen=True)
class ModelTensor:
    """An entry of the model's `state_dict()`, and where its values are: one of `SOURCES`.

    state  in the tensor `place` of the state: steps change it
    const  in the graph's constant number `place`
    own    in the task's array `own[place]`: no step reads it
    """

    key: str
    dtype: str  # one of `DTYPES`; the graph holds float32, pairs of it, or int32
    shape: tuple[int, ...]
    source: str
    place: str | int

    @property
    def length(self) -> int:
        """Numbers that hold it: complex ones are pairs."""
        return prod(self.shape) * (2 if self.dtype == "complex64" else 1)


@dataclass(frozen=True)
class Output:
    """What the steps output under a name: the first `rows` rows of all of them. The slot `slot_of(name)` has those of
    the interval's steps so far, (interval, rows of a step, ...)."""

    name: str
    dtype: str  # one of `DTYPES` that is real
    rows: int


def slot_of(output: str) -> str:
    """The slot that holds an output."""
    return f"outputs.{output}"


EVALUATION: Final = "evaluation."  # before what belongs to a job's evaluation: columns, state, metrics
SOURCES: Final = ("state", "const", "own")
DTYPES: Final = ("float32", "int64", "int32", "bool", "complex64")


@dataclass(frozen=True)
class Task:
    """A step graph, the flat arrays that it reads, the flat arrays of its initial state in slot order, its steps.

    `parameters` names the tensors of the model that steps change, `model` says where all of its tensors are, `own` has
    those that are nowhere else, `packed` says which tensors share a slot, `outputs` which slots hold what steps output,
    `name` and `vocabulary` are for people. The roots bind none of these, nor `validation`: tasks of their own, whose
    steps read the rows of a validation set once and change nothing. Their slots, but for the log, are tensors of this
    task's state.
    """

    graph: Graph
    constants: tuple[Array, ...]
    datasets: tuple[Array, ...]
    state: tuple[Array, ...]
    steps: int
    name: str = "task"
    parameters: tuple[str, ...] = ()
    packed: tuple[PackedTensor, ...] = ()
    model: tuple[ModelTensor, ...] = ()
    own: tuple[Array, ...] = ()
    validation: tuple[Task, ...] = ()
    outputs: tuple[Output, ...] = ()
    vocabulary: Vocabulary = Vocabulary()  # noqa: RUF009

    @cached_property
    def graph_root(self) -> bytes:
        """Root of the graph with its constants and datasets, as the terms of a task state it."""
        return graph_root(self.graph)

    @cached_property
    def state_root(self) -> bytes:
        """Root of the initial state."""
        return state_root(self.state)

    @property
    def interval(self) -> int:
        """Steps between two checkpoints."""
        return self.graph.interval

    @property
    def intervals(self) -> int:
        """Number of checkpoints."""
        return self.steps // self.interval

    def tensors(self, state: Sequence[Array]) -> dict[str, Array]:
        """Every tensor of a state (arrays in slot order) in its own shape: packed ones first, then whole slots."""
        specs = [slot.spec for slot in self.graph.slots]
        flat = {spec.name: array.reshape(-1) for spec, array in zip(specs, state, strict=True)}
        shared = {tensor.slot for tensor in self.packed}
        found = {p.name: flat[p.slot][p.offset : p.offset + prod(p.shape)].reshape(p.shape) for p in self.packed}
        whole = {spec.name: flat[spec.name].reshape(spec.shape) for spec in specs if spec.name not in shared}
        return found | whole

    def parameter_arrays(self, state: Sequence[Array]) -> dict[str, Array]:
        """The trained model within a state: shaped arrays by parameter name, as `load_state_dict` takes them."""
        named = self.tensors(state)
        return {name: named[name] for name in self.parameters}

    def model_arrays(self, state: Sequence[Array]) -> dict[str, Array]:
        """The whole model within a state, for `load_state_dict`: every key, in its own shape and dtype."""
        named = self.tensors(state)
        held = {"state": named, "const": self.constants, "own": self.own}
        found: dict[str, Array] = {}
        for entry in self.model:
            values: Array = held[entry.source][entry.place]  # type: ignore[index]
            values = values.view(np.complex64) if entry.dtype == "complex64" else values.astype(entry.dtype)
            found[entry.key] = values.reshape(entry.shape)
        return found

    def output_arrays(self, state: Sequence[Array]) -> dict[str, Array]:
        """What the steps of an interval have output, by name: (rows, ...), from a state of it; zeros for steps to come.

        An element of a state is int32 or float32.
        """
        named = self.tensors(state) if self.outputs else {}
        return {output.name: self.rows_of(output, named[slot_of(output.name)]) for output in self.outputs}

    def rows_of(self, output: Output, slot: Array) -> Array:
        """The rows of an output, (rows, ...), in what its slot holds."""
        shape = next(slot.spec.shape for slot in self.graph.slots if slot.spec.name == slot_of(output.name))
        return slot.reshape(-1, *shape[2:])

    def joined(self, intervals: Sequence[Mapping[str, Array]], steps: int | None = None) -> dict[str, Array]:
        """The outputs of the first intervals, and of so many steps, as one array each, in its own dtype."""
        count = self.steps if steps is None else steps
        found = {}
        for output in self.outputs if intervals else ():
            parts = [interval[output.name] for interval in intervals]
            rows = min(output.rows, count * (len(parts[0]) // self.interval))
            found[output.name] = np.concatenate(parts)[:rows].astype(output.dtype, copy=False)
        return found

    def figures(self, state: Sequence[Array], metrics: Mapping[str, Sequence[Any]]) -> dict[str, Any]:
        """What a job's evaluation found, by name, from the last state and the metrics of all steps: numbers (None where
        they are not known), and matrices as lists of lists. {} for other tasks, and before the last step."""
        if any(len(row) < self.steps for row in metrics.values()):
            return {}
        found = {name: row[-1] for name, row in metrics.items() if name.startswith(EVALUATION)}
        if found:
            tensors = self.tensors(state).items()
            found |= {
                name: array.tolist() for name, array in tensors if name.startswith(EVALUATION) and array.ndim == 2
            }
        return {name.removeprefix(EVALUATION): value for name, value in found.items()}

    def verify(self, graph_root: bytes, state_root: bytes) -> None:
        """Raise BadBlob unless this is the task that those roots name."""
        for what, have, want in (
            ("graph root", self.graph_root, graph_root),
            ("state root", self.state_root, state_root),
        ):
            if have != want:
                raise BadBlob(f"task {self.name!r}: {what} is {have.hex()}, must be {want.hex()}")
