"""A validation set within a task file: `validation.PART.graph`, `validation.PART.const.I`, `validation.PART.data.NAME`.

The metadata `validation` has a row for each part: its steps, and a digest of its graph, whose roots bind the tensors.
The state of its steps is the trained model's, so that the file holds none.
"""

from __future__ import annotations

import json
from hashlib import sha256
from itertools import count
from typing import Any, Final

import numpy as np

from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.encoding import decode_graph, encode_graph
from offchain.ir.graph import LOG_SLOT, Graph
from offchain.ir.legality import check
from offchain.store.bounded import parsed
from offchain.store.graphfile import MAX_GRAPH_BYTES, fields_of, rooted
from offchain.store.tensorfile import TensorFile
from offchain.task import Task

PREFIX: Final = "validation."


def written(task: Task) -> tuple[dict[str, Array], dict[str, str]]:
    """The tensors and the metadata of a task's validation set; nothing for a task without one."""
    tensors: dict[str, Array] = {}
    rows = []
    for i, part in enumerate(task.validation):
        graph, encoded = part.graph, encode_graph(part.graph)
        tensors[f"{PREFIX}{i}.graph"] = np.frombuffer(encoded, np.uint8)
        for kind, specs, arrays in (
            ("const", graph.constants, part.constants),
            ("data", graph.datasets, part.datasets),
        ):
            names = fields_of(f"{PREFIX}{i}.{kind}.", specs)
            tensors |= {n: a.reshape(s.shape) for n, s, a in zip(names, specs, arrays, strict=True)}
        rows.append([part.steps, sha256(encoded).hexdigest()])
    return tensors, {"validation": json.dumps(rows)} if rows else {}


def read(file: TensorFile, task: Task) -> tuple[Task, ...]:
    """The parts of a task's validation set. Raises BadBlob, MalformedGraph, IllegalGraph."""
    found: list[Task] = []
    beside = {name for name in file.names() if name.startswith(PREFIX)}
    for i, row in zip(count(), _rows(file), strict=False):
        part, names = _part(file, i, row, task)
        found.append(part)
        beside -= names
    for name in sorted(beside):
        raise file.fault(name, "tensor does not belong here")
    return tuple(found)


def _rows(file: TensorFile) -> list[Any]:
    try:
        rows = parsed(file.metadata.get("validation", "[]"))
    except ValueError as error:
        raise file.fault("validation", "not a JSON list of parts") from error
    if not isinstance(rows, list) or not all(isinstance(r, list) and len(r) == 2 and type(r[0]) is int for r in rows):
        raise file.fault("validation", "not a list of parts")
    return rows


def _part(file: TensorFile, i: int, row: list[Any], task: Task) -> tuple[Task, set[str]]:
    field = f"{PREFIX}{i}.graph"
    encoded = file.raw(field, MAX_GRAPH_BYTES)
    if sha256(encoded).hexdigest() != row[1]:
        raise file.fault(field, "does not match its digest: the file was damaged or altered")
    graph = decode_graph(encoded)
    check(graph)
    _check_fits(file, field, graph, row[0], task)
    constants, data = (
        fields_of(f"{PREFIX}{i}.{kind}.", specs)
        for kind, specs in (("const", graph.constants), ("data", graph.datasets))
    )
    for name in (*constants, *data):
        if name not in file.names():
            raise file.fault(name, "tensor is missing")
    slots = [slot.spec for slot in graph.slots]
    part = Task(
        graph,
        rooted(file, constants, graph.constants, graph.constant_roots),
        rooted(file, data, graph.datasets, graph.dataset_roots),
        tuple(np.zeros(spec.length, numpy_dtype(spec.dtype)) for spec in slots),
        row[0],
        task.name,
    )
    return part, {field, *constants, *data}


def _check_fits(file: TensorFile, field: str, graph: Graph, steps: int, task: Task) -> None:
    """Raise BadBlob unless the steps are the log's rows and all other slots are tensors of the task's state."""
    *held, log = [slot.spec for slot in graph.slots]
    named = task.tensors(task.state)
    if log.name != LOG_SLOT or log.shape != (steps, len(task.graph.metrics)) or not graph.datasets:
        raise file.fault(field, "its log must have a row for each step and the task's metrics, and it must have data")
    for spec in held:
        have = named.get(spec.name)
        if have is None or have.size != spec.length or have.dtype != numpy_dtype(spec.dtype):
            raise file.fault(field, f"{spec.name}: is no such tensor of the task's state")
