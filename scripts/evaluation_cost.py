"""What an evaluation at the end of a job costs its other steps: `python scripts/evaluation_cost.py cnn_digits --n 30`.

Times, in turn, a step of an example without an evaluation, and of the same with one: while it trains and while it is
evaluated, once as the fused executor runs them and once with every node made.
"""

from __future__ import annotations

import argparse
import runpy
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from offchain.evaluation import Evaluation
from offchain.exec import Setting, make_executor
from offchain.exec.base import Limits
from offchain.job import Job
from offchain.lower import compile as lower
from offchain.task import Task

ROWS = 512  # that are evaluated
EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def with_evaluation(job: Job) -> Job:
    """The job, at whose end its own loss is taken of some rows of its dataset."""

    def loss(model: Any, batch: Any) -> Any:
        return job.loss(model, batch).reshape(1).expand(job.batch_size)

    rows = {name: column[:ROWS] for name, column in job.dataset.items()}
    own = Evaluation(job.model, rows, {"loss": lambda made, batch: made}, job.batch_size, loss, bits=job.bits)
    return replace(job, evaluation=own)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("example", help="a file of examples/ whose job has a dataset by name: cnn_digits, gpt_text")
    parser.add_argument("--n", type=int, default=20, help="rounds (20)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    job = runpy.run_path(str(EXAMPLES / f"{given.example}.py"), run_name="__job__")["job"]()
    alone, ended = lower(job), lower(with_evaluation(job))
    print(f"{given.example}: {len(alone.graph.nodes)} nodes, {len(ended.graph.nodes)} with an evaluation")
    steps = {
        "without": (alone, False, 1),
        "training": (ended, False, 1),
        "evaluation": (ended, False, job.steps),
        "training, whole": (ended, True, 1),
        "evaluation, whole": (ended, True, job.steps),
    }
    times = measured(steps, given.n)
    base = times.pop("without")
    print(f"without: {1e3 * np.median(base):.3g} ms")
    for what, found in times.items():
        print(f"{what}: {1e3 * np.median(found):.3g} ms, ×{np.median(found / base):.2f}")


def measured(steps: dict[str, tuple[Task, bool, int]], rounds: int) -> dict[str, Any]:
    """Seconds of each step, in turn."""
    made = {}
    for what, (task, whole, t) in steps.items():
        setting = Setting(limits=Limits(whole=whole))
        executor = make_executor("fused", task.graph, task.constants, task.datasets, setting)
        made[what] = executor, executor.load(list(task.state)), t
    times: dict[str, list[float]] = {what: [] for what in made}
    for _ in range(rounds + 2):
        for what, (executor, state, t) in made.items():
            began = time.perf_counter()
            executor.step(state, t)
            times[what].append(time.perf_counter() - began)
    return {what: np.array(found[2:]) for what, found in times.items()}


if __name__ == "__main__":
    main()
