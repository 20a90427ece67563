"""Graphs for tests of executors, and torch beside the reference on them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from offchain.exec import Setting
from offchain.exec.eager.executor import TorchExecutor
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from tests.support.strategies import Case

F32, I32 = DType.F32, DType.I32
DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")],
    ),
]


def words(arrays: Sequence[Array]) -> list[list[int]]:
    return [array.reshape(-1).view(np.uint32).tolist() for array in arrays]


def graph_of(*made: Node, constants: Sequence[Array] = ()) -> Graph:
    """A graph of these nodes that reads constants only; its state is the log."""
    specs = [
        TensorSpec(f"c{i}", F32 if array.dtype.kind == "f" else I32, array.shape) for i, array in enumerate(constants)
    ]
    log = Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 0)
    return Graph(made, (log,), tuple(specs), (bytes(32),) * len(specs), (), (), ("loss",))


def run_nodes(made: Sequence[Node], constants: Sequence[Array], device: str = "cpu", parts: int = 1) -> list[Array]:
    """Outputs of the nodes by torch, after checking that the reference gives the same."""
    graph = graph_of(*made, constants=constants)
    state = [np.zeros(1, np.float32)]
    truth = ReferenceExecutor(graph, constants, [])
    fast = TorchExecutor(graph, constants, [], Setting(device), parts)
    expected = list(truth.outputs(truth.load(state), 3))
    got = list(fast.outputs(fast.load(state), 3))
    assert words(got) == words(expected)
    return got


def constant(index: int, array: Array, view: View | None = None) -> Input:
    dtype = F32 if array.dtype.kind == "f" else I32
    return Input(Source.CONST, index, dtype, array.size, view or View.contiguous(array.shape))


def assert_same(case: Case, device: str, parts: int) -> None:
    truth = ReferenceExecutor(case.graph, case.constants, case.datasets)
    fast = TorchExecutor(case.graph, case.constants, case.datasets, Setting(device), parts)
    slow_state, fast_state = truth.load(case.state), fast.load(case.state)
    assert words(list(fast.outputs(fast_state, case.t))) == words(list(truth.outputs(slow_state, case.t)))
    slow_next, fast_next = truth.step(slow_state, case.t), fast.step(fast_state, case.t)
    assert words(fast.dump(fast_next)) == words(truth.dump(slow_next))
    assert words(fast.dump(fast_state)) == words(truth.dump(slow_state)) == words(case.state)


def copy_graph() -> Graph:
    read = Input(Source.STATE, 0, F32, 3, View.contiguous((3,)))
    node = Node(Kind.MAP, F32, (3,), (read,), program=(Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0)))
    slots = (
        Slot(TensorSpec("x", F32, (3,)), Source.NODE, 0),
        Slot(TensorSpec("before", F32, (3,)), Source.STATE, 0),
        Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 2),
    )
    return Graph((node,), slots, (), (), (), (), ("loss",))
