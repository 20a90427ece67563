#!/usr/bin/env python3
"""Trains the examples in plain torch and as step graphs, with the same initial values and batches, and prints a table.

    python scripts/compare.py --example mlp_digits --example cnn_digits --seeds 3

The loss is the mean of the last tenth of the steps, its difference the largest over the seeds. Time is processor time
and memory the peak of a step beyond what is held between steps; both are measured with seed 0 and compared with an
ordinary training step (torch's own kernels, batch rows by index).
"""

from __future__ import annotations

import argparse
import json
import runpy
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.bench.memory import MEASURABLE, peak_memory  # noqa: E402
from offchain.bench.plain import autocast, ordinary_step  # noqa: E402
from offchain.ir.encoding import encode_graph  # noqa: E402
from offchain.job import DEFAULT_BITS, Job  # noqa: E402
from offchain.plain import PlainTraining  # noqa: E402
from offchain.training import Training  # noqa: E402

JOBS = (path for path in (ROOT / "examples").glob("*.py") if "-> Job:" in path.read_text())  # others: scripts/loops.py
EXAMPLES = sorted(path.stem for path in JOBS)
MEASURED_STEPS = 15  # at most, of the ordinary step
MEASURED_PEAKS = 7
PLAIN = "plain"


@dataclass(frozen=True)
class Cost:
    """The cost of a step: median processor seconds, and bytes at its peak beyond those held between steps."""

    seconds: float
    memory: int


@dataclass(frozen=True)
class Outcome:
    """The outcome of a training: final loss, test metrics and, of a graph, its size and the time to build it."""

    loss: float
    test: dict[str, float]
    cost: Cost | None = None
    nodes: int = 0
    graph_bytes: int = 0
    build_seconds: float = 0.0


@dataclass(frozen=True)
class Row:
    """An example trained in one way with all seeds. `differences` of losses are relative to plain torch, by seed."""

    example: str
    way: str
    steps: int
    losses: list[float]
    differences: list[float]
    test: dict[str, list[float]]
    nodes: int
    graph_bytes: int
    build_seconds: float
    cost: Cost
    time_ratio: float
    memory_ratio: float | None  # None where plain torch's is too small to measure


# --- measuring ---------------------------------------------------------------------------------------------------


def timed(step: Callable[[], None]) -> float:
    """Processor seconds, which do not count other work of the machine."""
    start = time.process_time()
    step()
    return time.process_time() - start


def cost_of(step: Callable[[], None], steps: int) -> Cost:
    """Cost of a step, by taking `steps` of them. Memory is a median, since the allocator keeps more or fewer pages."""
    warm = [timed(step) for _ in range(min(2, steps))]
    peaks = [peak_memory(step) for _ in range(min(MEASURED_PEAKS, steps - 2))]
    timings = [timed(step) for _ in range(steps - 2 - len(peaks))]
    return Cost(statistics.median(timings or warm), int(statistics.median(peaks or [0])))


# --- training ----------------------------------------------------------------------------------------------------


class Example:
    """A job file of examples/: `job(seed, steps, bits)` and `evaluate(state_dict)`."""

    def __init__(self, name: str, steps: int | None) -> None:
        self.name = name
        self._file = runpy.run_path(str(ROOT / "examples" / f"{name}.py"), run_name="__job__")
        self._steps = {} if steps is None else {"steps": steps}

    def job(self, seed: int, bits: int = DEFAULT_BITS) -> Job:
        job: Job = self._file["job"](seed=seed, bits=bits, **self._steps)
        return job

    def _outcome(self, losses: list[float], state: dict[str, Tensor], **built: Any) -> Outcome:
        last = losses[-max(1, len(losses) // 10) :]
        return Outcome(statistics.fmean(last), self._file["evaluate"](state), **built)

    def plain(self, seed: int, changed: Callable[[Job], Job] = lambda job: job) -> Outcome:
        """Eager torch with the graph's batches and random numbers."""
        job = changed(self.job(seed))
        cost = cost_of(ordinary_step(job), MEASURED_STEPS) if seed == 0 else None
        named = (*job.model.named_parameters(), *job.model.named_buffers())
        training = PlainTraining(job, {name: tensor.detach().clone() for name, tensor in named})
        training.run()
        values = training.parameters
        state = {name: values.get(name, value) for name, value in job.model.state_dict().items()}
        return self._outcome(training.losses, state, cost=cost)

    def compiled(self, seed: int, bits: int) -> Outcome:
        """The step graph, run by the fused executor."""
        start = time.process_time()
        training = Training(self.job(seed, bits))
        seconds = time.process_time() - start
        graph = training.task.graph
        cost = cost_of(training.step, training.task.steps)
        return self._outcome(
            training.losses,
            training.state_dict(),
            cost=cost,
            nodes=len(graph.nodes),
            graph_bytes=len(encode_graph(graph)),
            build_seconds=seconds,
        )

    def rows(self, seeds: int, all_bits: list[int], bfloat16: bool = False) -> Iterator[Row]:
        """Plain torch first, then under bfloat16 autocast if asked for, then each precision."""
        plain = [self.plain(seed) for seed in range(seeds)]
        yield self._row(PLAIN, plain, plain)
        if bfloat16:
            yield self._row("bfloat16", [self.plain(seed, autocast) for seed in range(seeds)], plain)
        for bits in all_bits:
            yield self._row(f"{bits} bits", [self.compiled(seed, bits) for seed in range(seeds)], plain)

    def _row(self, way: str, outcomes: list[Outcome], plain: list[Outcome]) -> Row:
        first, ordinary = outcomes[0], plain[0].cost
        assert first.cost and ordinary  # measured with seed 0
        return Row(
            example=self.name,
            way=way,
            steps=self.job(0).steps,
            losses=[outcome.loss for outcome in outcomes],
            differences=[outcome.loss / base.loss - 1 for outcome, base in zip(outcomes, plain, strict=True)],
            test={name: [outcome.test[name] for outcome in outcomes] for name in first.test},
            nodes=first.nodes,
            graph_bytes=first.graph_bytes,
            build_seconds=first.build_seconds,
            cost=first.cost,
            time_ratio=first.cost.seconds / ordinary.seconds,
            memory_ratio=first.cost.memory / ordinary.memory if ordinary.memory >= MEASURABLE else None,
        )


# --- the table ---------------------------------------------------------------------------------------------------

HEAD = (
    "| example | steps | | final loss | to plain | test | nodes | graph | build | time | memory |\n"
    "|---|---|---|---|---|---|---|---|---|---|---|"
)


def markdown(row: Row) -> str:
    """One line of the table; ± is the standard deviation over the seeds."""
    test = ", ".join(f"{name} {_mean_and_spread(values)}" for name, values in row.test.items())
    cells = [row.example, str(row.steps), row.way, f"{statistics.fmean(row.losses):.4f}"]
    built = ["", "", ""]
    if row.nodes:
        built = [f"{row.nodes:,}", f"{row.graph_bytes / 1000:,.0f} kB", f"{row.build_seconds:.1f} s"]
    if row.way == PLAIN:
        memory = "< 1 MB" if row.memory_ratio is None else f"{row.cost.memory / 1e6:.3g} MB"
        cells += ["", test, *built, f"{row.cost.seconds * 1000:.3g} ms", memory]
    else:
        memory = "" if row.memory_ratio is None else f"×{row.memory_ratio:.1f}"
        cells += [f"{max(row.differences, key=abs):+.3%}", test, *built, f"×{row.time_ratio:.1f}", memory]
    return f"| {' | '.join(cells)} |"


def _mean_and_spread(values: list[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--example", action="append", choices=EXAMPLES, help="again for more; default: all")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="default: those of the job file")
    parser.add_argument("--bits", type=int, action="append", help="again for more; default: 13, 21 and 8")
    parser.add_argument("--bfloat16", action="store_true", help="plain torch under bfloat16 autocast, too")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one object a row instead of Markdown")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    if not args.json:
        print(HEAD)
    for name in args.example or EXAMPLES:
        for row in Example(name, args.steps).rows(args.seeds, args.bits or [13, 21, 8], args.bfloat16):
            print(json.dumps(asdict(row)) if args.json else markdown(row), flush=True)


if __name__ == "__main__":
    main()
