"""The table of node kinds: what a node of the step graph may be.

One row per kind. Legality, decoding, costs, the executors' dispatches and the players of a dispute read it, and
`contracts/step/Kinds.sol` is generated from it (`scripts/generate_opcodes.py`). The meaning of each kind is in
docs/protocol.md, section 2, and its definition in `offchain.exec.reference`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Final, TypeVar

from offchain.errors import IllegalGraph
from offchain.ir.primitives import TABLE, DType, Program

MAX_INPUTS: Final = 16

T = TypeVar("T")
Cost = Callable[[tuple[int, ...], int, Program], int]


class Kind(IntEnum):
    """Node kinds, as encoded."""

    MAP = 1
    DOT = 2
    SUM = 3
    SCATTER_ADD = 4
    MAX = 5
    GATHER = 6


class Ending(IntEnum):
    """How a dispute about one element ends. Mirrors IStepVerifier.Ending."""

    COMPUTE = 0  # the contract computes the element
    EXTREMUM = 1  # a counter-example or a witness
    SUM = 2  # a counter-example or a witness of an exponent, or one term of an exact sum


@dataclass(frozen=True, slots=True)
class Traits:
    """A row of the table."""

    kind: Kind
    inputs: tuple[DType | None, ...]  # dtype of each input, None: any; with a program the most inputs
    along_k: tuple[int, ...]  # inputs whose view has the extra axis k
    scaled: tuple[int, ...]  # inputs that are scaled by an exponent of their own: the first ones
    max_bits: int  # of a scaled operand; 0: none is scaled
    ending: Ending
    result: DType | None  # None: the dtype of the program's last instruction, or else of the first input
    cost: Cost  # work units of a node of that shape, extent and program
    program: bool = False  # whether the node has one (map alone); then it may have fewer inputs
    named_axes: int = 0  # leading axes of the output whose coordinate an input names; they must exist and stay whole

    @property
    def has_extent(self) -> bool:
        """Whether a node has K, the length of the axis k."""
        return bool(self.along_k)

    @property
    def reduces(self) -> bool:
        """Whether an element is a maximum or a sum along k, which may be made in parts."""
        return self.ending is not Ending.COMPUTE


def _per_instruction(shape: tuple[int, ...], extent: int, program: Program) -> int:
    return prod(shape) * max(sum(TABLE[instr.op].cost for instr in program), 1)


def _per_term(shape: tuple[int, ...], extent: int, program: Program) -> int:
    return prod(shape) * extent


def _per_column(shape: tuple[int, ...], extent: int, program: Program) -> int:
    return prod(shape) + prod(shape[1:]) * extent  # a term belongs to one row


def _per_element(shape: tuple[int, ...], extent: int, program: Program) -> int:
    return prod(shape)


_F, _I = DType.F32, DType.I32
KINDS: Final[dict[Kind, Traits]] = {
    row.kind: row
    for row in [
        Traits(Kind.MAP, (None,) * MAX_INPUTS, (), (), 0, Ending.COMPUTE, None, _per_instruction, program=True),
        Traits(Kind.DOT, (_F, _F), (0, 1), (0, 1), 27, Ending.SUM, _F, _per_term),
        Traits(Kind.SUM, (_F,), (0,), (0,), 31, Ending.SUM, _F, _per_term),
        Traits(Kind.SCATTER_ADD, (_F, _I), (0, 1), (0,), 31, Ending.SUM, _F, _per_column, named_axes=1),
        Traits(Kind.MAX, (None,), (0,), (), 0, Ending.EXTREMUM, None, _per_term),
        Traits(Kind.GATHER, (None, _I), (0,), (), 0, Ending.COMPUTE, None, _per_element),
    ]
}


def unknown(kind: int) -> IllegalGraph:
    """The refusal that every dispatch over kinds ends in: `raise unknown(node.kind)`."""
    name = f"{kind.name.lower()} " if isinstance(kind, Kind) else ""
    return IllegalGraph(f"node kind {name}({int(kind)}) is not known here")


def chosen(table: Mapping[Kind, T], kind: Kind) -> T:
    """The entry of a kind in a dispatch table. Raises IllegalGraph where there is none."""
    try:
        return table[kind]
    except KeyError:
        raise unknown(kind) from None


def traits(kind: Kind) -> Traits:
    """The row of a kind. Raises IllegalGraph for a kind that the table does not have."""
    return chosen(KINDS, kind)


def has_k(kind: Kind, position: int) -> bool:
    """Whether the view of that input has the extra axis k."""
    return position in traits(kind).along_k
