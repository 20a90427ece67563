"""Reads safetensors files of strangers: one format tag, exactly the expected tensors, every refusal in one line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
from safetensors import SafetensorError, safe_open

from offchain.errors import BadBlob, BadInput
from offchain.exec.plan.memory import memory_for
from offchain.ir.arrays import Array, is_canonical
from offchain.ir.graph import TensorSpec
from offchain.ir.primitives import DType
from offchain.plainfile import open_plain
from offchain.text import printable

MAX_BYTES: Final = 1 << 38  # 256 GiB: beyond any task of this protocol version
MAX_HEADER: Final = 1 << 24  # names and metadata: reading them takes a multiple of their size in memory
MAX_NAME: Final = 256  # characters
INT32: Final = np.iinfo(np.int32)
_KINDS: Final = {"float32": "F32", "int32": "I32", "int64": "I64", "bool": "BOOL", "uint8": "U8", "complex64": "C64"}
_DTYPES: Final = {kind: np.dtype(name) for name, kind in _KINDS.items()}
_NAMES: Final = {DType.F32: "F32", DType.I32: "I32"}


def is_plain(name: str) -> bool:
    """Whether a name may stand in a file: people who did not choose it see it in terminals and logs."""
    return len(name) <= MAX_NAME and name.isprintable()


def check_writable(path: Path) -> None:
    """Raise BadInput where `write` would fail, before hours of work are lost to it."""
    if path.is_dir() or not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise BadInput(f"{path}: cannot be written: its folder must exist and be writable")
    if path.exists() and not path.is_file():  # it would be renamed over
        raise BadInput(f"{path}: cannot be written: not a plain file")


def write(path: str | Path, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """Write a file and rename it at the end: no reader sees half of it. Raises BadInput where it cannot be written."""
    target = Path(path)
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            _write_to(file, tensors, metadata)
        part.replace(target)
    except OSError as error:
        raise BadInput(f"{target}: cannot be written: {error.strerror or str(error).splitlines()[0]}") from error
    finally:
        part.unlink(missing_ok=True)


def _write_to(file: BinaryIO, tensors: Mapping[str, Array], metadata: Mapping[str, str]) -> None:
    """In the format of safetensors, whose own writer puts metadata in another order each time: equal content makes
    equal files here."""
    header: dict[str, Any] = {"__metadata__": dict(sorted(metadata.items()))}
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].dtype.itemsize, item[0]))  # so that all are aligned
    end = 0
    for name, array in ordered:
        start, end = end, end + array.nbytes
        kind = _KINDS[array.dtype.name]
        header[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [start, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    file.write(len(text).to_bytes(8, "little") + text)
    for _, array in ordered:
        file.write(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


@dataclass(frozen=True)
class TensorFile:
    """An open file. The dtype and shape that the caller expects are checked before any content is loaded.

    `handle` is safetensors', which has checked the header. Content is read from `content`, where `starts` says: what
    safetensors reads is mapped too, so that all of it would count twice as this process's memory.
    """

    path: str
    handle: Any
    metadata: Mapping[str, str]
    content: BinaryIO
    starts: Mapping[str, int]

    def fault(self, field: str, reason: str) -> BadBlob:
        return BadBlob(f"{self.path}: {printable(field)}: {printable(reason)}")

    def text(self, field: str) -> str:
        """A string of the metadata. Raises BadBlob where it is missing."""
        if field not in self.metadata:
            raise self.fault(field, "missing from the metadata")
        return self.metadata[field]

    def names(self) -> set[str]:
        return set(self.handle.keys())

    def expect(self, required: Sequence[str], optional: Sequence[str] = ()) -> None:
        """Raise BadBlob unless the file holds exactly these tensors."""
        names = self.names()
        for name in required:
            if name not in names:
                raise self.fault(name, "tensor is missing")
        for name in sorted(names - {*required, *optional}):
            raise self.fault(name, "tensor does not belong here")

    def raw(self, field: str, limit: int) -> bytes:
        """Bytes that are stored as a uint8 tensor."""
        if field not in self.names():
            raise self.fault(field, "tensor is missing")
        view = self.handle.get_slice(field)
        shape = view.get_shape()
        if view.get_dtype() != "U8" or len(shape) != 1:
            raise self.fault(field, "must be one row of bytes")
        if shape[0] > limit:
            raise self.fault(field, f"{shape[0]} bytes are above the limit of {limit}")
        return bytes(self._content(field, "U8", (shape[0],)).tobytes())

    def _content(self, field: str, kind: str, shape: tuple[int, ...]) -> Array:
        self.content.seek(self.starts.get(field, 0))
        array: Array = np.fromfile(self.content, _DTYPES[kind], prod(shape))
        if field not in self.starts or array.size < prod(shape):
            raise self.fault(field, "is not there any more: the file is being changed")
        return array.reshape(shape)

    def tensor(self, field: str, spec: TensorSpec) -> Array:
        """A flat array of exactly the dtype and shape of `spec`, every NaN canonical."""
        array = self._checked(field, _NAMES[spec.dtype], spec.shape).reshape(-1)
        if not is_canonical(array):
            raise self.fault(field, "holds a NaN that is not 0x7fc00000")
        return array

    def shaped(self, field: str, dtype: str, shape: tuple[int, ...]) -> Array:
        """An array of exactly this dtype (numpy's name, one that `write` takes) and shape."""
        return self._checked(field, _KINDS[dtype], shape)

    def narrowed(self, field: str, array: Array) -> Array:
        """Integers or truth values as int32. Raises BadBlob for those that do not fit."""
        if array.size and not INT32.min <= array.min() <= array.max() <= INT32.max:
            raise self.fault(field, "holds a number that no state can hold")
        return array.astype(np.int32)

    def _checked(self, field: str, kind: str, shape: tuple[int, ...]) -> Array:
        view = self.handle.get_slice(field)
        have, wanted = (view.get_dtype(), tuple(view.get_shape())), (kind, shape)
        if have != wanted:
            raise self.fault(field, f"is {have[0]} of shape {have[1]}, must be {wanted[0]} of {wanted[1]}")
        with memory_for(f"{self.path}: {field}", "to be read", _DTYPES[kind].itemsize * prod(shape)):
            return self._content(field, kind, shape)


def _starts(name: str, raw: BinaryIO, header: int) -> dict[str, int]:
    """Where in a file each tensor's content starts, by a header that was checked."""
    try:
        rows = json.loads(raw.read(header))
        return {field: 8 + header + row["data_offsets"][0] for field, row in rows.items() if field != "__metadata__"}
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise BadBlob(f"{name}: another header than a moment ago: the file is being changed") from error


@contextmanager
def opened(path: str | Path, form: str | None) -> Iterator[TensorFile]:
    """Open a file with the format tag `form`; None: with any. Raises BadBlob for any other file, OutOfMemory."""
    try:
        raw = open_plain(path)
    except OSError as error:
        raise BadBlob(f"{path}: cannot be read: {error.strerror}") from error
    with raw, _checked_header(str(path), raw) as file:
        if form is not None and file.metadata.get("format") != form:
            raise file.fault("format", f"is {file.metadata.get('format')!r}, must be {form!r}")
        yield file


@contextmanager
def _checked_header(name: str, raw: BinaryIO) -> Iterator[TensorFile]:
    """A file whose header safetensors has checked."""
    size, header = os.fstat(raw.fileno()).st_size, int.from_bytes(raw.read(8), "little")
    if size > MAX_BYTES:
        raise BadBlob(f"{name}: {size} bytes are above the limit of {MAX_BYTES}")
    if MAX_HEADER < header < size:  # what is no header at all, safetensors says
        raise BadBlob(f"{name}: its header of {header} bytes is above the limit of {MAX_HEADER}")
    try:
        with memory_for(name, "to be read", size), safe_open(name, framework="numpy") as handle:
            yield TensorFile(name, handle, handle.metadata() or {}, raw, _starts(name, raw, header))
    except (SafetensorError, OSError) as error:
        raise BadBlob(f"{name}: not a whole safetensors file: {printable(str(error))}") from error
