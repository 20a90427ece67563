"""State in what is read on and on: iterators, files, queues, generators of random numbers."""

from __future__ import annotations

import asyncio
import os
import queue
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from offchain.lower.host.memory import extent, set_extent
from tests.offchain.lower.hidden import LATE, Number, check_found, late, registers

MAKERS: dict[str, Callable[[], Number]] = {}
hidden = registers(MAKERS)


@hidden
def generator_in_a_map_in_a_tuple() -> Number:
    turns = (map(float, (n for n in range(1 << 20))),)
    return lambda: late(next(turns[0]))


@hidden
def file_that_is_read_and_written() -> Number:
    file = tempfile.TemporaryFile("w+")  # noqa: SIM115

    def number() -> float:
        file.write("x")
        file.seek(0)
        return late(len(file.read()))

    return number


@hidden
def lines_of_a_file() -> Number:
    path = Path(tempfile.mkstemp()[1])
    path.write_text("1\n" * LATE + "2\n" * LATE)
    lines = path.open()
    return lambda: float(next(lines))


@hidden
def descriptor_of_a_file() -> Number:
    read, write = os.pipe()
    os.write(write, bytes(range(LATE)))
    return lambda: late(os.read(read, 1)[0])


@hidden
def queue_of_constant_size() -> Number:
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    for n in range(1 << 9):
        waiting.put(n)

    def number() -> float:
        n = waiting.get()
        waiting.put(n)
        return late(n)

    return number


@hidden
def bits_of_numpy() -> Number:
    bits = np.random.PCG64(0)
    return lambda: 3.0 if bits.random_raw() % 997 == 5 else 1.0


@hidden
def seeds_of_numpy() -> Number:
    seeds = np.random.SeedSequence(1)
    return lambda: 3.0 if seeds.spawn(1)[0].generate_state(1)[0] % 997 == 5 else 1.0


@hidden
def loop_of_asyncio() -> Number:
    loop, state = asyncio.new_event_loop(), [0]

    async def counts() -> int:
        state[0] += 1
        return state[0]

    return lambda: late(loop.run_until_complete(counts()))


@pytest.mark.parametrize("name", MAKERS)
def test_a_stream_is_found(name: str) -> None:
    check_found(MAKERS[name]())


@pytest.mark.parametrize(("mode", "left"), [("a+", "ours\nothers\n"), ("r+", "ours\n")])
def test_what_others_append_to_a_file_is_not_cut_off(tmp_path: Path, mode: str, left: str) -> None:
    path = tmp_path / "log"
    path.write_text("ours\n")
    with path.open(mode) as file:
        before = extent(file)
        with path.open("a") as other:
            other.write("others\n")
        set_extent(file, before)
    assert path.read_text() == left
