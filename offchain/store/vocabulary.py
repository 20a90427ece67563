"""The rows of a task file that say what tokens are as text.

Tensor `vocabulary`: each token's length in bytes, one byte, before its bytes. Metadata `vocabulary`: a JSON list of the
tensor's digest, which the file's seal covers, and of the tokens that end a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from hashlib import sha256
from typing import Final

import numpy as np

from offchain.ir.arrays import Array
from offchain.store.bounded import parsed
from offchain.store.tensorfile import INT32, TensorFile
from offchain.task import Task
from offchain.vocabulary import LONGEST, MOST, Vocabulary

FIELD: Final = "vocabulary"
MOST_STOPS: Final = 1024


def tensors(task: Task) -> dict[str, Array]:
    """For the tensors of a task file; nothing for a task without."""
    return {FIELD: np.frombuffer(_packed(task.vocabulary), np.uint8)} if task.vocabulary else {}


def written(task: Task) -> dict[str, str]:
    """For its metadata."""
    held = task.vocabulary
    return {FIELD: json.dumps([sha256(_packed(held)).hexdigest(), held.stop])} if held else {}


def read(file: TensorFile) -> Vocabulary:
    """The vocabulary of a task file, empty where it has none. Raises BadBlob."""
    if FIELD not in file.metadata:
        return Vocabulary()
    packed = file.raw(FIELD, (1 + LONGEST) * MOST)
    words = tuple(_unpacked(file, packed))
    if len(words) > MOST:
        raise file.fault(FIELD, f"{len(words)} tokens are above the limit of {MOST}")
    return Vocabulary(words, _stop(file))


def _packed(vocabulary: Vocabulary) -> bytes:
    return b"".join(bytes([len(word)]) + word for word in vocabulary.words)


def _unpacked(file: TensorFile, packed: bytes) -> Iterator[bytes]:
    at = 0
    while at < len(packed):
        start, at = at + 1, at + 1 + packed[at]
        if at > len(packed):
            raise file.fault(FIELD, "ends within a token")
        yield packed[start:at]


def _stop(file: TensorFile) -> tuple[int, ...]:
    try:
        row = parsed(file.metadata[FIELD])
    except ValueError as error:
        raise file.fault(FIELD, "not a JSON list") from error
    stop = row[1] if isinstance(row, list) and len(row) == 2 else None
    if not isinstance(stop, list) or any(type(token) is not int or not 0 <= token <= INT32.max for token in stop):
        raise file.fault(FIELD, "not a digest and a list of tokens")
    if len(stop) > MOST_STOPS:
        raise file.fault(FIELD, f"{len(stop)} tokens that end a text are above the limit of {MOST_STOPS}")
    return tuple(stop)
