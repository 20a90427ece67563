"""The torch executor beside plain torch."""

from __future__ import annotations

import time

import numpy as np
import pytest
import torch

from offchain.exec.eager.executor import TorchExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Instr, Op
from tests.offchain.exec.compared import (
    F32,
    graph_of,
)


def mlp(batch: int, sizes: tuple[int, int, int], bits: int) -> tuple[Graph, list[Array]]:
    """x·A, relu, ·B: the forward pass of two layers."""
    rng = np.random.default_rng(0)
    shapes = [(batch, sizes[0]), (sizes[0], sizes[1]), (sizes[1], sizes[2])]
    arrays = [rng.standard_normal(s, dtype=np.float32) for s in shapes]
    made: list[Node] = []

    def dot(left: tuple[Source, int], right: int, k: int, columns: int) -> int:
        shape = (batch, columns)
        a, b = (*left, F32, batch * k), (Source.CONST, right, F32, k * columns)
        inputs = (
            Input(*a, View.strided((*shape, k), (k, 0, 1))),
            Input(*b, View.strided((*shape, k), (0, 1, columns))),
        )
        made.append(Node(Kind.DOT, F32, shape, inputs, k, bits))
        return len(made) - 1

    hidden = dot((Source.CONST, 0), 1, sizes[0], sizes[1])
    read = Input(Source.NODE, hidden, F32, batch * sizes[1], View.contiguous((batch, sizes[1])))
    relu = (Instr(Op.INPUT, 0), Instr.const(F32, 0), Instr(Op.LT, 1, 0), Instr(Op.SELECT, 2, 0, 1))
    made.append(Node(Kind.MAP, F32, (batch, sizes[1]), (read,), program=relu))
    dot((Source.NODE, len(made) - 1), 2, sizes[1], sizes[2])
    return graph_of(*made, constants=arrays), arrays


@pytest.mark.slow
@pytest.mark.parametrize("bits", [8, 21])
def test_two_layers_take_at_most_ten_times_plain_torch(bits: int) -> None:
    graph, arrays = mlp(512, (512, 1024, 512), bits)
    executor = TorchExecutor(graph, arrays, [])
    state = executor.load([np.zeros(1, np.float32)])
    x, a, b = map(torch.from_numpy, arrays)

    def best(run: object) -> float:
        times = []
        for _ in range(7):
            start = time.thread_time()
            run()  # type: ignore[operator]
            times.append(time.thread_time() - start)
        return min(times)

    torch_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    exact, plain = best(lambda: executor.step(state, 0)), best(lambda: torch.relu(x @ a) @ b)
    torch.set_num_threads(torch_threads)
    print(f"{bits} bits: {exact * 1e3:.1f} ms, plain {plain * 1e3:.1f} ms")
    assert exact < 10 * plain
