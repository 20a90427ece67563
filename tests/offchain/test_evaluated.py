"""A job whose steps end with an evaluation: the training is as without one, and the figures are those of an
`Evaluation` of the model that it ends with, bit for bit."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.adjudicate import adjudicate, court
from offchain.errors import BadInput
from offchain.evaluation import Evaluation
from offchain.job import Job
from offchain.lower import compile as lower
from offchain.task import Task
from offchain.training import Run, Training
from tests.offchain.commands.test_cli import run

STEPS, INTERVAL, CLASSES = 6, 3, 3
METRICS: Final = ["accuracy", "loss", "perplexity", "confusion"]
G = torch.Generator().manual_seed(2)
X, Y = torch.randn(40, 6, generator=G), torch.randint(0, CLASSES, (40,), generator=G)
OTHERS = {"row": torch.randn(23, 6, generator=G), "label": torch.randint(0, CLASSES, (23,), generator=G)}


def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def a_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, CLASSES))


def an_evaluation(model: nn.Module, **changes: Any) -> Evaluation:
    """Of more rows than the training's batches have, the last ones few."""
    fields: dict[str, Any] = {
        "dataset": OTHERS,
        "metrics": METRICS,
        "batch_size": 10,
        "forward": lambda model, batch: model(batch["row"]),
        "target": "label",
        "classes": CLASSES,
        "bits": 21,
    }
    return Evaluation(model, **{**fields, **changes})


def a_job(model: nn.Module | None = None, **changes: Any) -> Job:
    """With buffers that steps change and count in, dropout, accumulation and a schedule."""
    own = model or a_model()
    fields: dict[str, Any] = {
        "loss": loss,
        "optimizer": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        "dataset": {"x": X, "y": Y},
        "batch_size": 8,
        "steps": STEPS,
        "interval": INTERVAL,
        "bits": 21,
        "accumulate": 2,
        "schedule": lambda t: 1 - t / 3,
        "evaluation": an_evaluation(own),
    }
    return Job(own, **{**fields, **changes})


@pytest.fixture(scope="module")
def training() -> Training:
    made = offchain.compile(a_job(), threads=1)
    made.run()
    return made


def test_the_training_is_as_without_an_evaluation(training: Training) -> None:
    alone = offchain.compile(a_job(evaluation=None), threads=1)
    alone.run()
    assert (alone.task.steps, training.task.steps) == (6, 9)
    assert training.task.parameters == alone.task.parameters
    for name, tensor in alone.state_dict().items():
        assert torch.equal(tensor, training.state_dict()[name]), name
    assert training.losses[:STEPS] == alone.losses
    assert training.losses[STEPS:] == alone.losses[-1:] * 3


def test_the_figures_are_those_of_an_evaluation_of_the_final_model(training: Training) -> None:
    model = a_model()
    model.load_state_dict(training.state_dict())
    own = offchain.compile(an_evaluation(model), threads=1)
    own.run()
    wanted = {name: values[-1] for name, values in own.metrics.items()}
    assert training.evaluation == wanted | {"confusion": own.state["confusion"].tolist()}
    assert sum(map(sum, training.evaluation["confusion"])) == len(OTHERS["label"])
    assert all(not any(training.metrics[f"evaluation.{name}"][:STEPS]) for name in wanted)


def test_they_are_plain_torch_s() -> None:
    job = a_job()
    made = offchain.compile(job, executor="torch", threads=1)
    plain = made.plain()
    made.run()
    plain.run()
    found = {name: value for name, value in made.evaluation.items() if name != "confusion"}
    assert found == pytest.approx(plain.evaluation, rel=1e-4)
    assert offchain.compile(a_job(evaluation=None), executor="torch", threads=1).plain().evaluation == {}


def test_executors_agree(training: Training) -> None:
    for executor in ("reference", "torch"):
        other = Run(training.task, executor, threads=1)
        other.run()
        assert other.state_roots == training.state_roots


def test_before_the_last_step_there_are_no_figures(training: Training) -> None:
    other = Run(training.task, "torch", threads=1)
    other.run(training.task.steps - 1)
    assert other.evaluation == {}


def test_one_s_own_metric_and_a_batch_of_all_rows() -> None:
    model = a_model()
    own = an_evaluation(model, metrics={"top": lambda made, batch: made.amax(1)}, batch_size=64)
    made = offchain.compile(a_job(model, evaluation=own), executor="torch", threads=1)
    made.run()
    model.load_state_dict(made.state_dict())
    with torch.no_grad():
        top = model.eval()(OTHERS["row"]).amax(1).mean().item()
    assert made.evaluation == {"top": pytest.approx(top, rel=1e-5)}


@pytest.mark.parametrize("step", [STEPS - 1, STEPS])
def test_the_contracts_uphold_every_node_and_convict_its_falsification(training: Training, step: int) -> None:
    task = training.task
    with court() as chain:
        report = adjudicate(task, step, len(task.graph.nodes), 1, chain)
    assert report.right, report.wrong


def test_a_file_keeps_it_and_the_result_has_its_figures(
    training: Training, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    training.save(tmp_path / "a.task")
    output = tmp_path / "a.safetensors"
    code, _, err = run(capsys, monkeypatch, "run", str(tmp_path / "a.task"), "-o", str(output), "--threads", "1")
    assert code == 0, err
    with safe_open(output, "np") as file:
        assert json.loads(file.metadata()["evaluation"]) == training.evaluation
        assert set(file.keys()) == set(a_model().state_dict())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"evaluation": OTHERS}, "must be an offchain.Evaluation of the job's model"),
        (
            {"evaluation": an_evaluation(a_model())},
            "evaluation is of another model; give it the model that the job trains",
        ),
        ({"metrics": {"evaluation.loss": loss}}, "'evaluation.loss' begins as the names of the evaluation's figures"),
        ({"dataset": {"x": X, "y": Y, "evaluation.row": X}}, "'evaluation.row' begins as the names"),
    ],
)
def test_what_is_no_evaluation_of_the_job_s_model_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        a_job(**changes)
    assert f"job at {__file__}:" in str(refused.value)


def test_a_forward_of_another_shape_is_refused_with_its_line() -> None:
    model = a_model()
    own = an_evaluation(model, forward=lambda model, batch: model(batch["row"])[:3])
    with pytest.raises(BadInput, match=r"must give scores of shape \(10, 'classes'\)") as refused:
        lower(a_job(model, evaluation=own))
    assert __file__ in str(refused.value)


def test_a_label_that_is_no_class_is_refused() -> None:
    model = a_model()
    label = torch.cat([OTHERS["label"][:-1], torch.tensor([CLASSES])])  # the last row alone, which no traced step reads
    own = an_evaluation(model, dataset={**OTHERS, "label": label}, metrics=["loss"], classes=None)
    with pytest.raises(BadInput, match="gives scores of 3 classes, and row 22 of the target holds the class 3"):
        lower(a_job(model, evaluation=own))


def test_a_state_with_a_false_sum_has_another_root(training: Training) -> None:
    """The figure is state: whoever claims another one claims another checkpoint."""
    arrays = training.arrays()
    task: Task = training.task
    n = next(i for i, slot in enumerate(task.graph.slots) if slot.spec.name == "evaluation.accuracy.sum")
    other = replace(task, state=tuple(a + 1 if i == n else a for i, a in enumerate(arrays)))
    assert other.state_root != training.state_root and np.issubdtype(arrays[n].dtype, np.integer)
