"""What README has a newcomer type, typed: from a fresh clone to a worker that bids, in at most four commands."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import pytest

from tests.support.told import ROOT

PATIENCE: Final = 240.0  # seconds, on a busy machine
BLOCK: Final = re.compile(r"^## You have a machine\n.*?^```\n(.*?)^```", re.MULTILINE | re.DOTALL)


def lines() -> list[str]:
    found = BLOCK.search((ROOT / "README.md").read_text())
    assert found is not None
    return found[1].splitlines()


def test_there_are_at_most_four_commands_and_the_first_sets_up() -> None:
    assert len(lines()) <= 4 and lines()[0] == "make setup"
    assert not any(set(line) & set(";&|") for line in lines())


@pytest.fixture
def typed(tmp_path: Path) -> Iterator[list[tuple[subprocess.Popen[str], Path]]]:
    """Processes and their logs; all end with the test."""
    started: list[tuple[subprocess.Popen[str], Path]] = []
    yield started
    for process, _ in reversed(started):
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.mark.slow
def test_a_worker_bids(tmp_path: Path, typed: list[tuple[subprocess.Popen[str], Path]]) -> None:
    """All but `make setup`, which made what runs this test. On a port of its own, and in a folder of its own."""
    for name in (".venv", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "node_modules").symlink_to(ROOT / "node_modules")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    quiet = {name: value for name, value in os.environ.items() if not name.startswith("OFFCHAIN_")}
    env = quiet | {"OFFCHAIN_SETTINGS": "", "OFFCHAIN_RPC": f"http://127.0.0.1:{port}", "OMP_NUM_THREADS": "1"}
    env |= {"OFFCHAIN_CHAIN_UP_PORT": str(port), "PYTHONPATH": str(ROOT)}
    with ExitStack() as files:
        for number, (line, said) in enumerate(zip(lines()[1:], ("have", "started", "posted"), strict=True)):
            log = tmp_path / f"{number}.log"
            out = files.enter_context(log.open("w"))
            process = subprocess.Popen(line.split(), cwd=tmp_path, env=env, stdout=out, stderr=out, text=True)
            typed.append((process, log))
            until(process, log, said)
        until(*typed[1], r"\bbid\b")


def until(process: subprocess.Popen[str], log: Path, said: str) -> None:
    end = time.monotonic() + PATIENCE
    while not re.search(said, log.read_text()):
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.2)
