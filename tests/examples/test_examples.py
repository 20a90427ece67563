"""Every example: its graph computes the same bits in both executors, and learns what plain torch learns."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pytest
from torch import Tensor

import offchain
from offchain.adjudicate import adjudicate, court
from offchain.chain.client import Chain
from offchain.exec.make import make_executor
from offchain.ir.arrays import Array
from offchain.job import DEFAULT_BITS, Job
from offchain.jobfile import load
from offchain.training import Training
from tests.examples.test_programs import PROGRAMS

FOLDER: Final = Path(__file__).resolve().parents[2] / "examples"
STEPS: Final = 2
# what makes the larger ones quick; the code is the same
SIZES: Final[dict[str, dict[str, int]]] = {
    "cnn_digits": {"batch_size": 8},
    "gpt_text": {"layers": 1, "batch_size": 2},
    "lora_minilm": {"layers": 1, "batch_size": 2},
    "mlp_digits": {},
    "tabular_classification": {},
    "tabular_regression": {},
}


@dataclass(frozen=True)
class Trained:
    """An example after STEPS steps of its graph, and of plain torch."""

    file: dict[str, Any]
    sizes: dict[str, int]
    compiled: Training
    before: list[Array]  # the last step
    losses: list[float]  # of plain torch
    state: dict[str, Tensor]  # of plain torch

    def evaluate(self, state: dict[str, Tensor]) -> dict[str, float]:
        layers = {name: size for name, size in self.sizes.items() if name == "layers"}
        result: dict[str, float] = self.file["evaluate"](state, **layers)
        return result


@pytest.fixture(scope="module")
def judges() -> Iterator[Chain]:
    """The contracts, on a chain of their own."""
    with court() as chain:
        yield chain


SLOW: Final = {"gpt_text", "lora_minilm"}


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in sorted(SIZES)]
)
def trained(request: pytest.FixtureRequest) -> Trained:
    sizes = SIZES[request.param]
    file = runpy.run_path(str(FOLDER / f"{request.param}.py"), run_name="__job__")
    job: Job = file["job"](seed=1, steps=STEPS, bits=21, **sizes)
    compiled = offchain.compile(job)
    plain = compiled.plain()
    compiled.run(STEPS - 1)
    before = compiled.arrays()
    compiled.run()
    plain.run()
    state = {name: plain.parameters.get(name, value) for name, value in job.model.state_dict().items()}
    return Trained(file, sizes, compiled, before, plain.losses, state)


def test_every_example_is_tested() -> None:
    assert sorted([*SIZES, *PROGRAMS, "digits_with_evaluation", "smollm_text"]) == sorted(
        path.stem for path in FOLDER.glob("*.py")
    )


def test_reference_gives_the_same_bits(trained: Trained) -> None:
    """Of a step that has moments and a log to carry on."""
    task = trained.compiled.task
    reference = make_executor("reference", task.graph, task.constants, task.datasets)
    state = reference.step(reference.load(trained.before), STEPS - 1)
    for slot, wanted, got in zip(task.graph.slots, reference.dump(state), trained.compiled.arrays(), strict=True):
        np.testing.assert_array_equal(got.view(np.int32), wanted.view(np.int32), err_msg=slot.spec.name)


def test_trains_like_plain_torch(trained: Trained) -> None:
    np.testing.assert_allclose(trained.compiled.losses, trained.losses, rtol=1e-4)
    start = trained.compiled.job.model.state_dict()
    got = trained.compiled.state_dict()
    assert got.keys() == trained.state.keys() == start.keys()
    for name, wanted in trained.state.items():
        moved = (wanted - start[name]).double().norm()
        assert (got[name] - wanted).double().norm() <= 0.01 * moved, name


def test_evaluates_on_rows_that_it_does_not_train_on(trained: Trained) -> None:
    got, wanted = trained.evaluate(trained.compiled.state_dict()), trained.evaluate(trained.state)
    assert got.keys() == wanted.keys()
    for name, value in wanted.items():
        assert np.isfinite(value) and got[name] == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize("name", ["mlp_digits", "tabular_classification", "tabular_regression"])
def test_is_a_job_file(name: str) -> None:
    job = load(FOLDER / f"{name}.py")
    assert job.steps % job.interval == 0 and job.bits == DEFAULT_BITS


def test_digits_are_learnt() -> None:
    """In far fewer steps than by default, and measured on the test rows."""
    file = runpy.run_path(str(FOLDER / "mlp_digits.py"), run_name="__job__")
    training = offchain.compile(file["job"](steps=60))
    before = file["evaluate"](training.state_dict())["accuracy"]
    training.run()
    assert before < 0.3 < 0.85 < file["evaluate"](training.state_dict())["accuracy"]


def test_the_contracts_uphold_every_node_and_convict_its_falsification(trained: Trained, judges: Chain) -> None:
    task = trained.compiled.task
    report = adjudicate(task, STEPS - 1, len(task.graph.nodes), 1, judges)
    assert report.right, report.wrong
    told = report.facts()
    assert told["claims"] == told["upheld"] == told["falsified"] == told["convicted"] == len(task.graph.nodes)
