#!/usr/bin/env python3
"""The examples that are loops of their own beside the same step in eager torch; prints the rows of a table.

    OMP_NUM_THREADS=1 .venv/bin/python scripts/loops.py    # all; or names of examples

The first metric is the mean of the last tenth of the steps. Time is processor time of a step in one thread, ours to
plain torch's, which take turns, both with the same counter-based random numbers.
"""

from __future__ import annotations

import runpy
import statistics
import sys
from pathlib import Path
from time import process_time
from typing import Any, Final

import torch

import offchain
from offchain.bench.machine import machine

EXAMPLES: Final = Path(__file__).resolve().parents[1] / "examples"
LOOPS: Final = (
    "gan_two_optimizers",
    "weight_average",
    "sharpness_aware",
    "distillation",
    "preferences_dpo",
    "selective_scan",
    "heat_equation",
)
BITS: Final = (21, 13)


def figure(metrics: dict[str, list[float]]) -> float:
    values = next(iter(metrics.values()))
    return statistics.fmean(values[-max(1, len(values) // 10) :])


def said(file: dict[str, Any], state: Any) -> str:
    found = file["evaluate"](state) if "evaluate" in file else {}
    return ", ".join(f"{name} {value:.3f}" for name, value in found.items())


def rows(name: str) -> list[str]:
    file, found = runpy.run_path(str(EXAMPLES / f"{name}.py"), run_name="__job__"), list[str]()
    for bits in BITS:
        begun = process_time()
        run = offchain.compile(file["job"](bits=bits), threads=1)
        build, plain = process_time() - begun, run.plain()
        times: tuple[list[float], list[float]] = [], []
        while run.t < run.task.steps:
            for one, seconds in zip((run, plain), times, strict=True):
                begun = process_time()
                one.step()
                seconds.append(process_time() - begun)
        ours, theirs = map(statistics.median, times)
        metric, steps, nodes = next(iter(run.metrics)), run.task.steps, len(run.task.graph.nodes)
        if not found:
            ending = f"{figure(plain.metrics):.4f} | {said(file, plain.state)} | | | {theirs * 1000:.3g} ms"
            found.append(f"| {name} | {steps} | plain | {metric} {ending} |")
        ending = f"{figure(run.metrics):.4f} | {said(file, run.state)} | {nodes} | {build:.1f} s"
        found.append(f"| {name} | {steps} | {bits} bits | {metric} {ending} | ×{ours / theirs:.3f} |")
    return found


def main() -> None:
    torch.set_num_threads(1)
    print("| example | steps | | the last tenth | test | nodes | build | time |\n|---|---|---|---|---|---|---|---|")
    for name in sys.argv[1:] or LOOPS:
        print("\n".join(rows(name)), flush=True)
    print(f"\n{machine()}, torch {torch.__version__}")


if __name__ == "__main__":
    main()
