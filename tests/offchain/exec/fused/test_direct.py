"""Products of vectors and matrices that are read where they lie: equal to the reference, without copies of windows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from offchain.exec.eager.executor import TorchExecutor
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.planes import MAX_BITS
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import LOG_SLOT, Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.lower import compile
from tests.support.gradients import gradient_job

CHANNELS, ROWS, SIZE, KERNEL = 3, 2, 6, 3
OUT = SIZE - KERNEL + 1
F32 = DType.F32
BITS = pytest.mark.parametrize("bits", [2, 8, 13, 21, MAX_BITS, MAX_BITS + 1])


def windows() -> Node:
    """Copies the windows of images (rows, channels, y, x) as (channels, rows, y, x, ky, kx)."""
    plane = SIZE * SIZE
    shape = (CHANNELS, ROWS, OUT, OUT, KERNEL, KERNEL)
    view = View.strided(shape, (plane, CHANNELS * plane, SIZE, 1, SIZE, 1))
    item = Input(Source.STATE, 0, F32, ROWS * CHANNELS * plane, view)
    return Node(Kind.MAP, F32, shape, (item,), program=(Instr(Op.INPUT),))


def graph(*nodes: Node, kept: bool = False) -> Graph:
    """Slots: images, kernels, gradients, and the outputs of all nodes but the first, or of all."""
    lengths = (ROWS * CHANNELS * SIZE**2, CHANNELS * KERNEL**2, CHANNELS * ROWS * OUT**2)
    slots = [Slot(TensorSpec(f"x{n}", F32, (length,)), Source.STATE, n) for n, length in enumerate(lengths)]
    for n in range(0 if kept else 1, len(nodes)):
        slots.append(Slot(TensorSpec(f"y{n}", F32, nodes[n].shape), Source.NODE, n))
    log = Slot(TensorSpec(LOG_SLOT, F32, (1, 1)), Source.STATE, len(slots))
    return Graph(nodes, (*slots, log), (), (), (), (), ("loss",))


def read(shape: tuple[int, ...], strides: tuple[int, ...], source: Source = Source.NODE, index: int = 0) -> Input:
    length = 1 + sum(stride * (size - 1) for stride, size in zip(strides, shape, strict=True))
    return Input(source, index, F32, length, View.strided(shape, strides))


def forward(bits: int, first: bool = True) -> Node:
    """(rows, channels, y, x): each window with its channel's kernel. `first`: whether the kernels are."""
    shape, k = (ROWS, CHANNELS, OUT, OUT), KERNEL**2
    a = read((*shape, k), (0, k, 0, 0, 1), Source.STATE, 1)
    b = read((*shape, k), (OUT * OUT * k, ROWS * OUT * OUT * k, OUT * k, k, 1))
    return Node(Kind.DOT, F32, shape, (a, b) if first else (b, a), extent=k, bits=bits)


def to_kernels(bits: int) -> Node:
    """(channels, ky·kx): gradients of the kernels, sums over rows and windows."""
    k, own = ROWS * OUT * OUT, KERNEL**2
    a = read((CHANNELS, own, k), (k, 0, 1), Source.STATE, 2)
    b = read((CHANNELS, own, k), (k * own, 1, own))
    return Node(Kind.DOT, F32, (CHANNELS, own), (a, b), extent=k, bits=bits)


def state(of: Graph, wild: bool = True) -> list[Array]:
    rng = np.random.default_rng(1)
    found = []
    for slot in of.slots:
        x = (rng.standard_normal(slot.spec.length) * 10.0 ** rng.integers(-3, 3, slot.spec.length)).astype(np.float32)
        if wild and x.size > 30:
            x[rng.random(x.size) < 0.1] = 0.0
            x[rng.random(x.size) < 0.02] = np.float32(1e-42)
            x[rng.integers(0, x.size, 2)] = (np.inf, np.nan)
        found.append(x)
    return found


def words(arrays: list[Array]) -> list[list[int]]:
    return [array.reshape(-1).view(np.uint32).tolist() for array in arrays]


def assert_exact(of: Graph, aside: set[int], wild: bool = True) -> None:
    """Outputs and the next state equal the reference's; `aside` are the nodes that a step does not make."""
    truth, fast = ReferenceExecutor(of, [], []), FusedExecutor(of, [], [])
    start = state(of, wild)
    assert set(fast._plan.aside) == aside
    held = fast.load(start)
    assert words(list(fast.outputs(held, 0))) == words(list(truth.outputs(truth.load(start), 0)))
    assert words(fast.dump(fast.step(held, 0))) == words(truth.dump(truth.step(truth.load(start), 0)))
    assert words(list(fast.outputs(held, 0))) == words(list(truth.outputs(truth.load(start), 0)))


@BITS
@pytest.mark.parametrize("wild", [False, True])
def test_windows_are_not_copied(bits: int, wild: bool) -> None:
    assert_exact(graph(windows(), forward(bits), to_kernels(bits)), {0} if bits <= MAX_BITS else set(), wild)
    assert_exact(graph(windows(), forward(bits, first=False)), {0} if bits <= MAX_BITS else set(), wild)


def test_windows_are_copied_where_more_is_done_with_them() -> None:
    total = Node(Kind.SUM, F32, (), (read((windows().length,), (1,)),), extent=windows().length, bits=24)
    later = View(5, (*forward(21).inputs[1].view.axes[:-1], Axis(1, 0, 4)))
    begins = replace(forward(21).inputs[1], length=windows().length, view=later)
    kernels = read((ROWS, CHANNELS, OUT, OUT, 4), (0, KERNEL**2, 0, 0, 1), Source.STATE, 1)
    kernels = replace(kernels, length=CHANNELS * KERNEL**2)
    part = replace(forward(21), inputs=(kernels, begins), extent=4)
    assert_exact(graph(windows(), forward(21), kept=True), set())
    assert_exact(graph(windows(), forward(21), total), set())
    assert_exact(graph(windows(), forward(21), part), set())


@pytest.mark.parametrize("down", [False, True])
@pytest.mark.parametrize(("rows", "k"), [(2, 1), (7, 9), (200, 5), (3, 130)])
def test_matrices_without_windows(down: bool, rows: int, k: int) -> None:
    batch = 2
    strides = (rows * k, 1, rows) if down else (rows * k, k, 1)
    a = read((batch, rows, k), (k, 0, 1), Source.STATE, 0)
    b = read((batch, rows, k), strides, Source.STATE, 1)
    node = Node(Kind.DOT, F32, (batch, rows), (a, b), extent=k, bits=21)
    slots = [Slot(TensorSpec(f"x{n}", F32, (i.length,)), Source.STATE, n) for n, i in enumerate((a, b))]
    slots.append(Slot(TensorSpec("y", F32, node.shape), Source.NODE, 0))
    log = Slot(TensorSpec(LOG_SLOT, F32, (1, 1)), Source.STATE, 3)
    assert_exact(Graph((node,), (*slots, log), (), (), (), (), ("loss",)), set())


@pytest.mark.parametrize("options", [{"padding": 3}, {"padding": 3, "stride": 2}, {"padding": 6, "dilation": 2}, {}])
def test_depthwise_convolutions(options: dict[str, int]) -> None:
    """Compiled, two after another, so that inputs have gradients too."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(4, 4, 3, padding=1, groups=4), nn.Conv2d(4, 4, 7, groups=4, **options))
    data = {"x": torch.randn(4, 4, 15, 15)}
    task = compile(replace(gradient_job(model, lambda m, b: m(b["x"]).square().mean(), data), bits=21))
    fast = FusedExecutor(task.graph, task.constants, task.datasets)
    truth = TorchExecutor(task.graph, task.constants, task.datasets)
    assert words(list(fast.outputs(fast.load(task.state), 0))) == words(list(truth.outputs(truth.load(task.state), 0)))
    assert fast._plan.aside
    held = fast.step(fast.load(task.state), 0)
    assert words(fast.dump(held)) == words(truth.dump(truth.step(truth.load(task.state), 0)))
