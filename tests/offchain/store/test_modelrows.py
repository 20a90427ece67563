"""The rows of a task file that say where the model's tensors are: what a stranger may not write there."""

from __future__ import annotations

from pathlib import Path

import pytest

from offchain.errors import BadBlob
from offchain.store.taskfile import load_task
from tests.offchain.store.test_taskfile import path, rewrite, task  # noqa: F401  fixtures

ROWS = [
    "[",
    "[" * 100_000,
    "7",
    "[[1, 2]]",
    '[["a", "float32", [2], "const"]]',
    '[["\\u001b", "float32", [2], "const", 0]]',
    '[["a", "float64", [2], "const", 0]]',
    '[["a", ["float32"], [2], "const", 0]]',
    '[["a", "float32", [2], "elsewhere", 0]]',
    '[["a", "float32", [-1], "const", 0]]',
    '[["a", "float32", [true], "const", 0]]',
    '[["a", "float32", [2], "const", 99]]',
    '[["a", "float32", [2], "const", -1]]',
    '[["a", "float32", [2], "const", "0"]]',
    '[["a", "float32", [2], "state", 0]]',
    '[["a", "float32", [2], "state", "nothing"]]',
    '[["1.bias", "float32", [3], "state", "1.bias"]]',
    '[["1.bias", "float32", [2], "state", "1.bias"], ["1.bias", "float32", [2], "state", "1.bias"]]',
]


@pytest.mark.parametrize("rows", ROWS)
def test_rows_that_make_no_sense(path: Path, rows: str) -> None:  # noqa: F811
    rewrite(path, lambda head, body: head["__metadata__"].update({"model": rows}))
    with pytest.raises(BadBlob, match=": model: ") as caught:
        load_task(path)
    assert len(str(caught.value)) < 400


def test_rows_of_tensors_that_are_not_there(path: Path) -> None:  # noqa: F811
    rewrite(path, lambda head, body: head["__metadata__"].update({"model": '[["a", "float32", [2], "own", 0]]'}))
    with pytest.raises(BadBlob, match=r"own\.0: tensor is missing"):
        load_task(path)


def test_other_rows_than_those_that_were_sealed(path: Path) -> None:  # noqa: F811
    rewrite(path, lambda head, body: head["__metadata__"].update({"model": "[]"}))
    with pytest.raises(BadBlob, match="seal: does not match"):
        load_task(path)
