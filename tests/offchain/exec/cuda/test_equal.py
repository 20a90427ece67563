"""The fused executor on CUDA equals the reference: every kind, random graphs, long strides, shared results."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from offchain.errors import OffchainError
from offchain.exec import selfcheck
from offchain.exec.base import Setting
from offchain.exec.cuda import reductions
from offchain.exec.cuda.executor import CudaExecutor
from offchain.exec.plan.products import product_of
from offchain.ir.graph import Axis, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check as check_legal
from offchain.ir.primitives import DType, Instr, Op
from tests.offchain.exec.cuda.compared import (
    DEVICE,
    ENGINES,
    F32,
    GPU,
    I32,
    MARKS,
    assert_same,
    dot,
)
from tests.support.strategies import Case, float_words, graphs, nodes, over_state

pytestmark = MARKS
drawn = settings(suppress_health_check=list(HealthCheck), deadline=None, max_examples=100 if GPU else 12)


@pytest.mark.parametrize("kind", list(Kind))
@drawn
@given(data=st.data(), engine=st.sampled_from(ENGINES))
def test_nodes_equal_the_reference(kind: Kind, data: st.DataObject, engine: str) -> None:
    assert_same(data.draw(nodes(kind)), engine)


@drawn
@given(case=graphs())
def test_graphs_equal_the_reference_with_engines_of_its_own_choice(case: Case) -> None:
    assert_same(case)


def test_terms_of_an_address_beyond_32_bits_in_a_small_table() -> None:
    """Of coordinates that are far from 0, all valid ones: what k adds, the offset takes away."""
    extent, stride = 1 << 21, 2000
    lo = extent - 4
    table = Input(Source.STATE, 0, F32, 2 * stride + 5, View(-stride * lo, (Axis(1, 0, 5), Axis(stride, lo, lo + 3))))
    index = Input(Source.STATE, 1, I32, 5, View.contiguous((5,)))
    rows = np.array([lo + 2, lo - 1, lo, lo + 1, lo + 3], np.int32)
    values = float_words(np.random.default_rng(0), table.length, "normal")
    case = over_state([Node(Kind.GATHER, F32, (5,), (table, index), extent)], [values, rows])
    check_legal(case.graph)
    assert_same(case)


def test_outputs_of_a_step_that_another_overtook() -> None:
    item = Input(Source.STATE, 0, F32, 1, View.contiguous((1,)))
    copy = Node(Kind.MAP, F32, (1,), (item,), program=(Instr(Op.INPUT),))
    case = over_state([copy, copy], [np.zeros(1, np.float32)])
    fast = CudaExecutor(case.graph, [], [], Setting(str(DEVICE)))
    state = fast.load(case.state)
    outputs = fast.outputs(state, 0)
    next(outputs)
    fast.step(state, 0)
    with pytest.raises(OffchainError, match="another step began"):
        next(outputs)


@pytest.mark.parametrize("check", [selfcheck.combined, selfcheck.separate])
def test_every_primitive_on_special_words(check: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selfcheck, "_passed", set())
    monkeypatch.setattr(selfcheck, "combined", check)
    selfcheck.require_bits("fused", str(DEVICE), lambda *given: CudaExecutor(*given, Setting(str(DEVICE))))


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("down", "bits"), [(False, 21), (True, 13), (True, 8)])
def test_a_product_whose_k_is_shared_by_programs(
    engine: str, down: bool, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reductions, "TILE", 32)
    node = dot(3, 5, 40, bits, down)
    sides = product_of(node).first, product_of(node).second
    assert all(reductions.is_split(side.item, side.shape, node.extent) for side in sides)
    rng = np.random.default_rng(bits)
    state = [float_words(rng, item.length, "normal") for item in node.inputs]
    state[0][7] *= np.float32(2.0**100)
    assert_same(over_state([node], state), engine)


@pytest.mark.parametrize("dtype", list(DType))
def test_few_results_of_many_terms(dtype: DType) -> None:
    """What programs join by atomic operations: sum, max, and rows scattered by an index or by a mask."""
    rng, k = np.random.default_rng(0), 9000
    real, whole = float_words(rng, 2 * k, "normal"), rng.integers(-(2**31), 2**31, 2 * k, dtype=np.int32)
    index = rng.integers(-1, 4, k, dtype=np.int32)
    view = View.strided((2, k), (k, 1))
    x = Input(Source.STATE, int(dtype is I32), dtype, 2 * k, view)
    made = [Node(Kind.MAX, dtype, (2,), (x,), k)]
    if dtype is F32:
        rows = Input(Source.STATE, 0, F32, 2 * k, View.strided((3, 2, k), (0, k, 1)))
        named = Input(Source.STATE, 2, I32, k, View.strided((3, 2, k), (0, 0, 1)))
        made += [Node(Kind.SUM, F32, (2,), (x,), k, 31), Node(Kind.SCATTER_ADD, F32, (3, 2), (rows, named), k, 31)]
    assert_same(over_state(made, [real, whole, index]))
