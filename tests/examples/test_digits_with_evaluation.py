"""The example whose training ends with an evaluation: its figures are plain torch's of the model that it trained."""

from __future__ import annotations

import runpy
from pathlib import Path
from typing import Any

import pytest
import torch

import offchain
from offchain.adjudicate import adjudicate, court
from offchain.training import Run, Training

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "digits_with_evaluation.py"


@pytest.fixture(scope="module")
def file() -> dict[str, Any]:
    return runpy.run_path(str(EXAMPLE), run_name="__job__")


@pytest.fixture(scope="module")
def trained(file: dict[str, Any]) -> Training:
    made: Training = offchain.compile(file["job"](steps=40, bits=21, batch_size=180), threads=1)
    made.run()
    return made


def test_the_figures_are_plain_torch_s(file: dict[str, Any], trained: Training) -> None:
    neighbour = file["mlp_digits"]
    found, model = trained.evaluation, neighbour.model()
    assert found["accuracy"] == pytest.approx(neighbour.evaluate(trained.state_dict())["accuracy"], abs=1e-6)
    assert found["accuracy"] > 0.85
    model.load_state_dict(trained.state_dict())
    _, _, images, labels = neighbour.split()
    with torch.no_grad():
        scores = model(images)
    loss = torch.nn.functional.cross_entropy(scores, labels)
    assert (found["loss"], found["perplexity"]) == (
        pytest.approx(float(loss), rel=1e-4),
        pytest.approx(float(loss.exp()), rel=1e-4),
    )
    matrix = torch.zeros(10, 10, dtype=torch.int64)
    matrix.index_put_((labels, scores.argmax(1)), torch.ones_like(labels), accumulate=True)
    assert found["confusion"] == matrix.tolist()


def test_executors_agree_and_the_contracts_judge_its_last_step(file: dict[str, Any]) -> None:
    task = offchain.compile(file["job"](steps=2, bits=21, batch_size=180), threads=1).task
    runs = [Run(task, executor, threads=1) for executor in ("reference", "torch", "fused")]
    for run in runs:
        run.run()
    assert runs[0].state_roots == runs[1].state_roots == runs[2].state_roots
    with court() as chain:
        report = adjudicate(task, task.steps - 1, len(task.graph.nodes), 1, chain)
    assert report.right, report.wrong
