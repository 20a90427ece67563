"""Every example that is a program: executors agree, results are plain torch's, the contracts judge its steps."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import torch

import offchain
from offchain.adjudicate import adjudicate, court
from offchain.chain.client import Chain
from offchain.program import Program, leaves
from offchain.training import ProgramRun, Run

FOLDER: Final = Path(__file__).resolve().parents[2] / "examples"
# Example -> what makes it quick; the code is the same.
PROGRAMS: Final[dict[str, dict[str, Any]]] = {
    "distillation": {"steps": 3, "batch_size": 4},
    "embed_mails": {"layers": 1, "batch_size": 2, "rows": 3, "interval": 1},
    "evaluate_digits": {"batch_size": 180},
    "gan_two_optimizers": {"steps": 3, "batch_size": 4},
    "generate_text": {"steps": 2, "new": 2},
    "heat_equation": {"steps": 3, "points": 4},
    "preferences_dpo": {"steps": 3, "batch_size": 2},
    "selective_scan": {"steps": 3, "batch_size": 2},
    "sharpness_aware": {"steps": 3, "batch_size": 4},
    "weight_average": {"steps": 3, "batch_size": 4},
}
SLOW: Final = {"embed_mails", "generate_text"}


@dataclass(frozen=True)
class Done:
    """An example, all of its steps, and what plain torch makes of it."""

    run: ProgramRun
    start: Any
    state: Any
    metrics: dict[str, list[float]]
    outputs: dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def judges() -> Iterator[Chain]:
    """The contracts, on a chain of their own."""
    with court() as chain:
        yield chain


@pytest.fixture(
    scope="module", params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in sorted(PROGRAMS)]
)
def done(request: pytest.FixtureRequest) -> Done:
    file = runpy.run_path(str(FOLDER / f"{request.param}.py"), run_name="__job__")
    program: Program = file["job"](bits=21, **PROGRAMS[request.param])
    run = offchain.compile(program, threads=1)
    plain = run.plain()
    run.run()
    plain.run()
    return Done(run, program.state, plain.state, plain.metrics, plain.outputs)


def test_results_are_those_of_plain_torch(done: Done) -> None:
    torch.testing.assert_close(done.run.state, done.state, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(done.run.outputs, done.outputs, rtol=1e-3, atol=1e-4)
    for name, values in done.metrics.items():
        assert done.run.metrics[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name


def test_what_a_step_moves_moves_as_in_plain_torch(done: Done) -> None:
    for (name, got), (_, wanted), (_, start) in zip(
        *map(leaves, (done.run.state, done.state, done.start)), strict=True
    ):
        moved = (wanted.double() - start.detach().double()).norm()
        assert (got.double() - wanted.double()).norm() <= 0.01 * moved + 1e-6, name


def test_executors_agree(done: Done) -> None:
    """The reference takes the first interval alone: it is slow."""
    for executor in ("torch", "reference"):
        other = Run(done.run.task, executor, threads=1)
        other.run(None if executor == "torch" else done.run.task.interval)
        assert other.state_roots == done.run.state_roots[: len(other.state_roots)]


def test_the_contracts_uphold_every_node_and_convict_its_falsification(done: Done, judges: Chain) -> None:
    task = done.run.task
    report = adjudicate(task, task.steps - 1, len(task.graph.nodes), 1, judges)
    assert report.right, report.wrong
