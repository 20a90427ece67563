"""Files of tensors: what is read takes memory once, and a file that changes while it is read is refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from offchain.errors import BadBlob
from offchain.store.tensorfile import opened, write

LENGTH = 1 << 25  # numbers, 128 MiB
READ = """
import resource, sys
from offchain.store.tensorfile import opened
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
with opened(sys.argv[1], None) as file:
    before = peak()
    array = file.shaped("x", "float32", (int(sys.argv[2]),))
    print(array.sum(), (peak() - before) / array.nbytes)
"""


def test_content_takes_memory_once(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": np.ones(LENGTH, np.float32)}, {})
    words = [sys.executable, "-c", READ, str(tmp_path / "a"), str(LENGTH)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)
    total, taken = map(float, done.stdout.split())
    assert total == LENGTH and taken < 1.25


def test_every_dtype_comes_back_from_its_place(tmp_path: Path) -> None:
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.array([1, -2], np.int64),
        "c": np.array([True, False, True]),
        "d": np.array([1 + 2j], np.complex64),
        "e": np.array([], np.int32),
        "f": np.array(7, np.int32),
    }
    write(tmp_path / "a", {**arrays, "bytes": np.frombuffer(b"abc", np.uint8)}, {"format": "x"})
    with opened(tmp_path / "a", "x") as file:
        for name, array in arrays.items():
            found = file.shaped(name, array.dtype.name, array.shape)
            np.testing.assert_array_equal(found, array)
            assert found.dtype == array.dtype and found.shape == array.shape
        assert file.raw("bytes", 3) == b"abc"


def test_a_file_that_shrinks_while_it_is_read_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "a", {"x": np.ones(10_000, np.float32)}, {})
    with opened(tmp_path / "a", None) as file:
        with (tmp_path / "a").open("r+b") as other:
            other.truncate(20_000)
        with pytest.raises(BadBlob, match="x: is not there any more: the file is being changed"):
            file.shaped("x", "float32", (10_000,))
