"""Maps that choose by a coordinate: the pieces together give the bits of the whole."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.exec.eager.executor import TorchExecutor
from offchain.exec.eager.program import run_map
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.plan.pieces import MAX_PIECES, cuts
from offchain.exec.reference import ReferenceExecutor, evaluate
from offchain.ir.graph import Axis, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Op
from offchain.ir.program import ProgramBuilder
from tests.support.draws import examples
from tests.support.strategies import over_state


def concatenation(sizes: list[int], rows: int, twist: int) -> tuple[Node, list[np.ndarray]]:
    """Tensors of shape (rows, size) side by side; coordinate `twist` of the first axis takes ten times the value."""
    rng = np.random.default_rng(0)
    total = sum(sizes)
    arrays = [rng.standard_normal((rows, size)).astype(np.float32) for size in sizes]
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    builder = ProgramBuilder((rows, total))
    inputs, out = [], builder.real(0.0)
    for number, (size, start) in enumerate(zip(sizes, starts, strict=True)):
        axes = (Axis(size, 0, rows), Axis(1, start, start + size))
        inputs.append(Input(Source.CONST, number, DType.F32, rows * size, View(-start, axes).settled()))
        out = builder.index(1).ge(start).where(builder.input(number, DType.F32), out)
    out = builder.index(0).eq(twist).where(out * 10.0, out) + builder.index(1).to_float()
    return Node(Kind.MAP, DType.F32, (rows, total), tuple(inputs), program=builder.finish(out)), arrays


@settings(max_examples=examples(60), deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 4), st.integers(-1, 4))
def test_pieces_give_the_bits_of_the_whole(sizes: list[int], rows: int, twist: int) -> None:
    node, arrays = concatenation(sizes, rows, twist)
    flat = [array.reshape(-1) for array in arrays]
    wanted = evaluate(node, flat, 0)
    got = run_map(node, [torch.from_numpy(array) for array in flat], 0, torch.device("cpu"))
    np.testing.assert_array_equal(got.expand(node.shape).reshape(-1).numpy().view(np.int32), wanted.view(np.int32))


def chequered(axes: int, each: int) -> Node:
    """Counts, at each element, the coordinates that are one of 1, 3, 5, ...: `each` of them on each axis."""
    shape = (2 * each + 3,) * axes
    builder = ProgramBuilder(shape)
    out = builder.whole(0)
    for axis in range(axes):
        for n in range(each):
            out = out + builder.index(axis).eq(2 * n + 1)
    return Node(Kind.MAP, DType.I32, shape, (), program=builder.finish(out))


@pytest.mark.parametrize(("axes", "each", "pieces"), [(1, 8, 17), (2, 3, 7 * 7), (3, 8, 17), (4, 8, 17), (1, 40, 1)])
def test_a_map_is_few_pieces_however_many_axes_it_chooses_along(axes: int, each: int, pieces: int) -> None:
    """Each is a kernel to compile: their number must not be the product over the axes."""
    node = chequered(axes, each)
    found = list(cuts(node, View.contiguous(node.shape)))
    assert len(found) == pieces <= MAX_PIECES
    written = np.zeros(node.length, np.int32)
    for part, view in found:
        at = sum(np.ogrid[tuple(slice(size) for size in part.shape)][d] * a.stride for d, a in enumerate(view.axes))
        written[view.offset + at] += 1
    assert (written == 1).all()


@pytest.mark.parametrize("executor", [FusedExecutor, TorchExecutor])
def test_what_a_piece_still_chooses_gives_the_bits_of_the_definition(executor: Any) -> None:
    case = over_state([chequered(2, 8), chequered(3, 2)], [])
    got, truth = (make(case.graph, [], []) for make in (executor, ReferenceExecutor))
    wanted = list(truth.outputs(truth.load(case.state), 0))
    for a, b in zip(list(got.outputs(got.load(case.state), 0)), wanted, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_piece_reads_its_own_part_only() -> None:
    node, _ = concatenation([3, 2, 4], 2, -1)
    found, views = zip(*cuts(node, View.contiguous(node.shape)), strict=True)
    assert [(view.offset, view.axes[1].hi) for view in views] == [(0, 3), (3, 2), (5, 4)]
    assert [len(part.inputs) for part in found] == [1, 1, 1]
    assert all(instr.op not in (Op.SELECT, Op.ILT) for part in found for instr in part.program)


def test_a_map_without_a_choice_is_left_whole() -> None:
    builder = ProgramBuilder((4,))
    item = Input(Source.CONST, 0, DType.F32, 4, View.contiguous((4,)))
    program = builder.finish(builder.input(0, DType.F32) + builder.index(0).to_float())
    node = Node(Kind.MAP, DType.F32, (4,), (item,), program=program)
    assert list(cuts(node, View.contiguous((4,)))) == [(node, View.contiguous((4,)))]
