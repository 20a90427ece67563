"""The gas of instructions is within the bounds by which legality counts."""

from __future__ import annotations

from typing import Final

import numpy as np
import pytest

from offchain.ir import moves
from offchain.ir.graph import Node
from offchain.ir.kinds import Kind
from offchain.ir.primitives import TABLE, DType, Instr, Op
from tests.support.evidence import Prover
from tests.support.strategies import over_state
from tests.support.world import World

F = DType.F32

OPERANDS: Final = [
    (0x3FFFFFFF, 0x00000001),
    (0x00000001, 0x807FFFFF),
    (0x7F7FFFFF, 0x3F800001),
    (0x40490FDB, 0xC0490FDA),
]


@pytest.mark.parametrize("op", [op for op, row in TABLE.items() if row.operands])
def test_instructions_take_no_more_gas_than_their_bound(world: World, op: Op) -> None:
    row = TABLE[op]

    def gas(count: int, words: tuple[int, int]) -> int:
        kinds = [t or F for t in row.operands]
        consts = tuple(Instr.const(t, words[i % 2]) for i, t in enumerate(kinds))
        code = (*consts, *(Instr(op, *range(len(kinds))) for _ in range(count)))
        node = Node(Kind.MAP, row.result or F, (1,), (), program=code)
        evidence = Prover(over_state([node], [np.zeros(1, np.float32)])).evidence(0, 0)
        return int(world.verifier.functions.compute(evidence).estimate_gas({"gas": 30_000_000}))

    few, many = 50, 250
    bound = moves.LONGER.get(op, moves.INSTRUCTION)
    for words in OPERANDS:
        each = (gas(many, words) - gas(few, words)) / (many - few) - 8 * 16  # calldata is counted apart
        assert bound / 4 < each <= bound, (op.name, words, each)
