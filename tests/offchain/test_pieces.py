"""Maps that choose by a coordinate: the pieces together give the bits of the whole."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from offchain.exec.pieces import pieces
from offchain.exec.reference import evaluate
from offchain.exec.torch_program import run_map
from offchain.ir.graph import Axis, Input, Kind, Node, Source, View
from offchain.ir.primitives import DType, Op
from offchain.ir.program import ProgramBuilder


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
        inputs.append(Input(Source.CONST, number, DType.F32, rows * size, View(-start, axes)))
        out = builder.index(1).ge(start).where(builder.input(number, DType.F32), out)
    out = builder.index(0).eq(twist).where(out * 10.0, out) + builder.index(1).to_float()
    return Node(Kind.MAP, DType.F32, (rows, total), tuple(inputs), program=builder.finish(out)), arrays


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(1, 4), st.integers(-1, 4))
def test_pieces_give_the_bits_of_the_whole(sizes: list[int], rows: int, twist: int) -> None:
    node, arrays = concatenation(sizes, rows, twist)
    flat = [array.reshape(-1) for array in arrays]
    wanted = evaluate(node, flat, 0)
    got = run_map(node, [torch.from_numpy(array) for array in flat], 0, torch.device("cpu"))
    np.testing.assert_array_equal(got.expand(node.shape).reshape(-1).numpy().view(np.int32), wanted.view(np.int32))


def test_a_piece_reads_its_own_part_only() -> None:
    node, _ = concatenation([3, 2, 4], 2, -1)
    found = pieces(node)
    assert [(piece.lo, piece.hi) for piece in found] == [(0, 3), (3, 5), (5, 9)]
    assert [len(piece.node.inputs) for piece in found] == [1, 1, 1]
    assert all(instr.op not in (Op.SELECT, Op.ILT) for piece in found for instr in piece.node.program)


def test_a_map_without_a_choice_is_left_whole() -> None:
    builder = ProgramBuilder((4,))
    item = Input(Source.CONST, 0, DType.F32, 4, View.contiguous((4,)))
    program = builder.finish(builder.input(0, DType.F32) + builder.index(0).to_float())
    assert pieces(Node(Kind.MAP, DType.F32, (4,), (item,), program=program)) == ()
