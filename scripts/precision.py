#!/usr/bin/env python3
"""Measures how far the losses of tests/cases are from plain torch's at each precision of products, and prints a table.

    python scripts/precision.py --case siamese --case byol --bits 13 --bits 21

A distance is |ours − plain| / |plain|, where |·| is the Euclidean norm of the losses of all steps. Plain torch has
the same model, initial values, batches and random numbers, in float32. The table has the largest distance over the
seeds; beside it stands how far plain torch itself is under bfloat16 autocast.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.bench.plain import autocast  # noqa: E402
from offchain.errors import OffchainError  # noqa: E402
from offchain.ir.graph import Graph  # noqa: E402
from offchain.ir.kinds import Kind  # noqa: E402
from offchain.ir.legality import most_bits  # noqa: E402
from offchain.job import Job  # noqa: E402
from offchain.lower import compile as lower  # noqa: E402
from offchain.plain import PlainTraining  # noqa: E402
from offchain.training import Run  # noqa: E402

BITS: Final = (11, 13, 16, 21)
FINEST: Final = 27  # at which a case is compiled once; products are then given fewer


def plain(job: Job, changed: Callable[[Job], Job] = lambda job: job) -> list[float]:
    """The losses of the job in plain torch, from the job's initial values."""
    named = (*job.model.named_parameters(), *job.model.named_buffers())
    training = PlainTraining(changed(job), {name: tensor.detach().clone() for name, tensor in named})
    training.run()
    return training.losses


def with_bits(graph: Graph, bits: int) -> Graph:
    """The graph that compiling at `bits` gives, from one that was compiled at 27."""
    nodes = (
        replace(node, bits=min(bits, most_bits(Kind.DOT, node.extent))) if node.kind is Kind.DOT else node
        for node in graph.nodes
    )
    return replace(graph, nodes=tuple(nodes))


def distance(ours: list[float], theirs: list[float]) -> float:
    """|ours − theirs| / |theirs|; NaN where a loss is not a number."""
    a, b = torch.tensor(ours, dtype=torch.float64), torch.tensor(theirs, dtype=torch.float64)
    return float((a - b).norm() / b.norm())


def measured(make: Callable[[int], Job], seed: int, all_bits: list[int]) -> Iterator[float]:
    """Distances of bfloat16 autocast (NaN where torch refuses it), and of each precision. Raises OffchainError."""
    job = make(seed)
    task = lower(replace(job, bits=FINEST))
    base = plain(job)
    try:
        yield distance(plain(job, autocast), base)
    except RuntimeError:  # an operation that has no bfloat16
        yield float("nan")
    for bits in all_bits:
        run = Run(replace(task, graph=with_bits(task.graph, bits)))
        run.run()
        yield distance(run.losses, base)


def cells(make: Callable[[int], Job], seeds: int, all_bits: list[int]) -> list[str]:
    """A row of the table: the largest distances over the seeds, or what the case is refused for."""
    try:
        over = zip(*(list(measured(make, seed, all_bits)) for seed in range(seeds)), strict=True)
    except OffchainError as error:
        return [str(error).partition(":")[0]] + [""] * len(all_bits)
    return [f"{max(values):.0e}" for values in over]


def main() -> None:
    from tests.cases.common import CASES
    from tests.cases.test_cases import REFUSED

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--case", action="append", choices=sorted(CASES), help="again for more; default: all that build"
    )
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--bits", type=int, action="append", help=f"again for more; default: {BITS}")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    all_bits = args.bits or [*BITS]
    print(f"| case | bfloat16 | {' | '.join(f'{bits} bits' for bits in all_bits)} |")
    print("|---" * (2 + len(all_bits)) + "|")
    for name in args.case or sorted(set(CASES) - set(REFUSED)):

        def make(seed: int, name: str = name) -> Job:
            return CASES[name].job(seed=seed, steps=args.steps, interval=args.steps)

        print(f"| {name} | {' | '.join(cells(make, args.seeds, all_bits))} |", flush=True)


if __name__ == "__main__":
    main()
