"""Job files: what a requester may write, and what is refused before a step is captured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from offchain.demo import digits
from offchain.errors import BadInput, Unsupported
from offchain.exec.make import make_executor
from offchain.job import Job
from offchain.jobfile import load
from offchain.lower import compile

FILE = """
import torch
from offchain.job import Job

def make():
    return Job(
        model=torch.nn.Linear(3, 2),
        loss=lambda model, batch: model(batch["x"]).square().mean(),
        optimizer=(torch.optim.SGD, {"lr": 0.1}),
        dataset={"x": torch.ones(4, 3)},
        batch_size=2, steps=4, interval=2,
    )
"""


def a_job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "model": nn.Linear(3, 2),
        "loss": lambda model, batch: model(batch["x"]).square().mean(),
        "optimizer": (torch.optim.SGD, {"lr": 0.1}),
        "dataset": {"x": torch.ones(4, 3), "y": torch.arange(4)},
        "batch_size": 2,
        "steps": 4,
        "interval": 2,
    }
    return Job(**{**fields, **changes})


@pytest.mark.parametrize("end", ["job = make()", "job = make"])
def test_load(tmp_path: Path, end: str) -> None:
    path = tmp_path / "JOB.py"
    path.write_text(FILE + end)
    assert load(path).rows == 4


def test_load_without_a_job_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "JOB.py"
    path.write_text(FILE)
    with pytest.raises(BadInput, match="must define `job"):
        load(path)
    path.write_text(FILE + "import sys; sys.exit(3)")
    with pytest.raises(BadInput, match="SystemExit: 3"):
        load(path)
    path.write_text(FILE + "class Odd(BaseException): ...\nraise Odd('no')")
    with pytest.raises(BadInput, match="Odd: no"):
        load(path)
    path.write_text(FILE + "raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        load(path)
    with pytest.raises(BadInput, match="No such file"):
        load(tmp_path / "none.py")


NAN = torch.tensor([[float("nan")] * 3] * 4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"dataset": {}}, "dataset is empty"),
        ({"dataset": {"x": torch.ones(())}}, "at least one row"),
        ({"dataset": {"x": torch.ones(4, 3), "y": torch.arange(5)}}, "'y' has 5 rows, but 'x' has 4"),
        ({"dataset": {"x": torch.ones(4, 3).double()}}, "float64; use float32"),
        ({"dataset": {"x": torch.ones(4, 3).half()}}, "float16; use float32"),
        ({"dataset": {"x": NAN}}, "not finite"),
        ({"dataset": {"x": torch.tensor([1 << 40] * 4)}}, "do not fit int32"),
        ({"batch_size": 5}, "batch_size 5 is larger than the 4 rows"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"steps": 5}, "not a multiple of interval"),
        ({"steps": 1.5}, "steps is 1.5"),
        ({"accumulate": 0}, "accumulate is 0"),
        ({"accumulate": 3}, "steps 4 is not a multiple of accumulate 3"),
        ({"clip_norm": 0.0}, "clip_norm is 0.0, must be a positive number"),
        ({"clip_value": float("inf")}, "clip_value is inf"),
        ({"schedule": 0.5}, "schedule is 0.5"),
        ({"loss": None}, "loss is None"),
        ({"model": "gpt2"}, "model is 'gpt2'"),
        ({"optimizer": (torch.optim.SGD, {"lr": lambda t: 1 / t})}, "lr is a function; give a number"),
        ({"order": [0, 1]}, "order is"),
        ({"metrics": {"m": 3}}, "metric 'm' is 3"),
        ({"bits": 28}, "bits is 28"),
        ({"seed": 1 << 64}, "seed"),
        ({"metrics": {"loss": lambda m, b: b["x"].sum()}}, "may not be named 'loss'"),
        ({"model": nn.ReLU()}, "nothing to train"),
        ({"model": nn.Linear(3, 2).double()}, "float64"),
    ],
)
def test_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        a_job(**changes)


def test_initial_values_that_are_not_finite_are_refused() -> None:
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.bias[0] = float("inf")
    with pytest.raises(BadInput, match="parameter 'bias' holds values that are not finite"):
        a_job(model=model)


def test_demo_job_file_loads() -> None:
    assert load(digits.__file__).name == "digits"


@pytest.mark.slow
def test_digits_reach_96_percent_on_held_out_rows() -> None:
    torch.set_num_threads(1)  # more cost more than they give on tensors this small
    task = compile(digits.job())
    run = make_executor("torch", task.graph, task.constants, task.datasets)
    state = run.load(task.state)
    for t in range(task.steps):
        state = run.step(state, t)
    assert digits.accuracy(task.parameter_arrays(run.dump(state))) >= 0.96


# --- where


def test_a_refusal_names_the_line_of_the_job() -> None:
    with pytest.raises(BadInput) as caught:
        a_job(batch_size=5)
    call = a_job.__code__.co_firstlineno + 10
    assert str(caught.value).startswith(f"job at {__file__}:{call}: batch_size 5 is larger")


OPTIMIZERS = """
from torch.optim import LBFGS, SGD
from torch.nn import Linear
from offchain.job import Job
import torch

job = Job(
    model=Linear(3, 2),
    loss=lambda model, batch: model(batch["x"]).square().mean(),
    optimizer=OPTIMIZER,
    dataset={"x": torch.ones(4, 3)},
    batch_size=2, steps=4, interval=2,
)
"""


def test_a_refused_optimizer_names_the_line_where_it_was_given(tmp_path: Path) -> None:
    path = tmp_path / "JOB.py"
    path.write_text(OPTIMIZERS.replace("OPTIMIZER", '(LBFGS, {"lr": 0.1})'))
    with pytest.raises(Unsupported) as caught:
        compile(load(path))
    assert str(caught.value).startswith(f"job at {path}:10: optimizer LBFGS takes the loss several times")


def test_a_refused_option_names_group_and_remedy(tmp_path: Path) -> None:
    model = nn.Linear(3, 2)
    groups = [{"params": [model.weight]}, {"params": [model.bias], "layer_decay": 0.9}]
    with pytest.raises(Unsupported) as caught:
        compile(a_job(model=model, optimizer=torch.optim.SGD(groups, lr=0.1)))
    call = a_job.__code__.co_firstlineno + 10
    said = "option layer_decay=0.9 of SGD, group 1 (bias); leave it out, supported are: "
    assert str(caught.value).startswith(f"job at {__file__}:{call}: {said}")


def test_text_without_a_file_is_refused_at_the_line_that_runs_it() -> None:
    with pytest.raises(BadInput, match=r"^job at .*test_job\.py:\d+: bits is 99"):
        exec(OPTIMIZERS.replace("OPTIMIZER", '(SGD, {"lr": 0.1}), bits=99'), {})
