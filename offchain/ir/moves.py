"""The largest transactions that a dispute about a graph can ask for, from sizes alone.

A move that nobody can send loses a dispute, whoever is right. So legality refuses a node that asks for one, and the
compiler fuses no further than this. What counts is what a move must show (docs/protocol.md, section 4): the node's
encoding, and for each input that is read inside its range a chunk, its proof in its tensor's tree, and that tensor's
proof in the tree of nodes, of the state or of the graph.

The gas of a move is bounded by

    TRANSACTION + 16 · calldata + MOVE + copies(calldata) + NODE + INPUT and AXIS for each in the encoding
        + OPENING for each opening and LEVEL for each level of its two proofs + what each instruction takes

where copies(n) is what three copies of n bytes in memory cost, and the other numbers are upper bounds of what the
contracts were measured to take: tests/contracts/test_largest_moves.py holds them to real moves.
A chain with EIP-7623 charges at least 40 a byte, so up to CHARGED for a move that is legal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from offchain.ir.graph import CHUNK, Graph, Input, Node, Source
from offchain.ir.kinds import Ending, traits
from offchain.ir.primitives import Op

MAX_CALLDATA: Final = 96 * 1024  # bytes; nodes take transactions of up to 128 KiB into their pools
MAX_GAS: Final = 3_000_000
CHARGED: Final = 4_000_000  # above 21,000 + 40 · MAX_CALLDATA

ARITY: Final = 16
FAN: Final = ARITY**2  # children of a reveal
SUM_FAN: Final = 64  # parts of a revealed sum
WORD: Final = 32  # bytes of a word of calldata, and of a hash
CHUNK_BYTES: Final = 4 * CHUNK
HEAD: Final = 4 + 12 * WORD  # selector, arguments of one word, offsets of the others
RECORD: Final = 22  # bytes of an input in the encoding, before its axes
AXIS_BYTES: Final = 16
NAME_BYTES: Final = 1024  # of a slot
STEP_PIECES: Final = 256
SLOT_HEAD: Final = 14

# Gas
TRANSACTION: Final = 21_000
BYTE: Final = 16  # of calldata that is not 0
MOVE: Final = 300_000  # the turn, what it writes and says, and a verdict with all that it moves
NODE: Final = 9_000
INPUT: Final = 2_500
AXIS: Final = 900
OPENING: Final = 20_000
LEVEL: Final = 1_500  # of a proof
HASH: Final = 60  # of a reveal: its part of an inner node
SUM: Final = 400  # of a part of a sum
INSTRUCTION: Final = 800
LONGER: Final = {  # instructions that may take more
    Op.ADD: 1_800, Op.SUB: 1_800, Op.MUL: 1_600, Op.DIV: 1_800, Op.SQRT: 2_200, Op.RINT: 1_400, Op.LDEXP: 1_600,
    Op.TO_FLOAT: 1_600, Op.TO_INT: 1_000, Op.EQ: 900, Op.LT: 900, Op.LE: 900,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Counts:
    """How many leaves the trees have that a node's inputs are opened against."""

    nodes: int
    constants: int
    slots: int
    datasets: int

    @classmethod
    def of(cls, graph: Graph) -> Counts:
        return cls(len(graph.nodes), len(graph.constants), len(graph.slots), len(graph.datasets))

    @property
    def graph(self) -> int:
        """Leaves of the graph's tree."""
        return self.nodes + self.constants + self.slots + self.datasets

    def leaves(self, source: Source) -> int:
        """Leaves of the tree that holds the roots of a source's tensors."""
        return {Source.NODE: self.nodes, Source.STATE: self.slots}.get(source, self.graph)


@dataclass(frozen=True, slots=True)
class Move:
    """A bound of a transaction: `calldata` in bytes, `gas` with that of its calldata."""

    verb: str
    calldata: int
    gas: int

    @property
    def excess(self) -> str:
        """What it has too much of; empty where it can be sent."""
        if self.calldata > MAX_CALLDATA:
            return f"{self.calldata:,} bytes of calldata, above {MAX_CALLDATA:,}"
        return f"{self.gas:,} gas, above {MAX_GAS:,}" if self.gas > MAX_GAS else ""


def of_node(node: Node, counts: Counts) -> Iterator[Move]:
    """The moves that name a node or judge an element of it."""
    encoding, judged = _encoding(node), _judging(node)
    naming = WORD * (_path(counts.nodes) + _path(counts.graph))
    levels = _levels(counts.nodes) + _levels(counts.graph)
    yield _move("nameNode", encoding + naming, _decoding(node) + LEVEL * levels)
    shown, opened = _opened(node, counts)
    ending = traits(node.kind).ending
    if ending is not Ending.SUM:
        yield _move("nameElement", CHUNK_BYTES + encoding + shown, judged + opened)
    else:
        yield _move("nameElement", CHUNK_BYTES + encoding, judged)
        yield _move("revealSums", WORD * SUM_FAN + encoding, judged + SUM * SUM_FAN)
        yield _move("proveTerm", WORD * SUM_FAN + encoding + shown, judged + opened + SUM * SUM_FAN)
        one = max(_opened(replace(node, inputs=(item,)), counts) for item in node.inputs)
        yield _move("revealExponent", encoding + one[0], judged + one[1])
    yield _below(_chunks(node.length), "nameChunk")


def of_walk(counts: Counts) -> Iterator[Move]:
    """The other moves: they reveal up to 256 hashes, or name one of them."""
    reveal = WORD * FAN
    yield _move("revealTrace", 2 * reveal, 2 * HASH * FAN)
    yield _move("revealChildren", reveal, HASH * FAN)
    yield _move("revealSteps", WORD * STEP_PIECES, HASH * STEP_PIECES)
    yield _move("revealChunk", CHUNK_BYTES, OPENING)
    yield _below(counts.nodes, "nameSubtree")
    slots, graph, nodes = counts.slots, counts.graph, counts.nodes
    hashes = _path(slots) + _path(graph) + max(_path(nodes), _path(slots))
    levels = _levels(slots) + _levels(graph) + max(_levels(nodes), _levels(slots))
    yield _move("nameSlot", SLOT_HEAD + NAME_BYTES + WORD * hashes, LEVEL * levels)


def largest(graph: Graph) -> tuple[Move, Move]:
    """The move with the most calldata and the one with the most gas of all that a dispute about the graph can need."""
    counts = Counts.of(graph)
    moves = [*of_walk(counts), *(move for node in graph.nodes for move in of_node(node, counts))]
    return max(moves, key=lambda move: move.calldata), max(moves, key=lambda move: move.gas)


def excess(node: Node, counts: Counts) -> str | None:
    """In one line: the move that the node asks for and nobody can send. None where there is none."""
    for move in of_node(node, counts):
        if move.excess:
            return f"its move {move.verb} needs up to {move.excess}"
    return None


def _move(verb: str, calldata: int, work: int) -> Move:
    size = HEAD + calldata
    return Move(verb, size, TRANSACTION + BYTE * size + MOVE + _copies(size) + work)


def _copies(size: int) -> int:
    words = -(-size // WORD)
    return 3 * (2 * 3 * words + words * words // 512)


def _below(leaves: int, verb: str) -> Move:
    return _move(verb, WORD * _path(leaves), LEVEL * _levels(leaves))


def _judging(node: Node) -> int:
    return _decoding(node) + sum(LONGER.get(instr.op, INSTRUCTION) for instr in node.program)


def _decoding(node: Node) -> int:
    axes = len(node.shape) + sum(len(item.view.axes) for item in node.inputs)
    return NODE + INPUT * len(node.inputs) + AXIS * axes


def _encoding(node: Node) -> int:
    """Bytes of a node's encoding in calldata, with its length."""
    inputs = sum(RECORD + AXIS_BYTES * len(item.view.axes) for item in node.inputs)
    size = 11 + 4 * len(node.shape) + inputs + 8 * len(node.program)
    return WORD + -(-size // WORD) * WORD


def _opened(node: Node, counts: Counts) -> tuple[int, int]:
    """The most bytes, and the most gas, of openings at one element."""
    sizes, gases = [], []
    for item in node.inputs:
        trees = _chunks(item.length), counts.leaves(item.source)
        sizes.append(7 * WORD + CHUNK_BYTES + WORD * sum(map(_path, trees)))
        gases.append(OPENING + LEVEL * sum(map(_levels, trees)))
    return _together(node.inputs, sizes), _together(node.inputs, gases)


def _together(inputs: Sequence[Input], weights: Sequence[int]) -> int:
    """A bound of the total weight of inputs that are read inside their ranges at one element.

    Along each axis no element lies inside more than the ranges that overlap there; the axis with the least decides.
    It is exact for parts that are joined along an axis.
    """
    live = [(item.view.axes, weight) for item, weight in zip(inputs, weights, strict=True) if not _is_empty(item)]
    bounds = [sum(weight for _, weight in live)]
    for d in range(min((len(axes) for axes, _ in live), default=0)):
        ranges = [(axes[d].lo, axes[d].hi, weight) for axes, weight in live]
        bounds.append(max(sum(w for lo, hi, w in ranges if lo <= at < hi) for at in {lo for lo, _, _ in ranges}))
    return min(bounds)


def _is_empty(item: Input) -> bool:
    return any(axis.lo >= axis.hi for axis in item.view.axes)


def _chunks(length: int) -> int:
    return -(-length // CHUNK)


def _levels(leaves: int) -> int:
    """Levels of a tree above its leaves."""
    levels = 0
    while leaves > 1:
        leaves, levels = -(-leaves // ARITY), levels + 1
    return levels


def _path(leaves: int) -> int:
    """Hashes of the longest proof that a leaf needs."""
    hashes = 0
    while leaves > 1:
        hashes += min(leaves, ARITY) - 1
        leaves = -(-leaves // ARITY)
    return hashes
