"""How what the steps output hangs on the roots of the checkpoints: an interval's rows are one slot of its state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from offchain.certificate.record import Binding, Leaf, Rows
from offchain.commit.merkle import Tree, climb, depth
from offchain.commit.roots import state_root_of, tensor_root
from offchain.errors import BadBlob
from offchain.ir.arrays import Array
from offchain.store.tensorfile import TensorFile
from offchain.task import Task, slot_of

Part = tuple[Mapping[str, Array], Tree]  # an interval's rows by name, and the tree of its state


def bind_outputs(task: Task, parts: Sequence[Part]) -> tuple[tuple[Rows, ...], tuple[tuple[Leaf, ...], ...]]:
    """What the steps of a task output, from all of its intervals."""
    names = [slot.spec.name for slot in task.graph.slots]
    outputs = []
    for output in task.outputs:
        rows = np.concatenate([arrays[output.name] for arrays, _ in parts])
        shape, tail = (output.rows, *rows.shape[1:]), rows[output.rows :].tobytes()
        outputs.append(Rows(output.name, output.dtype, shape, names.index(slot_of(output.name)), tail))
    slots = [rows.slot for rows in outputs]
    leaves = [tuple(Leaf(slot, tree.leaves[slot], tuple(tree.proof(slot))) for slot in slots) for _, tree in parts]
    return tuple(outputs), tuple(leaves)


def check_parts(binding: Binding, roots: Sequence[bytes]) -> None:
    """Raise BadBlob unless the outputs' slots hang on the checkpoints with these roots."""
    if not binding.outputs and not binding.parts:
        return
    slots, wanted = binding.counts[2], [rows.slot for rows in binding.outputs]
    if len(binding.parts) != len(roots) or any([leaf.index for leaf in part] != wanted for part in binding.parts):
        raise BadBlob("outputs: the certificate does not have those of each interval")
    for number, (part, expected) in enumerate(zip(binding.parts, roots, strict=True)):
        for rows, leaf in zip(binding.outputs, part, strict=True):
            if state_root_of(slots, climbed(leaf, leaf.index, slots)) != expected:
                raise BadBlob(f"output {rows.name}: its proof does not lead to the root of checkpoint {number}")


def climbed(leaf: Leaf, at: int, leaves: int) -> bytes:
    """The top of the tree of so many leaves in which it stands there; b"", which is no hash, where no path fits."""
    try:
        return climb(leaf.root, at, leaves, depth(leaves), leaf.proof)
    except ValueError:
        return b""


def check_rows(file: TensorFile, binding: Binding) -> None:
    """Raise BadBlob for the first output of a result's file that is not what the checkpoints hold."""
    for number, rows in enumerate(binding.outputs):
        whole = np.concatenate([_held(file, rows), _tail(file, rows)])
        each, rest = divmod(len(whole), len(binding.parts))
        if rest or not each:
            raise file.fault(rows.name, "does not have as many rows as its intervals")
        cuts = range(0, len(whole) + 1, each)
        for interval, (start, stop) in enumerate(pairwise(cuts)):
            if tensor_root(whole[start:stop]) != binding.parts[interval][number].root:
                raise file.fault(rows.name, f"is not what checkpoint {interval} holds")


def _held(file: TensorFile, rows: Rows) -> Array:
    """As slots hold it, flat."""
    array = file.shaped(rows.name, rows.dtype, rows.shape).reshape(-1)
    return array if rows.dtype == "float32" else file.narrowed(rows.name, array)


def _tail(file: TensorFile, rows: Rows) -> Array:
    if len(rows.tail) % 4:
        raise file.fault(rows.name, "the certificate has a part of a number of it")
    return np.frombuffer(rows.tail, np.float32 if rows.dtype == "float32" else np.int32)
