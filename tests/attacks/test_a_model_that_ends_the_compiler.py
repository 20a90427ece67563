"""Attack 22: a graph, even an honest one, that the compiler itself cannot survive.

A model sums the rows of a matrix of 22 by 4 that was flipped both ways. On a processor with AVX-512 an assertion of
LLVM's about the costs of interleaved reads, of strides -4, ends the process of everybody who opens the task: the
requester's own, and every worker's. No task is posted here, and no money moves: nobody gets that far. Kernels are
compiled for processors that this machine need not be, each time in a child.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.encoding import encode_graph
from offchain.ir.graph import Axis, Graph, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.job import Job
from offchain.lower import compile as lower
from tests.support.strategies import over_state
from tests.support.works import F

ROOT = Path(__file__).parents[2]
EVERYWHERE = "import sys; from tests.support.strange import compile_everywhere; compile_everywhere(sys.argv[1])"


class Flipped(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.arange(88.0).reshape(22, 4) / 7)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.w.flip(0, 1).sum(0)


def flipped() -> Job:
    return Job(
        model=Flipped(),
        loss=lambda model, batch: model(batch["x"]).square().mean(),
        optimizer=(torch.optim.SGD, {"lr": 1e-3}),
        dataset={"x": torch.randn(6, 4)},
        batch_size=3,
        steps=2,
        interval=2,
    )


def reductions() -> Graph:
    """Everything that ended it: sums, maxima and products with 4 results, k of 20 to 23, strides -1 and -4."""
    made = []
    for k in range(20, 24):
        item = Input(Source.STATE, 0, F, 92, View(4 * k - 1, (Axis(-1, 0, 4), Axis(-4, 0, k))))
        for kind, inputs in ((Kind.SUM, (item,)), (Kind.MAX, (item,)), (Kind.DOT, (item, item))):
            made.append(Node(kind, F, (4,), inputs, k, 0 if kind is Kind.MAX else 21))
    return over_state(made, [np.arange(92, dtype=np.float32)]).graph


def compiles_everywhere(graph: Graph, path: Path) -> None:
    check(graph)
    path.write_bytes(encode_graph(graph))
    command = [sys.executable, "-c", EVERYWHERE, str(path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_model_is_compiled_for_every_processor_and_trains(tmp_path: Path) -> None:
    task = lower(flipped())
    compiles_everywhere(task.graph, tmp_path / "graph")
    slow, fast = (make(task.graph, task.constants, task.datasets) for make in (ReferenceExecutor, FusedExecutor))
    slow_state, fast_state = slow.load(task.state), fast.load(task.state)
    for t in range(task.steps):
        slow_state, fast_state = slow.step(slow_state, t), fast.step(fast_state, t)
    expected, got = slow.dump(slow_state), fast.dump(fast_state)
    assert all(a.tobytes() == b.tobytes() for a, b in zip(expected, got, strict=True))


def test_reductions_down_flipped_columns_are_compiled_for_every_processor(tmp_path: Path) -> None:
    compiles_everywhere(reductions(), tmp_path / "graph")
