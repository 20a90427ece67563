"""Checks an executor on a device against the reference, on a small fixed graph.

The graph runs every primitive on special and on random words, then every kind of reduction on numbers of all
magnitudes. It finds a processor, driver or library that flushes subnormals, contracts a product and a sum, or divides
by multiplying, before anything is staked on its results.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.errors import OffchainError
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array, canonical
from offchain.ir.graph import Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import TABLE, DType, Instr, Op

_F, _I = DType.F32, DType.I32
_FLOATS: Final = [
    0x00000000, 0x80000000, 0x00000001, 0x80000001, 0x007FFFFF, 0x00800000, 0x80800000, 0x3F800000, 0xBF800000,
    0x3FFFFFFF, 0x40400000, 0x3F000000, 0x3FC00000, 0xC0200000, 0x4B000000, 0x4B000001, 0x4EFFFFFF, 0x4F000000,
    0xCF000000, 0xCF000001, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000,
]  # fmt: skip
_INTS: Final = [
    0, 1, 2, 31, 32, 33, 127, 128, 2**24 + 1, 2**31 - 1, 2**31, 2**31 + 1, 2**32 - 400, 2**32 - 149, 2**32 - 2,
    2**32 - 1,
]  # fmt: skip
_WORDS: Final = 64  # of each operand of an operation of two: all pairs are tried
_SHAPE: Final = (_WORDS, _WORDS)
_ALL: Final = "the primitives together"
_ODD: Final = 0x01000193
# SHA-256 of the outputs of `combined` by the reference
_RECORDED: Final = "05bfa5ca8a41801536052d399cde66f2255ae7854dba18f3b061808e731c35b0"
_T: Final = 2**31 - 1
_passed: set[tuple[str, str]] = set()


def require_bits(name: str, device: str, make: Callable[[Graph, Sequence[Array], Sequence[Array]], Any]) -> None:
    """Checks the first use of an executor on a device in this process; later uses return at once.

    `make` makes the executor on that device. Raises OffchainError naming the first primitive or node kind that differs.
    """
    if (name, device) in _passed:
        return
    wrong = _difference(make, combined())
    if wrong and wrong.startswith(_ALL):
        wrong = _difference(make, separate()) or wrong
    if wrong:
        raise OffchainError(
            f"executor {name} on {device} computes other bits than the definition in {wrong}: "
            "its results would be disputed, take another device or executor"
        )
    _passed.add((name, device))


@dataclass(frozen=True)
class Check:
    """A graph over its constants, what each of its nodes checks, and their right outputs at step `_T`."""

    graph: Graph
    constants: list[Array]
    labels: list[str]
    truth: list[Array]


@cache
def combined() -> Check:
    """All primitives in one program, and the reductions: few kernels, because they are compiled before the first use.

    Raises OffchainError where the reference itself gives other words than the recorded ones.
    """
    constants = _constants()
    check = _check({_ALL: _mixed(constants), **_reductions(constants)}, constants)
    if sha256(b"".join(array.tobytes() for array in check.truth)).hexdigest() != _RECORDED:
        raise OffchainError(
            "NumPy computes other bits than the definition on this processor: does it flush subnormals?"
        )
    return check


@cache
def separate() -> Check:
    """A node for each primitive."""
    constants = _constants()
    return _check(_primitives(constants), constants)


def _check(nodes: dict[str, Node], constants: list[Array]) -> Check:
    specs = tuple(_spec(f"c{n}", array) for n, array in enumerate(constants))
    log = Slot(TensorSpec("log", _F, (1, 1)), Source.STATE, 0)
    graph = Graph(tuple(nodes.values()), (log,), specs, (bytes(32),) * len(specs), (), (), ("loss",))
    reference = ReferenceExecutor(graph, constants, [])
    truth = list(reference.outputs(reference.load([np.zeros(1, np.float32)]), _T))
    return Check(graph, constants, list(nodes), truth)


def _difference(make: Callable[[Graph, Sequence[Array], Sequence[Array]], Any], check: Check) -> str | None:
    """Names the first node whose words differ, and the first of these words; None where all are equal."""
    executor = make(check.graph, check.constants, [])
    state = executor.load([np.zeros(1, np.float32)])
    for label, truth, found in zip(check.labels, check.truth, executor.outputs(state, _T), strict=True):
        right, got = truth.view(np.uint32), found.reshape(-1).view(np.uint32)
        wrong = np.flatnonzero(right != got)
        if wrong.size:
            at = wrong[0]
            return f"{label} (element {at}: 0x{got[at]:08x}, must be 0x{right[at]:08x})"
    return None


def _constants() -> list[Array]:
    """Words of each type, few and many; numbers of all magnitudes, with rows that only hold special ones; an index."""

    def words(special: Sequence[int], count: int, dtype: type) -> Array:
        drawn = _scattered(count - len(special), count)
        return canonical(np.concatenate([np.array(special, np.uint32), drawn]).view(dtype))

    few = [words(_FLOATS, _WORDS, np.float32), words(_INTS, _WORDS, np.int32)]
    many = [words(_FLOATS, _WORDS * _WORDS, np.float32), words(_INTS, _WORDS * _WORDS, np.int32)]
    rows, k = 8, 96
    drawn = _scattered(rows * k, 1).reshape(rows, k)
    bits = drawn & 0x807FFFFF  # sign and fraction; then exponents from one row's range
    bits |= (np.arange(rows, dtype=np.uint32)[:, None] * 12 + 80 + (drawn >> 23) % 8) << 23
    bits[1] &= 0x80000000  # signed zeros
    bits[2] &= 0x807FFFFF  # subnormals
    bits[3, 5], bits[4, 7], bits[5, 3] = 0x7F800000, 0x7FC00000, 0x7F000000
    return [*few, *many, bits.view(np.float32), (_scattered(k, 2) % 7).astype(np.int32) - 1]


def _scattered(count: int, seed: int) -> npt.NDArray[np.uint32]:
    """Words that look random: Murmur3's finaliser of a sequence (NumPy's generators may change with its version)."""
    x = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B9) + np.uint32(seed)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35), (16, 1)):
        x = (x ^ (x >> np.uint32(shift))) * np.uint32(factor)
    return x


def _cases() -> Iterator[tuple[str, Op, list[DType]]]:
    """Every primitive that takes operands, with their types."""
    for op, row in TABLE.items():
        for branch in (_F, _I) if op is Op.SELECT else (_F,):
            if row.operands:
                suffix = f" of {branch.name.lower()}" if op is Op.SELECT else ""
                yield f"primitive {op.name.lower()}{suffix}", op, [operand or branch for operand in row.operands]


def _primitives(constants: Sequence[Array]) -> dict[str, Node]:
    nodes = {}
    for label, op, types in _cases():
        reads = tuple(_operand(constants, dtype, n, len(types)) for n, dtype in enumerate(types))
        code = (*(Instr(Op.INPUT, n) for n in range(len(types))), Instr(op, *range(len(types))))
        nodes[label] = Node(Kind.MAP, TABLE[op].result or types[-1], _SHAPE, reads, program=code)
    return nodes


def _mixed(constants: Sequence[Array]) -> Node:
    """The results of all primitives as one word: each is added to an odd multiple of what came before."""
    reads: list[Input] = []
    code = [Instr.const(_I, 0), Instr.const(_I, _ODD)]

    def emit(instr: Instr) -> int:
        code.append(instr)
        return len(code) - 1

    word = 0
    for _, op, types in _cases():
        args = []
        for n, dtype in enumerate(types):
            item = _operand(constants, dtype, n, len(types))
            if item not in reads:
                reads.append(item)
            args.append(emit(Instr(Op.INPUT, reads.index(item))))
        value = emit(Instr(op, *args))
        if (TABLE[op].result or types[-1]) is _F:
            value = emit(Instr(Op.BITS, value))
        word = emit(Instr(Op.IADD, emit(Instr(Op.IMUL, word, 1)), value))
    return Node(Kind.MAP, _I, _SHAPE, tuple(reads), program=tuple(code))


def _operand(constants: Sequence[Array], dtype: DType, n: int, of: int) -> Input:
    """Operand n of `of`. Two operands see all pairs of few words; a single one sees many words."""
    place = (dtype is _I) + 2 * (of == 1)
    strides = (_WORDS, 1) if of == 1 else (1 - n % 2, n % 2)
    return Input(Source.CONST, place, dtype, constants[place].size, View.strided(_SHAPE, strides))


def _reductions(constants: Sequence[Array]) -> dict[str, Node]:
    rows, k = constants[4].shape
    numbers, index = (Source.CONST, 4, _F, rows * k), (Source.CONST, 5, _I, k)
    shape, across = (rows, rows), View.strided((rows, k), (k, 1))
    left = Input(*numbers, View.strided((*shape, k), (k, 0, 1)))
    right = Input(*numbers, View.strided((*shape, k), (0, k, 1)))
    columns = Input(*numbers, View.strided((5, rows, k), (0, k, 1)))
    named = Input(*index, View.strided((5, rows, k), (0, 0, 1)))
    table = Input(*numbers, View.strided((k, rows, rows), (0, 1, k)))
    picks = Input(*index, View.strided((k, rows), (1, 0)))
    return {
        "node kind dot at 8 bits": Node(Kind.DOT, _F, shape, (left, right), k, 8),
        "node kind dot at 21 bits": Node(Kind.DOT, _F, shape, (left, right), k, 21),
        "node kind sum": Node(Kind.SUM, _F, (rows,), (Input(*numbers, across),), k, 31),
        "node kind scatter_add": Node(Kind.SCATTER_ADD, _F, (5, rows), (columns, named), k, 31),
        "node kind max": Node(Kind.MAX, _F, (rows,), (Input(*numbers, across),), k),
        "node kind gather": Node(Kind.GATHER, _F, (k, rows), (table, picks), rows),
    }


def _spec(name: str, array: Array) -> TensorSpec:
    return TensorSpec(name, _F if array.dtype.kind == "f" else _I, array.shape)
