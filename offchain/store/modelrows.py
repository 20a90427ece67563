"""The rows of a task file that say where each entry of the model's `state_dict()` is; strangers write them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from offchain.ir.encoding import MAX_RANK
from offchain.ir.graph import TensorSpec
from offchain.ir.primitives import DType
from offchain.store.bounded import parsed
from offchain.store.tensorfile import TensorFile, is_plain
from offchain.task import DTYPES, SOURCES, ModelTensor

_COLUMNS: Final = 5


def read_model(file: TensorFile, constants: Sequence[int]) -> tuple[ModelTensor, ...]:
    """The rows. Raises BadBlob. `constants`: lengths of the graph's constants."""
    try:
        rows = parsed(file.text("model"))
    except ValueError as error:
        raise file.fault("model", "not a JSON list of rows") from error
    if not isinstance(rows, list) or not all(map(_is_row, rows)):
        raise file.fault("model", "not a list of entries of a model")
    entries = tuple(ModelTensor(key, dtype, tuple(shape), source, place) for key, dtype, shape, source, place in rows)
    if len({entry.key for entry in entries}) < len(entries):
        raise file.fault("model", "two entries have the same name")
    for entry in entries:
        if entry.source == "const" and not _fits(entry, dict(enumerate(constants))):
            raise file.fault("model", f"{entry.key}: is no constant of the graph")
    return entries


def own_arrays(entries: Sequence[ModelTensor]) -> list[TensorSpec]:
    """The tensors of the file that hold entries alone, by number. Entries with one number share a tensor."""
    found = {entry.place: entry for entry in entries if entry.source == "own"}
    return [TensorSpec(f"own.{place}", _dtype(entry), (entry.length,)) for place, entry in sorted(found.items())]


def check_places(file: TensorFile, entries: Sequence[ModelTensor], state: Mapping[str, int]) -> None:
    """Raise BadBlob unless every other entry is in the state, whose tensors have these lengths."""
    own = {entry.place: entry.length for entry in entries if entry.source == "own"}
    for entry in entries:
        if entry.source == "state" and not _fits(entry, state):
            raise file.fault("model", f"{entry.key}: is no tensor of the state")
        if entry.source == "own" and not _fits(entry, own):
            raise file.fault("model", f"{entry.key}: is no tensor of the file")


def _fits(entry: ModelTensor, lengths: Mapping[Any, int]) -> bool:
    return lengths.get(entry.place) == entry.length


def _dtype(entry: ModelTensor) -> DType:
    return DType.F32 if entry.dtype in ("float32", "complex64") else DType.I32


def _is_row(row: Any) -> bool:
    if not isinstance(row, list) or len(row) != _COLUMNS:
        return False
    key, dtype, shape, source, place = row
    if not (isinstance(key, str) and is_plain(key) and dtype in DTYPES and source in SOURCES):
        return False
    if type(place) is not (str if source == "state" else int) or not isinstance(shape, list) or len(shape) > MAX_RANK:
        return False
    return all(type(size) is int and size >= 0 for size in shape)
