"""A validation set: the same figures as plain torch's, exactly those of every executor, and in the task's file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import BadBlob, BadInput
from offchain.job import Job
from offchain.lower import compile
from offchain.store.taskfile import load_task, save_task
from offchain.task import Task
from offchain.training import Run
from tests.offchain.commands.test_cli import run

G = torch.Generator().manual_seed(2)
X, Y = torch.randn(40, 6, generator=G), torch.randint(0, 3, (40,), generator=G)
OTHERS = {"x": 1.5 * torch.randn(21, 6, generator=G), "y": torch.randint(0, 3, (21,), generator=G)}


def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def accuracy(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return (model(batch["x"]).argmax(1) == batch["y"]).float().mean()


def a_job(**changes: Any) -> Job:
    """With layers that are another function in evaluation mode, and a last batch that is not full."""
    torch.manual_seed(0)
    fields: dict[str, Any] = {
        "model": nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3)),
        "loss": loss,
        "optimizer": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        "dataset": {"x": X, "y": Y},
        "batch_size": 8,
        "steps": 6,
        "bits": 21,
        "interval": 3,
        "metrics": {"accuracy": accuracy},
        "validation": OTHERS,
    }
    return Job(**{**fields, **changes})


@pytest.fixture(scope="module")
def task() -> Task:
    return compile(a_job())


def test_the_figures_are_those_of_the_model_in_evaluation_mode(task: Task) -> None:
    job = a_job()
    training = offchain.compile(job, executor="torch")
    plain = training.plain()
    for one in (training, plain):
        one.run()
    assert len(training.validation["loss"]) == len(training.validation["accuracy"]) == 2
    for name, figures in training.validation.items():
        assert figures == pytest.approx(plain.validation[name], rel=1e-4)
    job.model.load_state_dict(training.state_dict())
    model = job.model.eval()
    assert training.validation["loss"][-1] == pytest.approx(loss(model, OTHERS).item(), rel=1e-5)
    assert training.validation["accuracy"][-1] == pytest.approx(accuracy(model, OTHERS).item())
    for name in ("reference", "fused"):
        other = Run(task, name)
        other.run()
        assert other.validation == training.validation


def test_no_root_and_no_mode_of_the_model_depends_on_it(task: Task) -> None:
    job = a_job()
    job.model[3].eval()
    with_it, without = compile(job), compile(replace(job, validation=None))
    assert (with_it.graph_root, with_it.state_root) == (without.graph_root, without.state_root)
    assert [module.training for module in job.model] == [True, True, True, False, True]
    assert without.validation == () and Run(without, "torch").validation == {}
    few = compile(a_job(model=nn.Linear(6, 3), validation={name: column[:5] for name, column in OTHERS.items()}))
    assert [part.steps for part in few.validation] == [1] and [part.steps for part in task.validation] == [2, 1]


def test_rows_without_names() -> None:
    def unnamed(model: Any, batch: Any) -> Tensor:
        return F.cross_entropy(model(batch[0]), batch[1])

    job = a_job(dataset=(X, Y), validation=(OTHERS["x"], OTHERS["y"]), loss=unnamed, metrics={}, model=nn.Linear(6, 3))
    training = offchain.compile(job, executor="torch")
    plain = training.plain()
    for one in (training, plain):
        one.run()
    assert training.validation["loss"] == pytest.approx(plain.validation["loss"], rel=1e-4)


def test_labels_of_the_validation_set_are_looked_at_too() -> None:
    for row, message in (
        (12, r"row 12 of dataset 'y' gives the index 3, outside of 0 to 2"),
        (20, "index 3 is out of"),
    ):
        labels = OTHERS["y"].clone()
        labels[row] = 3
        with pytest.raises(BadInput, match=rf"^validation: .* in loss at \S+: .*{message}"):
            compile(a_job(model=nn.Linear(6, 3), metrics={}, validation={"x": OTHERS["x"], "y": labels}))


# --- the task's file


def test_the_file_keeps_it_byte_for_byte(task: Task, tmp_path: Path) -> None:
    for name in ("a", "b"):
        save_task(task if name == "a" else compile(a_job()), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = load_task(tmp_path / "a", validated=True)
    runs = [Run(found, "torch"), Run(task, "torch")]
    for one in runs:
        one.run()
    assert runs[0].validation == runs[1].validation and runs[0].state_root == runs[1].state_root
    assert load_task(tmp_path / "a").validation == ()  # as a worker reads it


def test_a_damaged_one_is_refused(task: Task, tmp_path: Path) -> None:
    save_task(task, tmp_path / "a")
    with safe_open(tmp_path / "a", "numpy") as file:
        metadata = file.metadata()
    tensors = load_file(tmp_path / "a")

    def refused(message: str, texts: dict[str, str] | None = None, **changes: Any) -> None:
        changed = {name: value for name, value in {**tensors, **changes}.items() if value is not None}
        save_file(changed, tmp_path / "b", {**metadata, **(texts or {})})
        with pytest.raises(BadBlob, match=message):
            load_task(tmp_path / "b", validated=True)

    flipped = tensors["validation.0.graph"].copy()
    flipped[-1] ^= 1
    refused("validation.0.graph: does not match its digest", **{"validation.0.graph": flipped})
    refused("validation.1.data.x: content does not match", **{"validation.1.data.x": -tensors["validation.1.data.x"]})
    refused("validation.1.data.x: tensor is missing", **{"validation.1.data.x": None})
    refused("validation.2.graph: tensor does not belong here", **{"validation.2.graph": flipped})
    refused("validation: not a JSON list", {"validation": "{"})
    refused("validation: not a list of parts", {"validation": "[3]"})
    rows = json.loads(metadata["validation"])
    refused("validation.0.graph: its log must have a row", {"validation": json.dumps([[3, rows[0][1]], rows[1]])})


def test_one_for_another_model_is_refused(task: Task, tmp_path: Path) -> None:
    other = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3))
    smaller = replace(compile(a_job(model=other, validation=None)), validation=task.validation)
    save_task(smaller, tmp_path / "a")
    with pytest.raises(BadBlob, match=r"validation\.0\.graph: .*: is no such tensor of the task's state"):
        load_task(tmp_path / "a", validated=True)


# --- the command line


def test_run_shows_it_and_the_models_file_keeps_it(
    task: Task, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, model = tmp_path / "a.task", tmp_path / "a.safetensors"
    save_task(task, file)
    training = Run(task, "torch")
    training.run()
    code, out, _ = run(capsys, monkeypatch, "run", str(file), "--executor", "torch", "--json", "-o", str(model))
    assert code == 0 and json.loads(out)["validation"] == training.validation
    with safe_open(model, "numpy") as held:
        assert json.loads(held.metadata()["validation"]) == training.validation
    code, out, _ = run(capsys, monkeypatch, "run", str(file), "--executor", "torch")
    assert f"validation accuracy at 6  {training.validation['accuracy'][1]:.6g}" in " ".join(out.split("\n"))
    code, out, _ = run(capsys, monkeypatch, "task", "inspect", str(file))
    assert "validation rows" in out
