"""The engines of the fused executor's products: each equal to the reference in every layout, size and precision."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from offchain.exec.eager.executor import TorchExecutor
from offchain.exec.fused.digits import FEATURES
from offchain.exec.fused.engines import Engines, lanes
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.planes import MAX_BITS, SINGLE, Digits, lying
from offchain.exec.plan.products import product_of
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import LOG_SLOT, Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType

EACH = pytest.mark.parametrize("count", [0, *FEATURES], ids=["blas", *(f"{n} lanes" for n in FEATURES)])


@pytest.fixture
def engine(count: int) -> Engines:
    if count and count not in lanes():
        pytest.skip(f"this processor has no {FEATURES[count]}")
    return Engines(count, count)


def dot(
    rows: tuple[int, ...], k: int, columns: int, bits: int, down: tuple[bool, bool] = (False, False), batch: int = 1
) -> Graph:
    """out[b, rows, columns] = Σ_k A·B, where an operand lies as (batch, rows, k), or `down` as (batch, k, rows)."""
    shape = (batch, *rows, columns)
    lengths = [batch * int(np.prod(rows)) * k, batch * columns * k]

    def own(sizes: tuple[int, ...], turned: bool) -> list[int]:
        steps = [int(np.prod(sizes[d + 1 :])) * (1 if turned else k) for d in range(len(sizes))]
        return steps

    whole = [int(np.prod(rows)) * k, columns * k]
    strides = [
        [whole[0], *own(rows, down[0]), 0, int(np.prod(rows)) if down[0] else 1],
        [whole[1], *[0] * len(rows), *own((columns,), down[1]), columns if down[1] else 1],
    ]
    sizes = (*shape, k)
    views = (View.strided(sizes, tuple(strides[n])) for n in (0, 1))
    inputs = tuple(Input(Source.STATE, n, DType.F32, lengths[n], view) for n, view in enumerate(views))
    node = Node(Kind.DOT, DType.F32, shape, inputs, bits=bits, extent=k)
    slots = [Slot(TensorSpec(f"x{n}", DType.F32, (lengths[n],)), Source.STATE, n) for n in (0, 1)]
    log = Slot(TensorSpec(LOG_SLOT, DType.F32, (1, 1)), Source.STATE, 2)
    return Graph((node,), (*slots, log), (), (), (), (), ("loss",))


def words(array: Array) -> list[int]:
    return array.reshape(-1).view(np.uint32).tolist()


def operands(graph: Graph, seed: int = 0, wild: bool = True) -> list[Array]:
    """Of very different magnitudes, with zeros, subnormals and a few that are no numbers."""
    rng = np.random.default_rng(seed)
    arrays = []
    for slot in graph.slots:
        x = (rng.standard_normal(slot.spec.length) * 10.0 ** rng.integers(-3, 3, slot.spec.length)).astype(np.float32)
        if wild:
            x[rng.random(x.size) < 0.1] = 0.0
            x[rng.random(x.size) < 0.02] = np.float32(1e-42)
            x[rng.integers(0, x.size, 2)] = (np.inf, np.nan)
        arrays.append(x)
    return arrays


def assert_exact(graph: Graph, engine: Engines, state: list[Array], slow: bool = True) -> None:
    """Equal to the reference, or where that would take minutes to torch's executor."""
    truth = (ReferenceExecutor if slow else TorchExecutor)(graph, [], [])
    fast = FusedExecutor(graph, [], [], engines=engine)
    (want,), (have,) = list(truth.outputs(truth.load(state), 0)), list(fast.outputs(fast.load(state), 0))
    assert words(have) == words(want)


@EACH
@pytest.mark.parametrize("bits", [8, SINGLE, SINGLE + 1, 21, MAX_BITS, MAX_BITS + 1])
@pytest.mark.parametrize("down", [(False, False), (True, True), (False, True), (True, False)])
def test_layouts(engine: Engines, bits: int, down: tuple[bool, bool]) -> None:
    graph = dot((7,), 9, 19, bits, down, batch=2)
    assert_exact(graph, engine, operands(graph, bits))


@EACH
@pytest.mark.parametrize("bits", [8, 21])
@pytest.mark.parametrize("k", [1, 2, 127, 128, 129, 300])
def test_blocks_of_k(engine: Engines, bits: int, k: int) -> None:
    for down in (False, True):
        graph = dot((5,), k, 17, bits, (down, down))
        assert_exact(graph, engine, operands(graph, k, wild=False))


@EACH
@pytest.mark.parametrize("bits", [8, 21])
@pytest.mark.parametrize(
    ("rows", "columns"), [((1,), 1), ((97,), 1), ((1,), 211), ((49,), 193), ((3, 5), 6), ((2, 200), 200)]
)
def test_tiles(engine: Engines, bits: int, rows: tuple[int, ...], columns: int) -> None:
    """Partial panels and tiles, rows of several axes, and more rows than are packed at once."""
    for down in (False, True):
        graph = dot(rows, 10, columns, bits, (down, down), batch=2)
        assert_exact(graph, engine, operands(graph, columns), slow=False)


@EACH
@pytest.mark.parametrize("bits", [SINGLE, SINGLE + 1, 17, 21, 22, MAX_BITS])
def test_the_longest_sums_of_the_largest_operands(engine: Engines, bits: int) -> None:
    """Every quantised operand at its bound, so that sums of 32 bits would overflow were they not ended in time."""
    graph = dot((6,), min(2_500, 1 << (53 - 2 * (bits - 1))), 16, bits)
    state = [np.full(slot.spec.length, np.float32(1 - 2.0**-24)) for slot in graph.slots]
    state[1][::3] *= -1
    assert_exact(graph, engine, state)


@EACH
def test_an_axis_on_which_neither_operand_moves_repeats(engine: Engines) -> None:
    graph = dot((4,), 5, 3, 21)
    (node,) = graph.nodes
    sizes = (3, *node.shape)
    inputs = tuple(replace(i, view=View(0, (Axis(0, 0, 3), *i.view.axes))) for i in node.inputs)
    node = replace(node, shape=sizes, inputs=inputs)
    graph = replace(graph, nodes=(node,))
    assert_exact(graph, engine, operands(graph))


@pytest.mark.parametrize(("bits", "bytes_"), [(SINGLE, (2, 2)), (21, (6, 4))])
def test_the_second_operand_keeps_no_plane_that_is_a_sum(bits: int, bytes_: tuple[int, int]) -> None:
    """So many bytes an element of either operand, and lines between groups of panels."""
    product = product_of(dot((480,), 256, 480, bits).nodes[0])
    words_ = [lying(product, side, Digits(bits, 16)).words for side in (0, 1)]
    assert [round(4 * n / (480 * 256), 1) for n in words_] == list(bytes_)


@pytest.mark.parametrize("bits", range(2, MAX_BITS + 1))
def test_sums_of_a_part_fit_32_bits(bits: int) -> None:
    digits, bound = Digits(bits, 8), (1 << (bits - 1)) - 1
    terms = 128 * digits.blocks
    assert digits.blocks >= 1
    if digits.planes == 1:
        assert bound < 1 << 15
        assert terms * bound**2 < 1 << 31
        return
    high, low = (bound + (1 << (digits.low - 1))) >> digits.low, 1 << (digits.low - 1)
    assert high + low < 1 << 15
    for sum_ in (terms * high**2, terms * low**2, terms * 2 * high * low):
        assert sum_ < 1 << 31
