"""A program's file on the command line: built, run with its outputs; what is refused, in one line and with code 2."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.numpy import load_file

from tests.offchain.commands.test_cli import run
from tests.offchain.commands.test_run import refusal

Capture, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch
PROGRAM = """
import torch
import offchain

def step(state, batch, t):
    x = state["x"] + batch["y"].sum()
    return {{"x": {after}}}, {{"size": x.sum()}}, {{"seen": {seen}}}

job = offchain.Program(
    step, {{"x": {first}}}, {{"y": torch.arange(6.0)}}, steps=4, interval=2, batch_size=3, outputs=["seen"],
)
"""
RIGHT = {"after": "x", "seen": "batch['y']", "first": "torch.zeros(2)"}


def a_file(folder: Path, **parts: str) -> Path:
    path = folder / "job.py"
    path.write_text(PROGRAM.format(**{**RIGHT, **parts}))
    return path


def test_a_program_is_built_and_run_and_its_outputs_are_written(
    tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    built, result = str(tmp_path / "a.task"), tmp_path / "a.safetensors"
    code, out, err = run(capsys, monkeypatch, "task", "build", str(a_file(tmp_path)), "-o", built, "--json")
    assert (code, err) == (0, "") and json.loads(out)["steps"] == 4
    code, out, _ = run(capsys, monkeypatch, "run", built, "-o", str(result), "--json")
    told = json.loads(out)
    assert code == 0 and told["size"] == told["metrics"]["size"] and len(told["state_roots"]) == 2
    held = load_file(result)
    assert held["x"].shape == (2,) and held["seen"].shape == (12,)
    code, out, _ = run(capsys, monkeypatch, "run", built, "--steps", "1")
    assert code == 0 and "first size" in out and "output seen" in out and "3 float32" in out


@pytest.mark.parametrize(
    ("parts", "line", "said"),
    [
        ({"after": "x[:1]"}, 5, "returns state 'x' as float32 of shape (1,), but got float32 of shape (2,)"),
        ({"after": "x.double()"}, 5, "returns state 'x' as float64 of shape (2,), but got float32"),
        ({"after": "None"}, 5, "returns None as state 'x'"),
        ({"first": "torch.zeros(2).double()"}, 9, "state 'x' is torch.float64"),
        ({"first": "None"}, 9, "state 'x' is None, which no graph can hold"),
        ({"seen": "x[:int(t) + 1]"}, 7, "the step depends on a tensor's value"),
        ({"seen": "x.sum()"}, 5, "output 'seen' is float32 of shape ()"),
    ],
)
def test_bad_input_is_one_line_with_the_users_line_and_code_2(
    parts: dict[str, str], line: int, said: str, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    file = a_file(tmp_path, **parts)
    told = refusal(capsys, monkeypatch, "task", "build", str(file), "-o", str(tmp_path / "a.task"))
    assert f"job.py:{line}" in told and said in told
