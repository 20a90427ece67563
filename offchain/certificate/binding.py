"""How a model's tensors and a task's data hang on the roots that a market knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from offchain.certificate.figures import Row, bind_figures, check_said
from offchain.certificate.outputs import Part, bind_outputs, check_parts, check_rows, climbed
from offchain.certificate.record import Binding, Entry, Leaf
from offchain.commit.merkle import Tree, root
from offchain.commit.roots import graph_counts, graph_root_of, graph_tree, state_root_of, tensor_root
from offchain.errors import BadBlob
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph
from offchain.store.tensorfile import TensorFile, opened
from offchain.task import ModelTensor, PackedTensor, Task


def bind(task: Task, slots: Sequence[bytes], parts: Sequence[Part], log: Array | None) -> Binding:
    """Of a task, of its final state with these tensor roots in slot order and this log, and of what each interval
    output."""
    graph, counts = task.graph, graph_counts(task.graph)
    tree, (nodes, constants, slot_count, _) = graph_tree(graph), counts
    slot_at = {slot.spec.name: i for i, slot in enumerate(graph.slots)}
    packed = {tensor.name: tensor for tensor in task.packed}
    entries = _covered(graph, [_entry(tensor, slot_at, packed) for tensor in task.model])
    held = sorted({entry.index for entry in entries if entry.place == "constant"})
    return Binding(
        counts,
        tuple(_leaf(tree, nodes, i, graph.constant_roots[i]) for i in held),
        tuple(_leaf(tree, nodes + constants + slot_count, i, r) for i, r in enumerate(graph.dataset_roots)),
        tuple(slots),
        entries,
        *bind_outputs(task, parts),
        bind_figures(task, log),
    )


def _leaf(tree: Tree, first: int, index: int, leaf: bytes) -> Leaf:
    return Leaf(index, leaf, tuple(tree.proof(first + index)))


def _entry(tensor: ModelTensor, slot_at: Mapping[str, int], packed: Mapping[str, PackedTensor]) -> Entry:
    if tensor.source != "state":
        place = "constant" if tensor.source == "const" else "own"
        return Entry(tensor.key, tensor.dtype, tensor.shape, place, int(tensor.place), 0)
    member = packed.get(str(tensor.place))
    slot, offset = (member.slot, member.offset) if member else (str(tensor.place), 0)
    return Entry(tensor.key, tensor.dtype, tensor.shape, "slot", slot_at[slot], offset)


def _covered(graph: Graph, entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """A slot's root binds the model's entries in it only where they are all of it; else nothing does."""
    known = {entry.index: 0 for entry in entries if entry.place == "slot"}
    for index, offset, length in sorted({(e.index, e.offset, e.length) for e in entries if e.place == "slot"}):
        known[index] = max(known[index], offset + length) if offset <= known[index] else -1
    whole = {index for index, end in known.items() if end == graph.slots[index].spec.length}
    return tuple(replace(e, place="own") if e.place == "slot" and e.index not in whole else e for e in entries)


def missed(binding: Binding) -> int:
    """How many tensors of the final state the result has nothing of. Its log is no part of it."""
    slots = binding.counts[2]
    held = {entry.index for entry in binding.entries if entry.place == "slot"} | {rows.slot for rows in binding.outputs}
    return slots - len(held | {slots - 1})


def check_roots(binding: Binding, graph_root: bytes, roots: Sequence[bytes]) -> None:
    """Raise BadBlob unless the tensor roots are those of the graph and of the checkpoints with these roots."""
    _, constants, slots, datasets = binding.counts
    if len(binding.slots) != slots or not slots or state_root_of(slots, root(binding.slots)) != roots[-1]:
        raise BadBlob("slots: these tensor roots do not make the final state's root")
    if [leaf.index for leaf in binding.datasets] != list(range(datasets)):
        raise BadBlob("datasets: not all of the graph's")
    check_parts(binding, roots)
    nodes = binding.counts[0]
    for what, first, count, leaves in (
        ("constant", nodes, constants, binding.constants),
        ("dataset", nodes + constants + slots, datasets, binding.datasets),
    ):
        for leaf in leaves:
            top = climbed(leaf, first + leaf.index, sum(binding.counts))
            if leaf.index >= count or graph_root_of(binding.counts, top) != graph_root:
                raise BadBlob(f"{what} {leaf.index}: its proof does not lead to the graph's root")


def check_model(path: Path, binding: Binding, row: Row, steps: int) -> tuple[list[str], bool]:
    """Compare a model's file with the roots, and the figures that it names with `row`, those of the last step.

    Returns:
        The keys that no root binds, and whether it names figures that were compared.

    Raises:
        BadBlob: naming the first tensor that is missing, too much, or another.
    """
    with opened(path, None) as file:
        file.expect([*(entry.key for entry in binding.entries), *(rows.name for rows in binding.outputs)])
        check_rows(file, binding)
        for what, wanted, entries in _bound(file, binding):
            pieces = [(entry, _flat(file, entry)) for entry in entries]
            if tensor_root(_joined(file, pieces)) != wanted:
                keys = ", ".join(entry.key for entry in entries[:3]) + (", …" if len(entries) > 3 else "")
                raise file.fault(keys, f"is not what the certified {what} holds")
        loose = [entry for entry in binding.entries if entry.place == "own"]
        for entry in loose:
            _flat(file, entry)
        return [entry.key for entry in loose], check_said(file, binding, row, steps)


def _bound(file: TensorFile, binding: Binding) -> Iterator[tuple[str, bytes, list[Entry]]]:
    """Each tensor that the roots bind: what it is, its root, and the model's entries in it."""
    roots = {("slot", i): r for i, r in enumerate(binding.slots)}
    roots |= {("constant", leaf.index): leaf.root for leaf in binding.constants}
    groups: dict[tuple[str, int], list[Entry]] = {}
    for entry in binding.entries:
        if entry.place != "own":
            groups.setdefault((entry.place, entry.index), []).append(entry)
    for (place, index), entries in groups.items():
        if (place, index) not in roots:
            raise file.fault(entries[0].key, f"the certificate has no root of {place} {index}")
        yield ("state" if place == "slot" else "graph"), roots[place, index], entries


def _joined(file: TensorFile, pieces: Sequence[tuple[Entry, Array]]) -> Array:
    """The tensor that these entries make up. Where two of them overlap they are equal."""
    length = max(entry.offset + len(part) for entry, part in pieces)
    if length > sum(len(part) for _, part in pieces):
        raise file.fault(pieces[0][0].key, "has neighbours that the model does not name")
    whole = np.empty(length, pieces[0][1].dtype)
    known = np.zeros(len(whole), bool)
    for entry, part in pieces:
        span = slice(entry.offset, entry.offset + len(part))
        if part.dtype != whole.dtype or (whole[span].view(np.uint32) != part.view(np.uint32))[known[span]].any():
            raise file.fault(entry.key, "differs from another tensor that has the same place")
        whole[span], known[span] = part, True
    if not known.all():
        raise file.fault(pieces[0][0].key, "has neighbours that the model does not name")
    return whole


def _flat(file: TensorFile, entry: Entry) -> Array:
    """An entry of the model as the state holds it: float32 or int32, flat."""
    array = file.shaped(entry.key, entry.dtype, entry.shape).reshape(-1)
    if entry.dtype == "complex64":
        return array.view(np.float32)
    if entry.dtype == "float32":
        return array
    return file.narrowed(entry.key, array)
