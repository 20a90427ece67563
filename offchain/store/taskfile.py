"""The task file: everything that a worker needs to replay a task, in one safetensors file.

Tensors `graph` (bytes of `encode_graph`), `const.I`, `data.NAME`, `state.NAME`, `own.I` (what the model has besides);
metadata `format`, `name`, `steps`, `parameters`, `parts` (the packed tensors), `model` (where each entry of its
`state_dict()` is), `seal`; with outputs, a vocabulary or a validation set also what the file of that name says.
Reading it runs no code of the requester and trusts nothing: the graph must be canonical and legal, every tensor must
have the dtype and shape that the graph states, and constants and datasets must match their roots.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple, replace
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, Final

import numpy as np

from offchain.commit.roots import graph_root, tensor_root
from offchain.errors import BadBlob
from offchain.ir.arrays import Array
from offchain.ir.encoding import MAX_RANK, decode_graph, encode_graph
from offchain.ir.graph import LOG_SLOT, Graph, TensorSpec
from offchain.ir.legality import check
from offchain.store import outputs, validation, vocabulary
from offchain.store.bounded import parsed
from offchain.store.graphfile import MAX_GRAPH_BYTES, fields_of, rooted
from offchain.store.modelrows import check_places, own_arrays, read_model
from offchain.store.names import seal_in
from offchain.store.tensorfile import MAX_NAME, TensorFile, is_plain, opened, write
from offchain.task import PackedTensor, Task

FORMAT: Final = "offchain-task-2"
MAX_STEPS: Final = (1 << 31) - 1


def save_task(task: Task, path: str | Path) -> None:
    """Write a task file. Raises BadInput where it cannot be written."""
    graph = task.graph
    fields = {"graph": np.frombuffer(encode_graph(graph), np.uint8)}
    slots = [slot.spec for slot in graph.slots]
    for prefix, specs, arrays in (
        ("const.", graph.constants, task.constants),
        ("data.", graph.datasets, task.datasets),
        ("state.", slots, task.state),
    ):
        names = fields_of(prefix, specs)
        fields |= {n: a.reshape(s.shape) for n, s, a in zip(names, specs, arrays, strict=True)}
    fields |= {f"own.{i}": array for i, array in enumerate(task.own)} | vocabulary.tensors(task)
    parts, text = validation.written(task)
    write(path, fields | parts, {"format": FORMAT, "seal": seal(task), **_texts(task), **text})


def load_task(path: str | Path, validated: bool = False) -> Task:
    """Read a task file that a stranger wrote. `validated`: with its validation set, which no step needs.

    Raises BadBlob, MalformedGraph or IllegalGraph in one line that names the field.
    """
    with opened(path, FORMAT) as file:
        graph = decode_graph(file.raw("graph", MAX_GRAPH_BYTES))
        check(graph)
        _check_names(file, graph)
        slots = [slot.spec for slot in graph.slots]
        fields = [
            fields_of(prefix, specs)
            for prefix, specs in (("const.", graph.constants), ("data.", graph.datasets), ("state.", slots))
        ]
        rows = read_model(file, [spec.length for spec in graph.constants])
        own_specs, words = own_arrays(rows), vocabulary.read(file)
        beside = [name for name in file.names() if name.startswith(validation.PREFIX)]
        beside += [vocabulary.FIELD] if vocabulary.FIELD in file.metadata else []
        file.expect(
            ["graph", *(name for names in fields for name in names), *(spec.name for spec in own_specs)], beside
        )
        constants = rooted(file, fields[0], graph.constants, graph.constant_roots)
        datasets = rooted(file, fields[1], graph.datasets, graph.dataset_roots)
        state = tuple(file.tensor(name, spec) for name, spec in zip(fields[2], slots, strict=True))
        _check_state(file, slots, state)
        steps, name = _steps(file, graph), file.text("name")
        if not is_plain(name):
            raise file.fault("name", f"must be up to {MAX_NAME} printable characters")
        packed = _packed(file, slots)
        check_places(file, rows, _lengths(slots, packed))
        own = tuple(file.tensor(spec.name, spec) for spec in own_specs)
        parameters = _parameters(file, slots, packed)
        task = Task(graph, constants, datasets, state, steps, name, parameters, packed, rows, own)
        task = replace(task, outputs=outputs.read(file, task), vocabulary=words)
        if file.text("seal") != seal(task):
            raise file.fault("seal", "does not match: the file was damaged or altered")
        return replace(task, validation=validation.read(file, task)) if validated else task


def read_graph(path: str | Path, root: bytes) -> Graph:
    """The step graph alone of a task file that was checked before. Raises BadBlob where it is not the one with that
    root."""
    with opened(path, FORMAT) as file:
        graph = decode_graph(file.raw("graph", MAX_GRAPH_BYTES))
        if graph_root(graph) != root:
            raise file.fault("graph", f"has root {graph_root(graph).hex()}, must have {root.hex()}")
        return graph


def seal(task: Task) -> str:
    """Digest of everything in a task's file. It reveals a damaged file; only the roots on chain reveal a forged one."""
    graph = sha256(encode_graph(task.graph)).hexdigest()  # the graph's root does not bind names
    own = [tensor_root(array).hex() for array in task.own]
    return sha256(json.dumps([graph, task.state_root.hex(), _texts(task), own]).encode()).hexdigest()


def require_seal(task: Task, uri: str) -> None:
    """Raise BadBlob unless the file has the seal that its address on chain names, where that names one."""
    named = seal_in(uri)
    if named and not (have := seal(task)).startswith(named):
        raise BadBlob(f"task {task.name!r}: its seal begins with {have[: len(named)]}, its address says {named}")


def _texts(task: Task) -> dict[str, str]:
    parts, model = (json.dumps([astuple(row) for row in rows]) for rows in (task.packed, task.model))
    texts = {"name": task.name, "steps": str(task.steps), "parameters": json.dumps(task.parameters), "parts": parts}
    return {**texts, "model": model, **outputs.written(task), **vocabulary.written(task)}


def _check_names(file: TensorFile, graph: Graph) -> None:
    """Names end up in terminals and logs of people who did not choose them."""
    specs = (*(slot.spec for slot in graph.slots), *graph.datasets, *graph.constants)
    for name in (*(spec.name for spec in specs), *graph.metrics):
        if not is_plain(name):
            raise file.fault("graph", f"a name is not printable, or longer than {MAX_NAME}: {name[:32]!r}")


def _check_state(file: TensorFile, slots: Sequence[TensorSpec], state: Sequence[Array]) -> None:
    for spec, array in zip(slots, state, strict=True):
        if not np.isfinite(array).all():
            raise file.fault(f"state.{spec.name}", "initial values are not finite")
        if spec.name == LOG_SLOT and array.any():
            raise file.fault(f"state.{spec.name}", "the log must start as zeros")


def _steps(file: TensorFile, graph: Graph) -> int:
    text = file.text("steps")
    if not (text.isascii() and text.isdigit() and len(text) <= 10 and 1 <= int(text) <= MAX_STEPS):
        raise file.fault("steps", f"{text[:32]!r} is not a number from 1 to {MAX_STEPS}")
    if int(text) % graph.interval:
        raise file.fault("steps", f"{text} is not a multiple of the interval {graph.interval}")
    return int(text)


def _packed(file: TensorFile, slots: Sequence[TensorSpec]) -> tuple[PackedTensor, ...]:
    """The tensors that share slots: each lies within its slot, and no two tensors of the state have the same name."""
    try:
        rows = parsed(file.text("parts"))
    except ValueError as error:
        raise file.fault("parts", str(error)) from error
    lengths = {spec.name: spec.length for spec in slots}
    if not isinstance(rows, list) or not all(_is_packed(row, lengths) for row in rows):
        raise file.fault("parts", "not a list of parts of slots")
    packed = tuple(PackedTensor(name, slot, offset, tuple(shape)) for name, slot, offset, shape in rows)
    names = {tensor.name for tensor in packed}
    if len(names) < len(packed) or names & (lengths.keys() - {tensor.slot for tensor in packed}):
        raise file.fault("parts", "two tensors have the same name")
    if not all(map(is_plain, names)):
        raise file.fault("parts", f"names must be up to {MAX_NAME} printable characters")
    return packed


def _is_packed(row: Any, lengths: dict[str, int]) -> bool:
    if not isinstance(row, list) or len(row) != 4:
        return False
    name, slot, offset, shape = row
    if not isinstance(name, str) or not isinstance(slot, str) or not isinstance(shape, list):
        return False
    numbers = [offset, *shape]
    if any(type(number) is not int or number < 0 for number in numbers) or len(shape) > MAX_RANK:
        return False
    return slot in lengths and offset + prod(shape) <= lengths[slot]


def _lengths(slots: Sequence[TensorSpec], packed: Sequence[PackedTensor]) -> dict[str, int]:
    """Elements of every tensor of the state by name: packed ones, and whole slots."""
    shared = {tensor.slot for tensor in packed}
    whole = {spec.name: spec.length for spec in slots if spec.name not in shared}
    return whole | {tensor.name: prod(tensor.shape) for tensor in packed}


def _parameters(file: TensorFile, slots: Sequence[TensorSpec], packed: Sequence[PackedTensor]) -> tuple[str, ...]:
    try:
        names = parsed(file.text("parameters"))
    except ValueError as error:
        raise file.fault("parameters", "not a JSON list of names") from error
    known = _lengths(slots, packed)
    if not isinstance(names, list) or any(not isinstance(name, str) or name not in known for name in names):
        raise file.fault("parameters", "not a JSON list of names of tensors of the state")
    return tuple(names)
