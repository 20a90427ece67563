"""The unit of systemd and the container's file: what they start is a command of ours."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Final

import pytest

from offchain.commands.worker import worker
from tests.support.told import parse

ROOT: Final = Path(__file__).resolve().parents[2]
UNIT: Final = ROOT / "services" / "offchain-worker.service"
CONTAINER: Final = (ROOT / "Containerfile").read_text()


def test_the_service_starts_a_worker() -> None:
    (line,) = re.findall(r"^ExecStart=\S+/offchain (.*)$", UNIT.read_text(), re.MULTILINE)
    assert parse(tuple(shlex.split(line)), True) is worker


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """With a program that is there: what is verified is the unit."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/offchain/bin/offchain", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(unit)], capture_output=True, text=True)
    mine = [line for line in done.stderr.splitlines() if UNIT.name in line]
    assert mine == []


def test_the_container_starts_a_worker() -> None:
    entry, words = (
        json.loads(re.findall(rf"^{what} (.*)$", CONTAINER, re.MULTILINE)[0]) for what in ("ENTRYPOINT", "CMD")
    )
    assert entry == ["offchain"]
    assert parse(tuple(words), True) is worker
    known = {str(option.name) for option in worker.params}
    variables = re.findall(r"OFFCHAIN_WORKER_(\w+)=", CONTAINER)
    assert variables and {name.lower() for name in variables} <= known


def test_the_container_installs_what_the_lock_has() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    (torch,) = re.findall(r"pip install --no-cache-dir (torch==\S+)", CONTAINER)
    assert torch in lock.splitlines()
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    assert set(re.findall(r"'\.\[(\w+)\]'", CONTAINER)) <= set(extras)
    for name in re.findall(r"^COPY (.*) \S+$", CONTAINER, re.MULTILINE):
        assert all(
            (ROOT / each).exists() and f"!{each}" in (ROOT / ".containerignore").read_text() for each in name.split()
        )
