"""What the state at the end of an interval says of the states within it.

Some slots are written to in places that the step alone names, and keep the rest: a cache, rows of outputs. What a later
step of the interval does not write over is at its end what it was. So whoever has both ends of an interval needs none
of its steps to know such a slot before any of them. Other slots hold what a step output, which rows of outputs show;
or follow from such by little work, as does which texts are finished.

All of this holds if the state at the end is right, and rests on the graph's form alone. If a step made from a state
that is known so gives something else than that end, then the end is wrong.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Final

from offchain.ir.graph import Graph, Input, Node, Source, View
from offchain.ir.kinds import Kind, traits
from offchain.ir.primitives import DType, Op, Program
from offchain.ir.program import Value
from offchain.ir.rows import keeps_rows, own_row, replayed

LITTLE: Final = 1 << 24  # work units: what may be made of all steps of an interval, one by one
FEW: Final = 256  # nodes of these
ROUNDS: Final = 8  # in which it is found which slots follow from each other
LOOKS: Final = 1 << 28  # bits that say which nodes of a stranger's graph read which slots


@dataclass(frozen=True, slots=True)
class Lasting:
    """A slot whose elements outlast all steps that do not write to them.

    Attributes:
        shape: whose flat order is the slot's.
        writes: a map's program over it, without inputs: not 0 where a step writes.
        carried: whether a step sets to 0 what no step of its interval has written yet; else that stays as it was.
    """

    shape: tuple[int, ...]
    writes: Program
    carried: bool


@dataclass(frozen=True)
class Recall:
    """How the state before a step follows from both ends of its interval.

    Attributes:
        lasting: by slot.
        shown: by node whose output is the row that a step writes to a slot of outputs: that slot.
        made: nodes, in order, which are made step after step for slots that neither last nor are shown.
        needed: slots that must be known, so that `sound` ones are right after a step.
        sound: the lasting slots that a step from such a state gives.
    """

    graph: Graph
    lasting: dict[int, Lasting]
    shown: dict[int, int]
    made: tuple[int, ...]
    needed: frozenset[int]
    sound: tuple[int, ...]


def lasting(graph: Graph, slot: int, steps: int) -> Lasting | None:
    """None where a slot is not known to last. `steps`: of the task."""
    spec, number = graph.slots[slot].spec, graph.slots[slot].index
    node = graph.nodes[number] if graph.slots[slot].source is Source.NODE else None
    if node is None or node.kind is not Kind.MAP or node.length != spec.length:
        return None
    p, last = replayed(node, steps)
    if last.op is not Op.SELECT:
        return None
    before = Input(Source.STATE, slot, spec.dtype, spec.length, View.contiguous(node.shape))
    chosen, carried = Value(p, last.a, DType.I32), keeps_rows(graph, slot, steps)
    kept = [p.instrs[at].op is Op.INPUT and node.inputs[p.instrs[at].a] == before for at in (last.b, last.c)]
    if kept == [False, False] and not carried:
        return None
    writes = p.finish(chosen.eq(0) if kept[0] else chosen)
    if any(instr.op is Op.INPUT for instr in writes):
        return None
    return Lasting(node.shape, writes, carried)


def recall_of(graph: Graph, steps: int, outputs: Iterable[int]) -> Recall | None:
    """None where nothing that a step makes is known to follow from the ends of its interval, or only by much work.

    Args:
        steps: of the task.
        outputs: the slots that hold what steps output.
    """
    if len(graph.nodes) * len(graph.slots) > LOOKS:
        return None
    makers = {n: slot.index for n, slot in enumerate(graph.slots[:-1]) if slot.source is Source.NODE}  # but for the log
    last = {n: found for n in makers if (found := lasting(graph, n, steps)) is not None}
    shown = {node: n for n in outputs if (node := own_row(graph, n, steps)) is not None}
    sure = {n for n, slot in enumerate(graph.slots) if slot.index == (n if slot.source is Source.STATE else -1)}
    sure |= {n for n, node in makers.items() if node in shown}
    reads, few = _reads(graph.nodes, ()), _reads(graph.nodes, shown)
    made = _following({n: few[node] for n, node in makers.items() if n not in sure and n not in last}, _bits(sure))
    known = _bits((*sure, *last, *made))
    sound = tuple(n for n in last if not reads[makers[n]] & ~known)
    needed = _members(reduce(or_, (reads[makers[n]] for n in sound), 0))
    wanted = _closed(needed & made, {n: _members(few[makers[n]]) & made for n in made})
    needed = needed.union(*(_members(few[makers[n]]) for n in wanted))
    nodes = _cone(graph.nodes, [makers[n] for n in wanted], shown)
    if not sound or len(nodes) > FEW or _work(graph, nodes) * graph.interval > LITTLE:
        return None
    return Recall(graph, last, shown, nodes, frozenset(needed), sound)


def _reads(nodes: Sequence[Node], shown: Container[int]) -> list[int]:
    """For each node, the slots that it reads, itself or through others, as bits; but not through those in `shown`."""
    found: list[int] = []
    for node in nodes:
        bits = 0
        for item in node.inputs:
            if item.source is Source.STATE:
                bits |= 1 << item.index
            elif item.source is Source.NODE and item.index not in shown:
                bits |= found[item.index]
        found.append(bits)
    return found


def _following(reads: dict[int, int], sure: int) -> set[int]:
    """Those slots that follow from each other and from `sure` ones: what each reads, as bits, is among them."""
    left = set(reads)
    for _ in range(ROUNDS):
        known = sure | _bits(left)
        fewer = {n for n in left if not reads[n] & ~known}
        if fewer == left:
            return left
        left = fewer
    return set()


def _closed(begun: Iterable[int], reads: dict[int, set[int]]) -> set[int]:
    """With all that these read, and what that reads."""
    found, todo = set[int](), list(begun)
    while todo:
        n = todo.pop()
        if n not in found:
            found.add(n)
            todo += reads[n]
    return found


def _cone(nodes: Sequence[Node], ends: Iterable[int], shown: Container[int]) -> tuple[int, ...]:
    """These nodes and all that they read, but for those in `shown` and what only these read."""
    feeds = (
        {item.index for item in node.inputs if item.source is Source.NODE and item.index not in shown} for node in nodes
    )
    return tuple(sorted(_closed(ends, dict(enumerate(feeds)))))


def _work(graph: Graph, nodes: Iterable[int]) -> int:
    made = (graph.nodes[n] for n in nodes)
    return sum(traits(node.kind).cost(node.shape, node.extent, node.program) for node in made)


def _bits(members: Iterable[int]) -> int:
    return sum(1 << n for n in members)


def _members(bits: int) -> set[int]:
    return {n for n in range(bits.bit_length()) if bits >> n & 1}
