"""The distribution's name is its own, what is told of installing is true, and a wheel has every file."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import torch

from offchain.commands.machine import require_cuda
from offchain.errors import BadInput

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
OTHERS = ("torch==2.13.0", "triton")  # what else we tell people to install
OPTIONS = re.compile(r"-(c|-index-url) \S+ ")
WHAT = re.compile(r"['\"]?(\.|[\w=-]+(?:\.\d+)*)(?:\[([\w,]+)\])?")  # what is installed, and its extras


def test_command_and_import_keep_the_name_that_the_distribution_cannot_have() -> None:
    assert PROJECT["name"] == "offchain-training"
    assert PROJECT["scripts"] == {"offchain": "offchain.cli:main"}


def test_every_line_that_installs_installs_this_project() -> None:
    """From a checkout, with extras that there are; never the package index's `offchain`."""
    told = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md"), *ROOT.glob("examples/*.md")]
    files = [*told, *(ROOT / "offchain").rglob("*.py")]
    lines = [(file.name, line) for file in files for line in re.findall(r"pip install (.*)", file.read_text())]
    assert len(lines) >= 6
    for name, line in lines:
        named = WHAT.match(OPTIONS.sub("", line))
        assert named is not None, (name, line)
        what, extras = named.groups()
        assert what in (".", *OTHERS), (name, line)
        assert set((extras or "").split(",")) <= {"", *PROJECT["optional-dependencies"]}, (name, line)


def test_a_wheel_has_every_file_that_is_not_python() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["offchain"]
    folder = ROOT / "offchain"
    shipped = {file for pattern in data for file in folder.glob(pattern)}
    others = {file for file in folder.rglob("*.*") if file.is_file() and file.suffix not in (".py", ".pyc")}
    assert others == shipped


def test_a_cpu_build_of_torch_is_told_apart_from_a_machine_without_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    monkeypatch.setattr(torch.version, "cuda", None)
    with pytest.raises(BadInput, match=r"--device cuda: torch .* is a CPU build; install its CUDA build"):
        require_cuda("cuda")
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(BadInput, match="--device cuda: torch sees 0 CUDA devices here"):
        require_cuda("cuda")
