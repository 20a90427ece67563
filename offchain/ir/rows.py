"""Slots of outputs: the form in which a step writes its row of an interval, and every later step keeps it.

No shape shows that of a program, so one form is known: that in which programs are lowered. Of a graph that writes its
rows otherwise nothing is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from offchain.ir.division import remainder
from offchain.ir.graph import Graph, Input, Node, Source
from offchain.ir.kinds import Kind
from offchain.ir.log import names_carried_rows
from offchain.ir.primitives import Instr, Op
from offchain.ir.program import ProgramBuilder, Value


def is_row(p: ProgramBuilder, rows: int) -> Value:
    """For a map whose first axis has a row for each of an interval's steps: whether a row is that of step t."""
    return p.index(0).eq(remainder(p.step(), rows))


def keeps_rows(graph: Graph, slot: int, steps: int) -> bool:
    """Whether row t mod c of a slot is what step t wrote, after each later step of its interval of c steps.

    True only for the form in which programs are lowered: of a row that is not the step's own, a map gives what a gather
    carries over from the slot before. `steps`: of the task.
    """
    spec, number = graph.slots[slot].spec, graph.slots[slot].index
    if graph.slots[slot].source is not Source.NODE or spec.shape[:1] != (graph.interval,):
        return False
    node, rows, columns = graph.nodes[number], spec.shape[0], prod(spec.shape[1:])
    if node.kind is not Kind.MAP or node.shape not in ((rows, columns), (rows,)) or prod(node.shape) != rows * columns:
        return False
    _, kept = _branches(node, rows, steps)
    if kept is None or kept.source is not Source.NODE or not _reads(kept, node.shape, (columns, 1)):
        return False
    return _carries(graph, graph.nodes[kept.index], slot, (rows, columns))


def own_row(graph: Graph, slot: int, steps: int) -> int | None:
    """The node whose output is, as it is, the row that a step writes to a slot that keeps its rows; None: not known."""
    if not keeps_rows(graph, slot, steps):
        return None
    node, rows = graph.nodes[graph.slots[slot].index], graph.interval
    own, _ = _branches(node, rows, steps)
    if own is None or own.source is not Source.NODE or own.length * rows != node.length:
        return None
    return own.index if _reads(own, node.shape, (0, 1)) else None


def _branches(node: Node, rows: int, steps: int) -> tuple[Input | None, Input | None]:
    """What a map gives, element by element, of the row that is the step's own, and of each other one."""
    p, last = replayed(node, steps)
    own = is_row(p, rows)
    if last.op is not Op.SELECT or last.a != own.id:
        return None, None
    branches = p.instrs[last.b], p.instrs[last.c]
    written, kept = (node.inputs[each.a] if each.op is Op.INPUT else None for each in branches)
    return written, kept


def replayed(node: Node, steps: int) -> tuple[ProgramBuilder, Instr]:
    """A map's program, written again, and the instruction that gives its result. `steps`: of the task."""
    p = ProgramBuilder(node.shape, steps)
    return p, p.instr(p.repeat(node.program, lambda number: p.input(number, node.inputs[number].dtype), p.index))


def _carries(graph: Graph, gather: Node, slot: int, shape: tuple[int, int]) -> bool:
    """Whether a node holds those of a slot's rows that belong to the steps of the interval so far, where they were."""
    rows, columns = shape
    if (gather.kind, gather.shape, gather.extent) != (Kind.GATHER, shape, rows):
        return False
    table = gather.inputs[0]
    old = (table.source, table.index) == (Source.STATE, slot) and _reads(table, (*shape, rows), (0, 1, columns))
    return old and names_carried_rows(graph, gather) and _reads(gather.inputs[1], shape, (1, 0))


def _reads(item: Input, shape: Sequence[int], strides: Sequence[int]) -> bool:
    """Whether an input is read in a shape by these strides, all of it inside. An axis of one element has any stride."""
    axes = item.view.axes
    inside = len(axes) == len(shape) and all((a.lo, a.hi) == (0, n) for a, n in zip(axes, shape, strict=True))
    steps = zip(axes, shape, strides, strict=False)
    return inside and item.view.offset == 0 and all(n == 1 or a.stride == stride for a, n, stride in steps)
