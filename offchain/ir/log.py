"""The log, the last slot of every state: its canonical form, and which graphs read it otherwise.

A checkpoint can be served without its log's content, which proves its verifiers' diligence. So the first step of an
interval must read nothing of the old log. No shape shows that of a program, so one form is demanded: whatever is
read of the log is read by a gather, whose row numbers come from the program that `carried_rows` makes. In the first
step of every interval it names the row -1 everywhere, and a gather of row -1 reads 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache

from offchain.ir.division import remainder
from offchain.ir.graph import Graph, Input, Node, Source
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Program
from offchain.ir.program import ProgramBuilder


@lru_cache(maxsize=64)
def carried_rows(rows: int) -> Program:
    """For a map of shape (rows,): row i carries row i of the old log if i < t mod rows, and no row (-1) otherwise."""
    p = ProgramBuilder((rows,))
    return p.finish(p.index(0).lt(remainder(p.step(), rows)).where(p.index(0), -1))


def misread(graph: Graph, node: Node) -> Iterator[str]:
    """How a node reads the slot `log` in another form than the canonical one."""
    for position, item in enumerate(node.inputs):
        if _is_log(graph, item) and not (node.kind is Kind.GATHER and names_carried_rows(graph, node)):
            yield f"input {position} reads the log; only a gather by the rows that an interval has reached may read it"


def is_needed(graph: Graph) -> bool:
    """Whether the first step of an interval depends on the old log, so that no state without its content will do."""
    repeated = any((slot.source, slot.index) == (Source.STATE, len(graph.slots) - 1) for slot in graph.slots)
    return repeated or any(True for node in graph.nodes for _ in misread(graph, node))


def _is_log(graph: Graph, item: Input) -> bool:
    return (item.source, item.index) == (Source.STATE, len(graph.slots) - 1)


def names_carried_rows(graph: Graph, gather: Node) -> bool:
    """Whether all row numbers of a gather come from `carried_rows`. (Outside a view's range they would be 0.)"""
    item = gather.inputs[-1]
    if item.source is not Source.NODE or item.index >= len(graph.nodes):
        return False
    return _is_whole(item, gather.shape) and _is_carried(graph.nodes[item.index], graph.interval)


def _is_whole(item: Input, shape: Sequence[int]) -> bool:
    axes = item.view.axes
    return len(axes) == len(shape) and all((a.lo, a.hi) == (0, size) for a, size in zip(axes, shape, strict=True))


def _is_carried(node: Node, rows: int) -> bool:
    return node == Node(Kind.MAP, DType.I32, (rows,), (), program=carried_rows(rows))
