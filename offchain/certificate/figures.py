"""The last row of a task's log, and an evaluation's matrices, proven to the final state: a result that a line can say.

The log is the last slot of every state, (interval, columns), float32.
"""

from __future__ import annotations

from math import isnan
from typing import Any, Final

import numpy as np

from offchain.certificate.record import Binding, Entry, Figures, Work
from offchain.commit.merkle import Tree, climb, depth, leaf_hash
from offchain.commit.roots import chunk, chunk_hashes, tensor_root, tensor_root_of
from offchain.errors import BadBlob
from offchain.ir.arrays import Array
from offchain.ir.graph import CHUNK
from offchain.ir.primitives import DType
from offchain.store.bounded import parsed
from offchain.store.tensorfile import INT32, TensorFile
from offchain.task import EVALUATION, Task

MOST_VALUES: Final = 1 << 20  # of the curves in a result's file: as many as its header has room for
Row = dict[str, float]


def bind_figures(task: Task, log: Array | None) -> Figures | None:
    """Of a task whose last state has this log, flat; None where there is none, or nobody has it any more."""
    names = task.graph.metrics
    if log is None or not names:
        return None
    tree = Tree(chunk_hashes(log))
    held = _chunks(len(names), task.interval)
    chunks = tuple((chunk(log, i), tuple(tree.proof(i))) for i in held)
    numbers = {slot.spec.name: i for i, slot in enumerate(task.graph.slots)}
    shapes = {name: array.shape for name, array in task.tensors(task.state).items() if name in numbers}
    matrices = [
        Entry(name.removeprefix(EVALUATION), "int32", shape, "slot", numbers[name], 0)
        for name, shape in shapes.items()
        if name.startswith(EVALUATION) and len(shape) == 2
    ]
    return Figures(tuple(names), chunks, tuple(matrices))


def _chunks(columns: int, written: int) -> range:
    """The chunks of a log that hold the last of the rows that were written."""
    return range((written - 1) * columns // CHUNK, (written * columns - 1) // CHUNK + 1)


def check_figures(binding: Binding, work: Work) -> Row:
    """What the log says of the last step, by column; {} without figures. Raises BadBlob where that is not proven."""
    figures = binding.figures
    if figures is None:
        return {}
    columns, written = len(figures.names), work.steps - (work.intervals - 1) * work.interval
    length, held = columns * work.interval, _chunks(columns, written)
    count = -(-length // CHUNK)
    if len(figures.chunks) != len(held) or len({*figures.names}) < columns:
        raise BadBlob("figures: the certificate does not have the last row of the log")
    for i, (raw, proof) in zip(held, figures.chunks, strict=True):
        try:
            top = climb(leaf_hash(raw), i, count, depth(count), proof)
        except ValueError:
            top = b""
        if tensor_root_of(DType.F32, length, top) != binding.slots[-1]:
            raise BadBlob("figures: their proof does not lead to the final state's log")
    values = np.frombuffer(b"".join(raw for raw, _ in figures.chunks), np.float32)
    first = (written - 1) * columns - held[0] * CHUNK
    return dict(zip(figures.names, map(float, values[first : first + columns]), strict=True))


def check_said(file: TensorFile, binding: Binding, row: Row, steps: int) -> bool:
    """Whether a result's file names figures that the certificate has, which are compared. Raises BadBlob for others."""
    evaluation, curves = _said(file, "evaluation"), _said(file, "metrics")
    if binding.figures is None:
        return False
    for name, values in curves.items():
        if name in row and (not isinstance(values, list) or len(values) != steps or not _is(values[-1], row[name])):
            raise file.fault(name, f"is not what the certified log says of the last step, {row[name]:.9g}")
    matrices = {entry.key: entry for entry in binding.figures.matrices}
    for name, value in evaluation.items():
        if isinstance(value, list) and name in matrices:
            _check_matrix(file, matrices[name], value, binding)
        elif not _is(value, row.get(EVALUATION + name)):
            raise file.fault(f"evaluation {name}", "is not what the certified log says")
    return bool(evaluation or curves)


def _said(file: TensorFile, field: str) -> dict[str, Any]:
    try:
        found = parsed(file.metadata.get(field, "{}"), most=MOST_VALUES)
    except ValueError as error:
        raise file.fault(field, "not a JSON object") from error
    if not isinstance(found, dict):
        raise file.fault(field, "not a JSON object")
    return found


def _is(said: Any, value: float | None) -> bool:
    """Whether a number of JSON is this one; null says nothing."""
    if said is None:
        return True
    if type(said) not in (int, float) or value is None:
        return False
    return bool(said == value) or (isnan(value) and said != said)


def _check_matrix(file: TensorFile, entry: Entry, rows: list[Any], binding: Binding) -> None:
    height, width = entry.shape
    fits = len(rows) == height and all(isinstance(row, list) and len(row) == width for row in rows)
    cells = [cell for row in rows for cell in row] if fits else []
    if (
        not cells
        or any(type(cell) is not int or not INT32.min <= cell <= INT32.max for cell in cells)
        or entry.index >= len(binding.slots)
        or tensor_root(np.array(cells, np.int32)) != binding.slots[entry.index]
    ):
        raise file.fault(f"evaluation {entry.key}", "is not what the certified state holds")
