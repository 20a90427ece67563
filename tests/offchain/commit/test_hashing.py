"""SHA-256 of many messages: every way to it gives what hashlib gives."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.commit import hashing, loops
from offchain.commit.hashing import hash_all
from offchain.commit.lanes import HASH_BYTES
from offchain.commit.loops import NativeLoop, native_loop
from offchain.native.jit import Compiler, compiler
from offchain.training import torch_threads

TEXTS = loops.texts()


@pytest.fixture(autouse=True)
def _made_again() -> Iterator[None]:
    native_loop.cache_clear()
    yield
    native_loop.cache_clear()


@pytest.mark.parametrize("text", list(TEXTS))
@given(
    seed=st.integers(0, 2**32 - 1),
    count=st.integers(1, 70),
    blocks=st.integers(2, 66),
    shift=st.integers(0, 63),
    tag=st.integers(0, 255),
    threads=st.integers(1, 3),
    team=st.booleans(),
)
def test_native_loops_hash_what_hashlib_does(
    text: str, seed: int, count: int, blocks: int, shift: int, tag: int, threads: int, team: bool
) -> None:
    rng, length = np.random.default_rng(seed), 64 * blocks
    data = rng.integers(0, 256, 1 << 14, np.uint8)
    starts = shift + rng.integers(0, len(data) - length - shift + 1, count)
    out = np.zeros((count + 1, HASH_BYTES), np.uint8)
    addresses = data.ctypes.data + starts
    with (
        torch_threads(threads),
        mock.patch.object(loops, "ENOUGH", 1),
        mock.patch.object(Compiler, "has_team", return_value=team),
    ):
        NativeLoop(TEXTS[text]).run(bytes([tag]), addresses, length, out[:count])
    expected = [sha256(bytes([tag]) + data[start : start + length].tobytes()).digest() for start in starts]
    assert [bytes(row) for row in out] == [*expected, bytes(HASH_BYTES)]


@pytest.mark.parametrize("many", [0, 1 << 40])
@pytest.mark.parametrize("count", [0, 1, 3, 4, 9])
def test_few_messages_are_hashed_as_many_are(monkeypatch: pytest.MonkeyPatch, many: int, count: int) -> None:
    monkeypatch.setattr(hashing, "MANY", many)
    data = np.arange(count * 512, dtype=np.uint32).view(np.uint8).reshape(count, 2048)
    out = np.empty((count, HASH_BYTES), np.uint8)
    hash_all(b"\1", data.ctypes.data + 2048 * np.arange(count), 2048, out)
    assert [bytes(row) for row in out] == [sha256(b"\1" + row.tobytes()).digest() for row in data]


def test_the_native_loop_is_made_once_enough_was_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hashing, "MANY", 1000)
    found = hashing.Loops()
    assert [found.loop(size) is not None for size in (600, 399, 1, 1)] == [False, False, True, True]


def test_a_loop_that_is_wrong_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = TEXTS["openssl"].replace("i64 1)", "i64 0)")  # it leaves out the tag
    assert wrong != TEXTS["openssl"]
    monkeypatch.setattr(loops, "texts", lambda: {"wrong": wrong, "right": TEXTS["openssl"]})
    found = native_loop()
    assert found is not None and found.is_right()
    native_loop.cache_clear()
    monkeypatch.setattr(loops, "texts", lambda: {"wrong": wrong})
    assert native_loop() is None


def test_without_openssl_and_instructions_there_is_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loops, "OPENSSL", {"SHA256_Init": "ptr", "no such function": "ptr"})
    monkeypatch.setattr(loops, "has_instructions", lambda: False)
    assert native_loop() is None
    data, out = np.zeros((9, 128), np.uint8), np.empty((9, HASH_BYTES), np.uint8)
    monkeypatch.setattr(hashing, "MANY", 0)
    hash_all(b"\0", data.ctypes.data + 128 * np.arange(9), 128, out)
    assert bytes(out[8]) == sha256(bytes(129)).digest()


def test_this_processor_has_a_loop() -> None:
    assert native_loop() is not None


@pytest.mark.parametrize("threads", [1, 3])
def test_as_many_threads_as_torch_has(threads: int) -> None:
    with torch_threads(threads):
        assert compiler().threads() == threads


def test_only_a_thread_that_runs_calls_has_a_team() -> None:
    here = Compiler()
    assert not here.has_team()
    here.run(None, 0)
    assert here.has_team()
    with ThreadPoolExecutor(1) as other:
        assert not other.submit(here.has_team).result()
