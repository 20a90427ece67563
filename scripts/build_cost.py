#!/usr/bin/env python3
"""Measures what it costs to build a job with its kernels, from an empty cache: processor time in one thread.

python scripts/build_cost.py    # writes docs/figures/build.json; scripts/growth.py --draw puts it into the document
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

import torch

from offchain.bench.jobs import example
from offchain.bench.machine import machine
from offchain.exec.base import Setting
from offchain.exec.make import make_executor
from offchain.job import Job
from offchain.lower import compile

ROOT = Path(__file__).resolve().parents[1]
TIMES, FEATURES, WIDTH, ROWS = 64, 16, 32, 64


class Recurrent(torch.nn.Module):
    """An LSTM whose last output goes through a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.cells = torch.nn.LSTM(FEATURES, WIDTH, batch_first=True)
        self.head = torch.nn.Linear(WIDTH, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.head(self.cells(x)[0][:, -1])
        return made


def recurrent() -> Job:
    torch.manual_seed(0)
    return Job(
        model=Recurrent(),
        loss=lambda model, batch: torch.nn.functional.mse_loss(model(batch["x"]), batch["y"]),
        optimizer=(torch.optim.Adam, {"lr": 1e-3}),
        dataset={"x": torch.randn(ROWS, TIMES, FEATURES), "y": torch.randn(ROWS, 1)},
        batch_size=16,
        steps=10,
        interval=5,
    )


def measured(name: str, job: Job) -> dict[str, Any]:
    counts: list[int] = []
    start = process_time()
    task = compile(job)
    lowered = process_time()
    setting = Setting(watch=lambda done, of: counts.append(of))
    make_executor("fused", task.graph, task.constants, task.datasets, setting)
    ready = process_time()
    nodes = len(task.graph.nodes)
    return {"name": name, "nodes": nodes, "kernels": counts[-1], "lower": lowered - start, "compile": ready - lowered}


def main() -> None:
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        os.environ["OFFCHAIN_KERNELS"] = folder
        jobs = {f"LSTM, {TIMES} steps": recurrent(), "gpt": example("gpt_text")}
        rows = [measured(name, job) for name, job in jobs.items()]
    found = {"points": rows, "machine": machine(), "torch": torch.__version__}
    (ROOT / "docs" / "figures" / "build.json").write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
