"""Random legal graphs of the nastiest views: every executor gives the same bits, and none touches what is not its own.

They run in a child, because a kernel that reads elsewhere ends the process that runs it.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
FIRST = int(os.environ.get("STRANGE_FIRST", "0"))  # a seed
TRESPASS = "from tests.support.guarded import trespass; trespass({low}, {by})"


def child(*arguments: str) -> subprocess.CompletedProcess[str]:
    settings = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=ROOT, env=settings, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("count", [300, pytest.param(10_000, marks=pytest.mark.slow)])
def test_strange_graphs_give_the_same_bits_and_touch_nothing_else(count: int) -> None:
    done = child("-m", "tests.support.strange", str(FIRST), str(count))
    *_, last = done.stdout.split("\n")[:-1] or ["none"]
    assert done.returncode == 0, f"ended with {done.returncode} at the graph of seed {last}:\n{done.stderr[-3000:]}"
    assert int(last.removeprefix("ran ")) > 0.95 * count


@pytest.mark.parametrize(("low", "by"), [(False, 1), pytest.param(True, -1, marks=pytest.mark.slow)])
def test_an_element_outside_ends_the_child(low: bool, by: int) -> None:
    """What holds the test above to its word."""
    done = child("-c", TRESPASS.format(low=low, by=by))
    assert done.returncode == -signal.SIGSEGV, done.stderr
    assert child("-c", TRESPASS.format(low=low, by=0)).returncode == 0


@pytest.mark.parametrize("stride", [(1 << 32) - 1, pytest.param(-(1 << 32) - 1, marks=pytest.mark.slow)])
def test_strides_of_tensors_beyond_32_bits(stride: int) -> None:
    """LLVM's vectoriser takes them for strides of one element, even where several coordinates are valid."""
    done = child("-m", "tests.support.far", str(stride))
    assert done.returncode == 0, done.stderr[-3000:]
