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


MODELS = """
import torch
from torch import nn
import offchain

tokens, out, table = nn.Embedding(9, 4), nn.Linear(4, 9), nn.Linear(3, 4)
model = nn.ModuleList([tokens, out, table])

def forward(model, ids, cache, position):
    cache["k"][:, position] = tokens(ids)
    return out(cache["k"].mean(1)), cache

def generation(prompts=((1, 2), (3,)), new=3, **fields):
    return {"model": model, "prompts": prompts, "max_new_tokens": new, "forward": forward,
            "cache": {"k": torch.zeros(2, 4, 4)}, **fields}

def rows(batch_size=4, **fields):
    x, y = torch.ones(10, 3), torch.arange(10) % 4
    return {"model": model, "dataset": {"x": x, "y": y}, "batch_size": batch_size,
            "forward": lambda model, batch: table(batch["x"]), **fields}
"""
LINES = MODELS.count("\n")


@pytest.mark.parametrize(
    ("job", "line", "said"),
    [
        ("Generation(**generation(((1, 2, 3), (4,))))", 10, "the index is 4 in step 4, outside of 0 to 3"),
        ("Generation(**generation(((1, -2), (3,))))", 0, "prompt 0 has the token -2, must be 0 or more"),
        ("Generation(**generation(stop=9))", 0, "stop has the token 9, which is not in the vocabulary of 9"),
        ("Generation(**generation(temperature=float('nan')))", 0, "temperature is nan, must be 0 or more"),
        ("Generation(**generation(new=0))", 0, "max_new_tokens is 0, must be a positive integer"),
        ("Inference(**rows(0))", 0, "batch_size is 0, must be a positive integer"),
        ("Inference(**rows(forward=lambda model, batch: batch['x'][:1]))", 0, "must give a row for each of the 4 rows"),
        ("Evaluation(**rows(metrics=['recall'], target='y'))", 0, "must be a function or one of accuracy"),
        ("Evaluation(**rows(metrics=['loss'], target='z'))", 0, "target is 'z', must name the column"),
        (
            "Evaluation(**rows(metrics=['loss'], target='y', forward=lambda model, batch: batch['x']))",
            0,
            "gives scores of 3 classes, and row 3 of the target holds the class 3",
        ),
    ],
)
def test_bad_fields_of_programs_with_models_are_one_line_as_well(
    job: str, line: int, said: str, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    file = tmp_path / "job.py"
    file.write_text(f"{MODELS}job = offchain.{job}\n")
    told = refusal(capsys, monkeypatch, "task", "build", str(file), "-o", str(tmp_path / "a.task"))
    assert f"job.py:{line or LINES + 1}" in told and said in told
    assert not (tmp_path / "a.task").exists()
