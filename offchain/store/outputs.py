"""The rows of a task file that say what its steps output."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import astuple
from typing import Any, Final

from offchain.ir.graph import TensorSpec
from offchain.ir.primitives import DType
from offchain.store.bounded import parsed
from offchain.store.tensorfile import TensorFile, is_plain
from offchain.task import DTYPES, Output, Task, slot_of

_REAL: Final = tuple(name for name in DTYPES if name != "complex64")


def written(task: Task) -> dict[str, str]:
    """For the metadata of a task file; nothing for a task without outputs."""
    return {"outputs": json.dumps([astuple(output) for output in task.outputs])} if task.outputs else {}


def read(file: TensorFile, task: Task) -> tuple[Output, ...]:
    """The outputs of a task, all but them read. Raises BadBlob unless a slot holds each, with as many rows."""
    try:
        rows = parsed(file.metadata.get("outputs", "[]"))
    except ValueError as error:
        raise file.fault("outputs", "not a JSON list of rows") from error
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise file.fault("outputs", "not a list of outputs")
    outputs, specs = [Output(*row) for row in rows], {slot.spec.name: slot.spec for slot in task.graph.slots}
    names = {output.name for output in outputs}
    if len(names) < len(outputs) or names & {entry.key for entry in task.model}:
        raise file.fault("outputs", "two tensors of the result have the same name")
    for output in outputs:
        if not _fits(output, specs, task.steps, task.interval):
            raise file.fault("outputs", f"{output.name}: no slot holds such rows")
    return tuple(outputs)


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != 3:
        return False
    name, dtype, rows = row
    named = isinstance(name, str) and is_plain(name) and isinstance(dtype, str) and dtype in _REAL
    return named and type(rows) is int and rows >= 1


def _fits(output: Output, specs: Mapping[str, TensorSpec], steps: int, interval: int) -> bool:
    spec = specs.get(slot_of(output.name))
    if spec is None or len(spec.shape) < 2 or spec.shape[0] != interval:
        return False
    kind = DType.F32 if output.dtype == "float32" else DType.I32
    return spec.dtype is kind and output.rows <= steps * spec.shape[1]
