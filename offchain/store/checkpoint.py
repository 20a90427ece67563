"""Checkpoint files: a state between two intervals. Solvers serve them; whoever starts from one checks it.

Tensors `state.NAME` of all slots; the log's is optional, since the next interval reads nothing of it, and a
solver opens it only after the auditors have committed to theirs. The metadata holds every slot's tensor root,
so that the first wrong field of a bad file can be named; the roots must give the expected state root. A log has a file
of its own too, and so has what the interval output, which a solver keeps for its requester when the state is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np

from offchain.commit.merkle import Tree
from offchain.commit.roots import state_root_of, state_tree, tensor_root, tensor_roots
from offchain.continuation import texts_of
from offchain.errors import BadInput
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.graph import LOG_SLOT, Graph, TensorSpec
from offchain.ir.log import is_needed
from offchain.store.tensorfile import TensorFile, opened, write
from offchain.task import Task, slot_of

FORMAT: Final = "offchain-state-1"
LOG_FORMAT: Final = "offchain-log-1"
OUTPUTS_FORMAT: Final = "offchain-outputs-1"
MOST_TEXT: Final = 1 << 20  # of a header that has room for sixteen times as much
Curves = Mapping[str, Sequence[float | None]]


def save_state(
    path: str | Path, graph: Graph, state: Sequence[Array], *, tree: Tree | None = None, log: bool = True
) -> None:
    """Write a state (arrays in slot order). `tree` is its Merkle tree, computed here if not given.

    The log's content is left out where `log` is false.
    """
    tensors, metadata = {}, {"format": FORMAT}
    for slot, array, root in zip(graph.slots, state, (tree or state_tree(state)).leaves, strict=True):
        metadata[f"root.{slot.spec.name}"] = root.hex()
        if log or slot.spec.name != LOG_SLOT:
            tensors[f"state.{slot.spec.name}"] = array.reshape(slot.spec.shape)
    write(path, tensors, metadata)


def load_state(path: str | Path, graph: Graph, expected: bytes) -> list[Array]:
    """Flat arrays in slot order of the state with root `expected`; a log that the file leaves out reads as zeros.

    Raises BadBlob naming the first field that is wrong.
    """
    return read_state(path, graph, expected)[0]


def read_state(path: str | Path, graph: Graph, expected: bytes) -> tuple[list[Array], Tree]:
    """`load_state`, with the state's tree, which binds the log even if the file leaves its content out.

    For a graph whose steps depend on the old log the file must hold it: what follows from zeros in its place is never
    ground for a dispute.
    """
    with opened(path, FORMAT) as file:
        names, held = [f"state.{slot.spec.name}" for slot in graph.slots], file.names()
        file.expect(names if is_needed(graph) else names[:-1], names[-1:])
        tree = Tree([_root(file, f"root.{slot.spec.name}") for slot in graph.slots])
        have = state_root_of(len(names), tree.root)
        if have != expected:
            raise file.fault("roots", f"make the state root {have.hex()}, must be {expected.hex()}")
        state = [
            file.tensor(name, slot.spec) if name in held else np.zeros(slot.spec.length, numpy_dtype(slot.spec.dtype))
            for name, slot in zip(names, graph.slots, strict=True)
        ]
        for name, root, found in zip(names, tree.leaves, tensor_roots(state), strict=True):
            if root != found and name in held:
                raise file.fault(name, "content does not match its root")
        return state, tree


def _root(file: TensorFile, field: str) -> bytes:
    try:
        root = bytes.fromhex(file.text(field))
    except ValueError as error:
        raise file.fault(field, "not a hash in hexadecimal") from error
    if len(root) != 32:
        raise file.fault(field, "not a hash of 32 bytes")
    return root


def save_log(path: str | Path, graph: Graph, log: Array, tree: Tree) -> None:
    """Write the log of a state alone, with the roots of all slots, which bind it. `tree` is the state's."""
    _save_slots(path, LOG_FORMAT, {graph.slots[-1].spec: log}, tree)


def load_log(path: str | Path, graph: Graph, expected: bytes) -> Array:
    """The log of the state with root `expected`: one row a step, one column a metric. Raises BadBlob."""
    number = len(graph.slots) - 1
    (log,), _ = _load_slots(path, LOG_FORMAT, graph, [number], expected)
    return log.reshape(graph.slots[-1].spec.shape)


def save_outputs(path: str | Path, task: Task, state: Sequence[Array], tree: Tree) -> None:
    """Write what the interval before a state output, likewise. Of a task with outputs."""
    specs = [task.graph.slots[number].spec for number in output_slots(task)]
    arrays = [state[number] for number in output_slots(task)]
    _save_slots(path, OUTPUTS_FORMAT, dict(zip(specs, arrays, strict=True)), tree)


def load_outputs(path: str | Path, task: Task, expected: bytes) -> dict[str, Array]:
    """What the interval before the state with root `expected` output: rows by name, as `Task.output_arrays` has them.

    Raises BadBlob.
    """
    return read_outputs(path, task, expected)[0]


def read_outputs(path: str | Path, task: Task, expected: bytes) -> tuple[dict[str, Array], Tree]:
    """`load_outputs`, with the tree of that state."""
    arrays, tree = _load_slots(path, OUTPUTS_FORMAT, task.graph, output_slots(task), expected)
    return {output.name: task.rows_of(output, array) for output, array in zip(task.outputs, arrays, strict=True)}, tree


def output_slots(task: Task) -> list[int]:
    """The slots that hold outputs, in their order."""
    names = [slot.spec.name for slot in task.graph.slots]
    return [names.index(slot_of(output.name)) for output in task.outputs]


def _save_slots(path: str | Path, form: str, slots: Mapping[TensorSpec, Array], tree: Tree) -> None:
    roots = {f"root.{i}": root.hex() for i, root in enumerate(tree.leaves)}
    tensors = {f"state.{spec.name}": array.reshape(spec.shape) for spec, array in slots.items()}
    write(path, tensors, {"format": form, **roots})


def _load_slots(
    path: str | Path, form: str, graph: Graph, numbers: Sequence[int], expected: bytes
) -> tuple[list[Array], Tree]:
    """Flat arrays of some slots of the state with root `expected`, and its tree. Raises BadBlob."""
    count, specs = len(graph.slots), [graph.slots[number].spec for number in numbers]
    with opened(path, form) as file:
        file.expect([f"state.{spec.name}" for spec in specs])
        tree = Tree([_root(file, f"root.{i}") for i in range(count)])
        if state_root_of(count, tree.root) != expected:
            raise file.fault("roots", f"are not those of the state root {expected.hex()}")
        arrays = [file.tensor(f"state.{spec.name}", spec) for spec in specs]
        for number, spec, array in zip(numbers, specs, arrays, strict=True):
            if tensor_root(array) != tree.leaves[number]:
                raise file.fault(f"state.{spec.name}", "content does not match its root")
        return arrays, tree


def save_model(
    path: Path,
    task: Task,
    state: Sequence[Array],
    metrics: Curves,
    validation: Curves | None = None,
    outputs: Mapping[str, Array] | None = None,
) -> None:
    """Write the result: of a job what `load_state_dict` takes; of a program what its steps changed, and `outputs`.

    The metadata has `metrics`, a JSON object: each metric by name, one number a step up to the last one of `state`; and
    `validation`, if there is a validation set: each metric on it at each checkpoint; `evaluation`, if a job's steps end
    with one: its figures; `texts` of a generation whose task has a vocabulary: what follows each prompt, where that is
    at most MOST_TEXT characters. null stands for what is not known.
    `state` has one array a slot. Raises BadInput if the file cannot be written.
    """
    texts = {"metrics": metrics, **({"validation": validation} if validation else {})}
    metadata = {name: json.dumps({key: list(row) for key, row in curves.items()}) for name, curves in texts.items()}
    figures = task.figures(state, metrics)
    metadata |= {"evaluation": json.dumps(figures)} if figures else {}
    metadata |= _texts(task, outputs or {})
    write(path, {**task.model_arrays(state), **(outputs or {})}, metadata)


def _texts(task: Task, outputs: Mapping[str, Array]) -> dict[str, str]:
    """Nothing where a task has a vocabulary and is no generation."""
    with suppress(BadInput):
        said = json.dumps([text for _, text in texts_of(task, outputs)]) if task.vocabulary and outputs else ""
        return {"texts": said} if 0 < len(said) <= MOST_TEXT else {}
    return {}
