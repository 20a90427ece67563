"""Checkpoint files: a state between two intervals, served by solvers, checked by everybody who starts from it.

Tensors `state.NAME` of all slots; the log's is optional, since the next interval reads nothing of it, and a
solver opens it only after the auditors have committed to theirs. The metadata holds every slot's tensor root,
so that a bad file can be told by its first wrong field; the roots themselves must give the expected state root.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

from offchain.commit.merkle import root as tree_root
from offchain.commit.roots import state_root_of, tensor_root
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.graph import LOG_SLOT, Graph
from offchain.store.tensorfile import TensorFile, opened, write

FORMAT: Final = "offchain-state-1"


def save_state(path: str | Path, graph: Graph, state: Sequence[Array], *, log: bool = True) -> None:
    """Write a state (arrays in slot order); without the log's content where `log` is false."""
    tensors, metadata = {}, {"format": FORMAT}
    for slot, array in zip(graph.slots, state, strict=True):
        metadata[f"root.{slot.spec.name}"] = tensor_root(array).hex()
        if log or slot.spec.name != LOG_SLOT:
            tensors[f"state.{slot.spec.name}"] = array.reshape(slot.spec.shape)
    write(path, tensors, metadata)


def load_state(path: str | Path, graph: Graph, expected: bytes) -> list[Array]:
    """Flat arrays in slot order of the state with root `expected`; a log that is not in the file reads as zeros.

    Raises BadBlob naming the first field that is wrong.
    """
    with opened(path, FORMAT) as file:
        names = [f"state.{slot.spec.name}" for slot in graph.slots]
        file.expect(names[:-1], names[-1:])
        roots = [_root(file, f"root.{slot.spec.name}") for slot in graph.slots]
        have = state_root_of(len(roots), tree_root(roots))
        if have != expected:
            raise file.fault("roots", f"make the state root {have.hex()}, must be {expected.hex()}")
        return [
            _slot(file, name, number, graph, root) for number, (name, root) in enumerate(zip(names, roots, strict=True))
        ]


def _slot(file: TensorFile, name: str, number: int, graph: Graph, root: bytes) -> Array:
    spec = graph.slots[number].spec
    if name not in file.names():
        return np.zeros(spec.length, numpy_dtype(spec.dtype))
    array = file.tensor(name, spec)
    if tensor_root(array) != root:
        raise file.fault(name, "content does not match its root")
    return array


def _root(file: TensorFile, field: str) -> bytes:
    try:
        root = bytes.fromhex(file.text(field))
    except ValueError as error:
        raise file.fault(field, "not a hash in hexadecimal") from error
    if len(root) != 32:
        raise file.fault(field, "not a hash of 32 bytes")
    return root
