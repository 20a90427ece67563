"""`offchain run`, `offchain task build` and `inspect`: what they print, and what they refuse."""

from __future__ import annotations

import json
import random
import resource
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from torch import Tensor, nn

from offchain import cli
from offchain.commands.plot import curve
from offchain.errors import BadInput
from offchain.exec.make import EXECUTORS
from offchain.ir.encoding import encode_graph
from offchain.ir.moves import MAX_CALLDATA, MAX_GAS
from offchain.job import Job
from offchain.lower import compile as lower
from offchain.store.taskfile import load_task, save_task, seal
from offchain.text import one_line
from offchain.training import Training
from tests.offchain.commands.test_cli import JOB, run
from tests.support.generated import Spoken

Capture, Patch = pytest.CaptureFixture[str], pytest.MonkeyPatch


def a_job(lr: float = 0.1) -> Job:
    def in_turn(t: Tensor) -> Tensor:
        return (torch.arange(4, dtype=torch.int32) + t * 4) % 32

    x = torch.linspace(-1, 1, 96).reshape(32, 3)
    torch.manual_seed(0)
    return Job(
        model=nn.Linear(3, 2),
        loss=lambda model, batch: nn.functional.mse_loss(model(batch["x"]), batch["y"]),
        optimizer=(torch.optim.SGD, {"lr": lr}),
        dataset={"x": x, "y": x[:, :2] * 2},
        batch_size=4,
        steps=9,
        interval=3,
        order=in_turn,
        metrics={"bias": lambda model, batch: model.bias.abs().sum()},
        name="line",
    )


@pytest.fixture(scope="module")
def training() -> Training:
    """The job, trained to its end in Python."""
    training = Training(a_job(), threads=1)
    training.run()
    return training


@pytest.fixture(scope="module")
def file(training: Training, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its task file, alone in a folder."""
    path = tmp_path_factory.mktemp("task") / "line.task"
    training.save(path)
    return path


def refusal(capsys: Capture, monkeypatch: Patch, *args: str) -> str:
    """The one line on stderr with which a command refuses; nothing else is printed."""
    code, out, err = run(capsys, monkeypatch, *args)
    assert (code, out, err.count("\n")) == (2, "", 1), (code, out, err)
    assert err.startswith("error: ")
    return err


# --- offchain run


@pytest.mark.parametrize("executor", EXECUTORS)
def test_run_prints_losses_roots_and_metrics(
    file: Path, training: Training, executor: str, capsys: Capture, monkeypatch: Patch
) -> None:
    code, out, err = run(capsys, monkeypatch, "run", str(file), "--executor", executor, "--threads", "1", "--json")
    told = json.loads(out)
    assert (code, err, told["steps"]) == (0, "", 9)
    assert told["state_roots"] == [root.hex() for root in training.state_roots]
    assert len(told["state_roots"]) == 3
    assert told["loss"] == told["metrics"]["loss"] == training.losses
    assert told["metrics"] == training.metrics
    assert told["seconds"] > 0
    assert torch.get_num_threads() >= 1


def test_run_stops_in_the_middle_of_an_interval(
    file: Path, training: Training, capsys: Capture, monkeypatch: Patch
) -> None:
    code, out, _ = run(capsys, monkeypatch, "run", str(file), "--steps", "5", "--json")
    told = json.loads(out)
    assert (code, told["steps"]) == (0, 5)
    assert told["loss"] == training.losses[:5]
    assert told["state_roots"] == [training.state_roots[0].hex()]


def test_run_shows_a_table_a_curve_and_writes_the_model(
    file: Path, training: Training, tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    model = tmp_path / "model.safetensors"
    code, out, _ = run(capsys, monkeypatch, "run", str(file), "-o", str(model))
    assert code == 0
    assert all(len(line) <= 80 for line in out.splitlines())
    assert all(root.hex() in out for root in training.state_roots)
    assert f"{training.losses[0]:.6g}" in out
    assert f"{training.losses[-1]:.6g}" in out
    assert f"{training.metrics['bias'][-1]:.6g}" in next(line for line in out.splitlines() if "last bias" in line)
    assert "█" in out
    assert list(tmp_path.iterdir()) == [model]
    saved = load_file(model)
    for name, value in training.state_dict().items():
        assert np.array_equal(saved[name], value.numpy())


def test_run_says_that_a_loss_is_not_finite(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    save_task(lower(a_job(lr=1e30)), tmp_path / "bad.task")
    code, out, err = run(capsys, monkeypatch, "run", str(tmp_path / "bad.task"), "--json")
    losses = json.loads(out)["loss"]
    assert code == 0
    assert losses[0] is not None
    first = losses.index(None)
    assert err.startswith(f"warning: the loss of step {first} is not finite")
    code, out, _ = run(capsys, monkeypatch, "run", str(tmp_path / "bad.task"))
    assert code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--steps", "10"], "--steps 10: the task has 9"),
        (["--device", "nowhere"], "device 'nowhere'"),
        (["-o", "/nowhere/model.safetensors"], "cannot be written"),
    ],
)
def test_run_refuses(file: Path, options: list[str], said: str, capsys: Capture, monkeypatch: Patch) -> None:
    assert said in refusal(capsys, monkeypatch, "run", str(file), *options)
    assert list(file.parent.iterdir()) == [file]


def test_run_of_a_job_file_says_how_to_build_it(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    (tmp_path / "job.py").write_text("raise SystemExit('a worker must never run this')")
    said = refusal(capsys, monkeypatch, "run", str(tmp_path / "job.py"))
    assert f"offchain task build {tmp_path / 'job.py'} -o job.task" in said


def test_run_explains_itself(capsys: Capture, monkeypatch: Patch) -> None:
    code, out, _ = run(capsys, monkeypatch, "run", "--help")
    assert code == 0
    assert "Example:" in out


# --- the curve


def test_curve_falls_with_its_values_and_fits() -> None:
    lines = curve([1 / (1 + i) for i in range(1000)])
    assert max(map(len, lines)) <= 80
    heights = [sum(line[12 + x] != " " for line in lines) for x in range(64)]
    assert heights == sorted(heights, reverse=True)
    assert (heights[0], heights[-1]) == (6, 1)


def test_curve_of_odd_values() -> None:
    assert curve([]) == curve([float("nan")]) == []
    assert len(curve([2.0])) == 6
    gap = [line[12:] for line in curve([1.0, float("inf"), 2.0])]
    assert [line[1] for line in gap] == [" "] * 6


# --- offchain task inspect


def test_inspect_counts_everything(file: Path, training: Training, capsys: Capture, monkeypatch: Patch) -> None:
    code, out, _ = run(capsys, monkeypatch, "task", "inspect", str(file), "--json")
    told, task = json.loads(out), training.task
    assert (code, told["steps"], told["interval"], told["nodes"]) == (0, 9, 3, len(task.graph.nodes))
    assert sum(told["nodes_by_kind"].values()) == told["nodes"]
    assert told["datasets"] == {"tensors": 2, "elements": 32 * 5, "bytes": 32 * 5 * 4}
    assert told["state"]["elements"] == sum(array.size for array in task.state)
    assert told["constants"]["bytes"] == sum(array.nbytes for array in task.constants)
    assert told["graph_bytes"] == len(encode_graph(task.graph))
    assert told["file_bytes"] == file.stat().st_size
    assert told["parameters"] == 8
    assert told["work_units_a_step"] > 0
    assert 4_096 < told["largest_move"]["bytes"] <= MAX_CALLDATA
    assert told["largest_move"]["gas"] <= MAX_GAS
    code, out, _ = run(capsys, monkeypatch, "task", "inspect", str(file))
    assert "2 tensors, 160 elements, 640 bytes" in out


# --- files that are no tasks


def test_what_is_no_task_is_refused(file: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    (tmp_path / "empty.task").write_bytes(b"")
    (tmp_path / "text.task").write_text("not a task\n" * 50)
    (tmp_path / "long.task").write_bytes(file.read_bytes() + b"\0" * 64)
    for name in ("empty", "text", "long", "missing"):
        for command in (["run"], ["task", "inspect"]):
            assert f"{name}.task" in refusal(capsys, monkeypatch, *command, str(tmp_path / f"{name}.task"))


def test_truncated_files_are_refused(file: Path, tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    whole, cut = file.read_bytes(), tmp_path / "cut.task"
    for size in [*range(0, 16), *range(16, len(whole), len(whole) // 80), len(whole) - 1]:
        cut.write_bytes(whole[:size])
        refusal(capsys, monkeypatch, "task", "inspect", str(cut))
    refusal(capsys, monkeypatch, "run", str(cut), "-o", str(tmp_path / "model.safetensors"))
    assert list(tmp_path.iterdir()) == [cut]


def test_altered_bytes_are_refused(file: Path, training: Training, tmp_path: Path) -> None:
    """Except bytes whose change has no effect, such as a space in the header."""
    whole, path, draw = file.read_bytes(), tmp_path / "altered.task", random.Random(5)
    refused = []
    for _ in range(400):
        at = draw.randrange(len(whole))
        changed = whole[at] ^ draw.randrange(1, 256)
        path.write_bytes(whole[:at] + bytes([changed]) + whole[at + 1 :])
        try:
            task = load_task(path)
        except BadInput as error:
            refused.append(str(error))
            continue
        assert seal(task) == seal(training.task), (at, changed)
    assert len(refused) > 380
    assert not any("\n" in line for line in refused)


# --- offchain task build


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            'model(batch["x"])',
            'model(batch["x"] if batch["x"].sum() > 0 else -batch["x"])',
            "depends on a tensor's value",
        ),
        ('model(batch["x"])', 'model(batch["x"]) * batch["x"].sum().item()', "depends on a tensor's value"),
        ('"x": x,', '"x": x / 0,', "not finite"),
        ('"x": x,', '"x": x.double(),', "float64; use float32"),
        ('"x": x,', '"x": x.half(),', "float16; use float32"),
        ("batch_size=4", "batch_size=33", "batch_size 33 is larger than the 32 rows"),
        ("torch.optim.SGD", "torch.optim.LBFGS", "optimizer LBFGS takes the loss"),
        ('{"lr": 0.1}', '{"lr": -0.1}', "Invalid learning rate"),
        ("import torch", "import torch, nothing_of_this_name", "nothing_of_this_name"),
        ("import torch", "import torch; 1 / 0", "line 2: ZeroDivisionError"),
        ("import torch", "def (", "SyntaxError"),
    ],
)
def test_build_refuses(tmp_path: Path, old: str, new: str, said: str, capsys: Capture, monkeypatch: Patch) -> None:
    job = tmp_path / "job.py"
    assert old in JOB
    job.write_text(JOB.replace(old, new, 1))
    assert said in refusal(capsys, monkeypatch, "task", "build", str(job), "-o", str(tmp_path / "line.task"))
    assert [path for path in tmp_path.iterdir() if path.name != "__pycache__"] == [job]


def test_build_says_its_seconds_and_refuses_a_bad_place_first(
    tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    job = tmp_path / "job.py"
    job.write_text(JOB)
    code, out, _ = run(capsys, monkeypatch, "task", "build", str(job), "-o", str(tmp_path / "a.task"), "--json")
    assert code == 0
    assert json.loads(out)["seconds"] > 0
    job.write_text("raise SystemExit('must not run before the place is known to be good')")
    place = str(tmp_path / "no" / "a.task")
    assert "cannot be written" in refusal(capsys, monkeypatch, "task", "build", str(job), "-o", place)


def test_a_build_that_fails_while_writing_leaves_nothing(
    tmp_path: Path, training: Training, monkeypatch: Patch
) -> None:
    """A disk that is full after some bytes, as the operating system reports it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
        with pytest.raises(BadInput, match="cannot be written"):
            training.save(tmp_path / "line.task")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert list(tmp_path.iterdir()) == []


def test_run_is_listed() -> None:
    assert "run" in cli.COMMANDS
    assert set(cli.COMMANDS) == set(cli.SUMMARIES)


# --- the model's file


class Whole(nn.Module):
    """Trained, frozen, tied, unused and counted tensors, in every dtype; a buffer that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(3, 4), nn.BatchNorm1d(4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.unused = nn.Linear(2, 2).requires_grad_(False)
        self.head = nn.Linear(4, 2)
        self.tied = self.head
        self.register_buffer("mask", torch.tensor([True, False, True, True]))
        self.register_buffer("ids", torch.arange(5))
        self.register_buffer("turns", torch.polar(torch.ones(3), torch.arange(3.0)))
        self.register_buffer("hidden", torch.ones(4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.frozen(self.norm(self.first(x))) * self.mask * self.hidden)


def test_the_models_file_loads_as_it_is_and_keeps_the_whole_curve(
    tmp_path: Path, capsys: Capture, monkeypatch: Patch
) -> None:
    torch.manual_seed(0)
    model = Whole()
    training = Training(replace(a_job(), model=model, metrics={"size": lambda m, b: m.first.weight.abs().sum()}))
    training.save(tmp_path / "whole.task")
    training.run()
    path = tmp_path / "model.safetensors"
    assert run(capsys, monkeypatch, "run", str(tmp_path / "whole.task"), "-o", str(path))[0] == 0
    fresh = Whole()
    assert str(fresh.load_state_dict(load_torch(path))) == "<All keys matched successfully>"
    for key, want in training.state_dict().items():
        have = fresh.state_dict()[key]
        assert have.dtype is want.dtype
        assert torch.equal(have, want), key
    assert int(fresh.norm.num_batches_tracked) == 9
    with safe_open(path, "numpy") as file:
        metrics = json.loads(file.metadata()["metrics"])
    assert metrics == training.metrics
    assert len(metrics["loss"]) == 9


def test_the_text_of_a_generation_is_shown(tmp_path: Path, capsys: Capture, monkeypatch: Patch) -> None:
    spoken, file = Spoken(tmp_path / "solver"), tmp_path / "a.task"
    save_task(spoken.task, file)
    code, out, _ = run(capsys, monkeypatch, "run", str(file), "--executor", "torch", "--json")
    assert code == 0 and [row["prompt"] + row["text"] for row in json.loads(out)["texts"]] == spoken.texts
    code, out, _ = run(capsys, monkeypatch, "run", str(file), "--executor", "torch", "--steps", "5")
    assert code == 0 and f"0: {one_line(spoken.program.texts(spoken.tokens[:5])[0])}\n" in out
    save_task(replace(lower(a_job()), vocabulary=spoken.task.vocabulary), file)  # a stranger's file may say so
    code, out, _ = run(capsys, monkeypatch, "run", str(file), "--executor", "torch", "--json")
    assert code == 0 and "texts" not in json.loads(out)
