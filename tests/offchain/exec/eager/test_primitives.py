"""Primitives of the torch executor where hardware or libraries give other bits than the definition."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from offchain.errors import OffchainError
from offchain.exec import make_executor, reference
from offchain.ir.graph import Node, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import TABLE, Instr, Op
from tests.offchain.exec.compared import (
    DEVICES,
    F32,
    I32,
    constant,
    copy_graph,
    run_nodes,
    words,
)
from tests.support.strategies import SPECIAL_FLOATS, SPECIAL_INTS, float_words

_SAMPLES = {
    F32: np.array(SPECIAL_FLOATS, np.uint32).view(np.float32),
    I32: np.array([*SPECIAL_INTS, 33, 63, 64, 2**32 - 32, 0x12345678], np.uint32).view(np.int32),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("op", [op for op, row in TABLE.items() if row.operands])
def test_primitive_on_all_pairs_of_special_words(op: Op, device: str) -> None:
    """Wrapping, shifts by 32 and more, division by zero, 0·inf, signed zeros, subnormals: torch as the reference."""
    rng = np.random.default_rng(int(op))
    for branch in (F32, I32) if op is Op.SELECT else (F32,):
        types = [dtype or branch for dtype in TABLE[op].operands]
        samples = [
            np.concatenate([_SAMPLES[t], rng.integers(0, 2**32, 30, dtype=np.uint32).view(_SAMPLES[t].dtype)])
            for t in types
        ]
        samples = [reference.canonical(s) for s in samples]
        shape = tuple(map(len, samples))
        inputs = [
            constant(n, s, View.strided(shape, tuple(int(d == n) for d in range(len(shape)))))
            for n, s in enumerate(samples)
        ]
        program = (*(Instr(Op.INPUT, n) for n in range(len(inputs))), Instr(op, *range(len(inputs))))
        result = TABLE[op].result or branch
        run_nodes([Node(Kind.MAP, result, shape, tuple(inputs), program=program)], samples, device)


@pytest.mark.parametrize("device", DEVICES)
def test_square_root_and_quotient_are_correctly_rounded(device: str) -> None:
    rng = np.random.default_rng(0)
    a, b = (np.abs(float_words(rng, 200_000, "any")) for _ in range(2))
    code = {
        Op.SQRT: (Instr(Op.INPUT, 0), Instr(Op.SQRT, 0)),
        Op.DIV: (Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(Op.DIV, 0, 1)),
    }
    made = [Node(Kind.MAP, F32, a.shape, (constant(0, a), constant(1, b)), program=p) for p in code.values()]
    run_nodes(made, [a, b], device)


@pytest.mark.parametrize("device", DEVICES)
def test_division_by_a_constant_is_a_division(device: str) -> None:
    x = float_words(np.random.default_rng(0), 10_000, "normal")
    program = (Instr(Op.INPUT, 0), Instr.const(F32, 0x40400000), Instr(Op.DIV, 0, 1))
    (got,) = run_nodes([Node(Kind.MAP, F32, x.shape, (constant(0, x),), program=program)], [x], device)
    assert words([got]) == words([x / np.float32(3)])


def test_torch_that_flushes_subnormals_is_refused() -> None:
    make_executor("torch", copy_graph(), [], [])
    if not torch.set_flush_denormal(True):
        pytest.skip("this processor cannot flush")
    try:
        with pytest.raises(OffchainError, match="flushes subnormals"):
            make_executor("torch", copy_graph(), [], [])
    finally:
        torch.set_flush_denormal(False)
