"""The table of primitives: what a `map` program may be made of.

One row per primitive: its code on the wire, operand types, result type and cost in work units.
`contracts/step/Opcodes.sol` is generated from it (`scripts/generate_opcodes.py`); the meaning of each
row is in docs/protocol.md, section 1, and its definition in `offchain.exec.reference`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, NamedTuple


class DType(IntEnum):
    """Type of a 32-bit word."""

    F32 = 1
    I32 = 2


CANONICAL_NAN: Final = 0x7FC00000
MAX_PROGRAM: Final = 256


class Op(IntEnum):
    """Opcodes, as encoded."""

    INPUT = 0x00
    CONST_F32 = 0x01
    CONST_I32 = 0x02
    INDEX = 0x03
    STEP = 0x04
    ADD = 0x10
    SUB = 0x11
    MUL = 0x12
    DIV = 0x13
    SQRT = 0x14
    NEG = 0x15
    ABS = 0x16
    RINT = 0x17
    LDEXP = 0x18
    EQ = 0x20
    LT = 0x21
    LE = 0x22
    TO_INT = 0x28
    TO_FLOAT = 0x29
    BITS = 0x2A
    FROM_BITS = 0x2B
    IADD = 0x30
    ISUB = 0x31
    IMUL = 0x32
    IAND = 0x33
    IOR = 0x34
    IXOR = 0x35
    SHL = 0x36
    SHR = 0x37
    SAR = 0x38
    IEQ = 0x39
    ILT = 0x3A
    SELECT = 0x40


@dataclass(frozen=True, slots=True)
class Primitive:
    """A row of the table. `result` is None where it is an operand's or an input's (INPUT, SELECT)."""

    op: Op
    operands: tuple[DType | None, ...]
    result: DType | None
    cost: int


_F, _I = DType.F32, DType.I32


def _rows(ops: str, operands: tuple[DType | None, ...], result: DType | None, cost: int = 1) -> list[Primitive]:
    return [Primitive(Op[name], operands, result, cost) for name in ops.split()]


TABLE: Final[dict[Op, Primitive]] = {
    row.op: row
    for row in [
        *_rows("INPUT", (), None, 0),
        *_rows("CONST_F32", (), _F, 0),
        *_rows("CONST_I32 INDEX STEP", (), _I, 0),
        *_rows("ADD SUB MUL", (_F, _F), _F),
        *_rows("DIV", (_F, _F), _F, 4),
        *_rows("SQRT", (_F,), _F, 4),
        *_rows("NEG ABS RINT", (_F,), _F),
        *_rows("LDEXP", (_F, _I), _F),
        *_rows("EQ LT LE", (_F, _F), _I),
        *_rows("TO_INT BITS", (_F,), _I),
        *_rows("TO_FLOAT FROM_BITS", (_I,), _F),
        *_rows("IADD ISUB IMUL IAND IOR IXOR SHL SHR SAR IEQ ILT", (_I, _I), _I),
        *_rows("SELECT", (_I, None, None), None),
    ]
}


class Instr(NamedTuple):  # and no dataclass: programs are hashed and compared a million times while a job is built
    """One instruction: three 16-bit operands, or for constants a 32-bit word in `b` (high) and `c` (low)."""

    op: Op
    a: int = 0
    b: int = 0
    c: int = 0

    @classmethod
    def const(cls, dtype: DType, word: int) -> Instr:
        """A constant from its unsigned 32-bit pattern."""
        return cls(Op.CONST_F32 if dtype is DType.F32 else Op.CONST_I32, 0, word >> 16 & 0xFFFF, word & 0xFFFF)

    @property
    def word(self) -> int:
        """The unsigned 32-bit pattern of a constant."""
        return self.b << 16 | self.c

    @property
    def args(self) -> tuple[int, ...]:
        """Indices of the values that this instruction reads."""
        return (self.a, self.b, self.c)[: len(TABLE[self.op].operands)]


Program = tuple[Instr, ...]
