"""The torch executor equals the reference: on random graphs, in any parts and threads, through views."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from offchain.exec.plan.precision import single_is_exact
from offchain.ir.graph import Axis, Node, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Instr, Op
from tests.offchain.exec.compared import (
    DEVICES,
    F32,
    assert_same,
    constant,
    run_nodes,
    words,
)
from tests.support.strategies import Case, float_words, graphs, nodes


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", list(Kind))
def test_torch_equals_reference_on_every_kind(kind: Kind, device: str) -> None:
    @given(nodes(kind), st.sampled_from([1, 2, 3]))
    def check(case: Case, parts: int) -> None:
        assert_same(case, device, parts)

    check()


@pytest.fixture(params=[1, 2])
def threads(request: pytest.FixtureRequest) -> Iterator[int]:
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("device", DEVICES)
def test_torch_equals_reference_on_graphs_with_any_threads(threads: int, device: str) -> None:
    @given(graphs(), st.sampled_from([1, 2, 3]))
    def check(case: Case, parts: int) -> None:
        assert_same(case, device, parts)

    check()


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_of_thousands_in_any_parts_and_threads(threads: int, device: str) -> None:
    rng = np.random.default_rng(threads)
    a, b = (float_words(rng, n, "normal").reshape(s) for n, s in ((40 * 5000, (40, 5000)), (5000 * 30, (5000, 30))))
    a[3] *= np.float32(2.0**100)
    b[:, 4] *= np.float32(2.0**-130)
    shape, extent = (40, 30), 5000
    left = View.strided((40, 30, extent), (5000, 0, 1))
    right = View.strided((40, 30, extent), (0, 1, 30))
    inputs = (constant(0, a, left), constant(1, b, right))
    made = [Node(Kind.DOT, F32, shape, inputs, extent, bits) for bits in (8, 20)]
    results = [words(run_nodes(made, [a, b], device, parts)) for parts in (1, 7)]
    assert results[0] == results[1]


@pytest.mark.parametrize("bits", [2, 8, 21, 25])
@pytest.mark.parametrize("device", DEVICES)
def test_dot_over_batch_rows_columns_and_repetitions(bits: int, device: str) -> None:
    """Shape (batch 2, rows 3, repeated 2, batch 4, columns 5), both operands with padding and a reversed axis."""
    rng, shape, extent = np.random.default_rng(bits), (2, 3, 2, 4, 5), 6
    a, b = float_words(rng, 400, "normal"), float_words(rng, 400, "normal")
    a[7], b[11], b[12] = np.inf, np.nan, np.float32(2.0**-149)

    def view(strides: tuple[int, ...], ranges: dict[int, tuple[int, int]], offset: int) -> View:
        axes = [
            Axis(stride, *ranges.get(d, (0, n)))
            for d, (stride, n) in enumerate(zip(strides, (*shape, extent), strict=True))
        ]
        return View(offset, tuple(axes))

    views = [
        view((72, 24, 0, 6, 0, 1), {3: (1, 4), 5: (0, 5)}, 0),
        view((120, 0, 0, 30, -6, 1), {4: (0, 4)}, 120),
    ]
    inputs = (constant(0, a, views[0]), constant(1, b, views[1]))
    run_nodes([Node(Kind.DOT, F32, shape, inputs, extent, bits)], [a, b], device, parts=2)


@pytest.mark.parametrize("newer", [False, True])
def test_float32_products_give_way_where_torch_may_round_operands(newer: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert single_is_exact()
    if newer:  # after which torch refuses to answer in the older way
        monkeypatch.setattr(torch.backends.mkldnn.matmul, "fp32_precision", "bf16")
    else:
        torch.set_float32_matmul_precision("medium")
    try:
        assert not single_is_exact()
        test_dot_over_batch_rows_columns_and_repetitions(8, "cpu")
    finally:
        torch.set_float32_matmul_precision("highest")


# --- views ---------------------------------------------------------------------------------------------------------


def test_view_pads_reverses_and_repeats() -> None:
    x = np.arange(1, 7, dtype=np.float32)
    view = View(5, (Axis(0, 0, 2), Axis(-2, 1, 3)))  # reads x[5 - 2k] at k = 1, 2 of 0..3
    node = Node(Kind.MAP, F32, (2, 4), (constant(0, x, view),), program=(Instr(Op.INPUT, 0),))
    (got,) = run_nodes([node], [x])
    assert got.tolist() == [0, 4, 2, 0] * 2


def test_gather_outside_the_table_reads_zero() -> None:
    table, index = np.arange(1, 7, dtype=np.float32), np.array([2, -1, 3, 0, -(2**31)], np.int32)
    whole = View.strided((5, 2, 3), (0, 1, 2))
    picked = constant(1, index, View.strided((5, 2), (1, 0)))
    (got,) = run_nodes([Node(Kind.GATHER, F32, (5, 2), (constant(0, table, whole), picked), 3)], [table, index])
    assert got.tolist() == [5, 6, 0, 0, 0, 0, 1, 2, 0, 0]


def test_scatter_add_drops_rows_outside() -> None:
    x, index = np.array([1, 2, 4, 8], np.float32), np.array([1, -1, 1, 9], np.int32)
    values = constant(0, x, View.strided((3, 4), (0, 1)))
    inputs = (values, constant(1, index, View.strided((3, 4), (0, 1))))
    (got,) = run_nodes([Node(Kind.SCATTER_ADD, F32, (3,), inputs, 4, 20)], [x, index])
    assert got.tolist() == [0, 5, 0]
    assert words([got])[0][0] == 0  # an empty sum is +0
