"""Checkpoint files: a state between two intervals. Solvers serve them; whoever starts from one checks it.

Tensors `state.NAME` of all slots; the log's is optional, since the next interval reads nothing of it, and a
solver opens it only after the auditors have committed to theirs. The metadata holds every slot's tensor root,
so that the first wrong field of a bad file can be named; the roots must give the expected state root. A log has a file
of its own too, which a solver keeps for its requester when the state is gone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from offchain.commit.merkle import Tree
from offchain.commit.roots import state_root_of, state_tree, tensor_root, tensor_roots
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.graph import LOG_SLOT, Graph
from offchain.ir.log import is_needed
from offchain.store.tensorfile import TensorFile, opened, write
from offchain.task import Task

FORMAT: Final = "offchain-state-1"
LOG_FORMAT: Final = "offchain-log-1"
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
    spec = graph.slots[-1].spec
    roots = {f"root.{i}": root.hex() for i, root in enumerate(tree.leaves)}
    write(path, {f"state.{LOG_SLOT}": log.reshape(spec.shape)}, {"format": LOG_FORMAT, **roots})


def load_log(path: str | Path, graph: Graph, expected: bytes) -> Array:
    """The log of the state with root `expected`: one row a step, one column a metric. Raises BadBlob."""
    spec, count = graph.slots[-1].spec, len(graph.slots)
    with opened(path, LOG_FORMAT) as file:
        file.expect([f"state.{LOG_SLOT}"])
        tree = Tree([_root(file, f"root.{i}") for i in range(count)])
        if state_root_of(count, tree.root) != expected:
            raise file.fault("roots", f"are not those of the state root {expected.hex()}")
        log = file.tensor(f"state.{LOG_SLOT}", spec)
        if tensor_root(log) != tree.leaves[-1]:
            raise file.fault(f"state.{LOG_SLOT}", "content does not match its root")
        return log.reshape(spec.shape)


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
    `validation`, if there is a validation set: each metric on it at each checkpoint. null stands for what is not known.
    `state` has one array a slot. Raises BadInput if the file cannot be written.
    """
    texts = {"metrics": metrics, **({"validation": validation} if validation else {})}
    metadata = {name: json.dumps({key: list(row) for key, row in curves.items()}) for name, curves in texts.items()}
    write(path, {**task.model_arrays(state), **(outputs or {})}, metadata)
