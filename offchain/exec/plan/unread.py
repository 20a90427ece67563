"""Nodes that no slot depends on in some steps, because programs choose by the step's number alone.

`where(t < 100, a, b)` computes both sides in each step, and reads one. What is read by nothing but the other side need
not be made: a job's evaluation while it trains, its training while it is evaluated. The graph still means all of it:
whoever asks for a node's output gets it, in every step.

Graphs come from strangers, and no trial measures what is done here: so it is bounded, and beyond that all is made.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.ir.graph import Graph, Node, Source
from offchain.ir.kinds import traits
from offchain.ir.primitives import Instr, Op, Program

MOST: Final = 16  # choices that are looked at in a step
SELECTS: Final = 4096  # of which it is asked whether they follow from the step's number
WORK: Final = 4_000_000  # instructions, to find out which choices leave anything unread: two seconds
OUTCOMES: Final = 8  # whose unread nodes are remembered, each with its calls
BLOCK: Final = 256  # steps of which they are looked at together
Words = npt.NDArray[np.int32]
_BY_NUMBER: Final[dict[Op, Callable[[Any, Any], Any]]] = {  # of int32 arrays, which wrap; as `exec.reference` has them
    Op.IADD: np.add,
    Op.ISUB: np.subtract,
    Op.IMUL: np.multiply,
    Op.IAND: np.bitwise_and,
    Op.IOR: np.bitwise_or,
    Op.IXOR: np.bitwise_xor,
    Op.SHL: lambda a, b: a << (b & 31),
    Op.SHR: lambda a, b: (a.view(np.uint32) >> (b & 31).view(np.uint32)).view(np.int32),
    Op.SAR: lambda a, b: a >> (b & 31),
    Op.IEQ: np.equal,
    Op.ILT: np.less,
}
Known = Mapping[Program, bool]


class Unread:
    """What is left unread of a graph's nodes, by step."""

    def __init__(self, graph: Graph) -> None:
        self._nodes, self._slots = graph.nodes, graph.slots
        self._choices = _all_choices(graph.nodes)
        found = dict.fromkeys(choice for choices in self._choices for choice in choices.values())
        length = sum(len(node.program) + len(node.inputs) for node in graph.nodes)
        self._useful = self._leaving(list(found)) if (2 * len(found) + 1) * length <= WORK else []
        self._found: dict[tuple[bool, ...], frozenset[int]] = {}
        self._block, self._outcomes = -1, list[tuple[bool, ...]]()  # of consecutive steps

    def at(self, t: int) -> frozenset[int]:
        """The nodes that step t need not make."""
        if not self._useful:
            return frozenset()
        if t // BLOCK != self._block:
            self._block = t // BLOCK
            self._outcomes = list(zip(*(_true(choice, self._block) for choice in self._useful), strict=True))
        outcome = self._outcomes[t % BLOCK]
        if outcome not in self._found:
            if len(self._found) == OUTCOMES:
                return frozenset()
            read = self._read(dict(zip(self._useful, outcome, strict=True)))
            self._found[outcome] = frozenset(range(len(self._nodes))) - read
        return self._found[outcome]

    def _leaving(self, found: Sequence[Program]) -> list[Program]:
        """The choices that leave any node unread, whichever way they go."""
        all_read = self._read({})
        return [c for c in found if any(self._read({c: known}) != all_read for known in (False, True))][:MOST]

    def _read(self, known: Known) -> frozenset[int]:
        """The nodes that a slot depends on, where the outcome of some choices is known."""
        read = {slot.index for slot in self._slots if slot.source is Source.NODE}
        for n in range(len(self._nodes) - 1, -1, -1):
            if n in read:
                items = _inputs(self._nodes[n], self._choices[n], known)
                node = self._nodes[n]
                read |= {node.inputs[i].index for i in items if node.inputs[i].source is Source.NODE}
        return frozenset(read)


def _all_choices(nodes: Sequence[Node]) -> list[dict[int, Program]]:
    """The choices of each node, of the first nodes alone where there are too many."""
    left, found = SELECTS, list[dict[int, Program]]()
    for node in nodes:
        found.append(_choices(node) if left > 0 and traits(node.kind).program else {})
        left -= len(found[-1])
    return found


def _choices(node: Node) -> dict[int, Program]:
    """The selects of a program whose condition follows from the step's number: by number, how it does."""
    program, by_number = node.program, set[int]()
    for n, instr in enumerate(program):
        plain = instr.op in (Op.STEP, Op.CONST_I32)
        if plain or (instr.op in _BY_NUMBER and by_number.issuperset(instr.args)):
            by_number.add(n)
    return {
        n: _alone(program, instr.a)
        for n, instr in enumerate(program)
        if instr.op is Op.SELECT and instr.a in by_number and program[instr.a].op is not Op.CONST_I32
    }


def _alone(program: Program, last: int) -> Program:
    """The program of one of its values, which reads nothing."""
    used = sorted(_reached(program, last, {}, {}))
    new = {old: number for number, old in enumerate(used)}
    return tuple(
        Instr(instr.op, *(new[arg] for arg in instr.args)) if instr.args else instr
        for instr in (program[n] for n in used)
    )


def _inputs(node: Node, choices: Mapping[int, Program], known: Known) -> Iterator[int]:
    """The inputs that the node's output depends on, by their place."""
    if not traits(node.kind).program:
        yield from range(len(node.inputs))
        return
    reached = _reached(node.program, len(node.program) - 1, choices, known)
    yield from {node.program[n].a for n in reached if node.program[n].op is Op.INPUT}


def _reached(program: Program, last: int, choices: Mapping[int, Program], known: Known) -> set[int]:
    """The instructions that the value of one depends on."""
    reached, waiting = set[int](), [last]
    while waiting:
        n = waiting.pop()
        if n in reached:
            continue
        reached.add(n)
        args: Sequence[int] = program[n].args
        if n in choices and choices[n] in known:
            args = args[1:2] if known[choices[n]] else args[2:]
        waiting += args
    return reached


def _true(choice: Program, block: int) -> list[bool]:
    """Whether it holds, in each step of a block."""
    steps = np.arange(block * BLOCK, (block + 1) * BLOCK).astype(np.int32)
    found: list[bool] = (value_at(choice, steps) != 0).tolist()
    return found


def value_at(program: Program, steps: Words) -> Words:
    """What a program that reads the step's number alone gives in each of these steps."""
    values: list[Words] = []
    for instr in program:
        if instr.op is Op.STEP:
            values.append(steps)
        elif instr.op is Op.CONST_I32:
            values.append(np.full(len(steps), instr.word, np.uint32).view(np.int32))
        else:
            values.append(_BY_NUMBER[instr.op](*(values[arg] for arg in instr.args)).astype(np.int32))
    return values[-1]
