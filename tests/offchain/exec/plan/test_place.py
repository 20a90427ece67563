"""Buffers share the arena: those that live at the same time do not overlap, however many there are."""

from __future__ import annotations

from itertools import combinations
from time import process_time
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from offchain.exec.fused.engines import known_good
from offchain.exec.fused.planner import FusedPlanner
from offchain.exec.plan.planning import ALIGN, Buffer, Call, place
from offchain.exec.plan.shards import whole
from offchain.ir.graph import Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op

NODES = 4_000
WIDTH, CELLS = 16, 8  # of a state, and how many of its like lie in the tensor that all cells read
F32 = DType.F32
lives = st.tuples(st.integers(0, 5), st.integers(0, 12), st.integers(0, 6))


@given(st.lists(lives, max_size=20))
def test_each_lies_at_the_lowest_place_that_is_free_while_it_lives(drawn: list[tuple[int, int, int]]) -> None:
    buffers = [Buffer(ALIGN * size, first, first + long) for size, first, long in drawn]
    arena = place(buffers)
    placed: list[Buffer] = []
    for buffer in sorted(buffers, key=lambda b: -b.bytes):
        beside = [b for b in placed if not (b.last < buffer.first or buffer.last < b.first)]
        ends = sorted([0, *(b.place + b.bytes for b in beside)])
        free = [at for at in ends if not any(b.place < at + buffer.bytes and at < b.place + b.bytes for b in beside)]
        assert buffer.place == min(free)
        placed.append(buffer)
    assert arena == max((b.place + b.bytes for b in buffers), default=0)
    for a, b in combinations(buffers, 2):
        apart = a.last < b.first or b.last < a.first
        assert apart or a.place + a.bytes <= b.place or b.place + b.bytes <= a.place


def recurrence(nodes: int) -> Graph:
    """Each cell adds a row of a constant to what the cell before gave."""
    add = (Instr(Op.INPUT), Instr(Op.INPUT, 1), Instr(Op.ADD, 0, 1))
    made: list[Node] = []
    for n in range(nodes):
        view = View.strided((WIDTH,), (1,), WIDTH * (n % CELLS))
        row = Input(Source.CONST, 0, F32, WIDTH * CELLS, view)
        before = Input(*((Source.NODE, n - 1) if n else (Source.STATE, 0)), F32, WIDTH, View.contiguous((WIDTH,)))
        made.append(Node(Kind.MAP, F32, (WIDTH,), (before, row), program=add))
    slots = (
        Slot(TensorSpec("x", F32, (WIDTH,)), Source.NODE, nodes - 1),
        Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 1),
    )
    constants = (TensorSpec("rows", F32, (WIDTH * CELLS,)),)
    return Graph(tuple(made), slots, constants, (bytes(32),), (), (), ("loss",))


def planned(nodes: int) -> tuple[Any, float]:
    """The plan of so many nodes, and the processor time that it took."""
    part, engines = whole(recurrence(nodes)), known_good()
    before = process_time()
    plan = FusedPlanner(part, engines).make()
    return plan, process_time() - before


def test_planning_grows_with_the_nodes_and_no_faster() -> None:
    """Four times the nodes: a quadratic part would show as up to sixteen times the time.."""
    pairs = [(planned(NODES // 4)[1], planned(NODES)[1]) for _ in range(3)]
    assert min(large / small for small, large in pairs) < 8
    plan, _ = planned(NODES)
    assert len(plan.ends) == NODES
    assert len({call.kernel for call in plan.calls if isinstance(call, Call)}) == 1
