"""Legality: a refused example for each rule, beside graphs that pass."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given

from offchain.errors import IllegalGraph
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check, exact
from offchain.ir.primitives import DType, Instr, Op
from tests.support.strategies import Case, graphs

F32, I32 = DType.F32, DType.I32
F, N = Source.CONST, Source.NODE


def vector(source: Source, index: int, dtype: DType, length: int, *rest: Axis) -> Input:
    """A whole vector, with more axes behind."""
    return Input(source, index, dtype, length, View(0, (Axis(1, 0, length), *rest)))


def a_map(**changes: Any) -> Node:
    node = Node(Kind.MAP, F32, (4,), (vector(F, 0, F32, 4),), program=(Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0)))
    return replace(node, **changes)


def program(*code: Instr, dtype: DType = F32) -> Graph:
    return graph(a_map(program=code, dtype=dtype))


def graph(*made: Node, **changes: Any) -> Graph:
    """A graph over constants of 4 (f32), 12 (f32) and 3 (i32) elements, whose only slot is the log."""
    specs = (TensorSpec("c", F32, (4,)), TensorSpec("m", F32, (4, 3)), TensorSpec("i", I32, (3,)))
    log = Slot(TensorSpec("log", F32, (2, 1)), Source.STATE, 0)
    whole = Graph(made, (log,), specs, (bytes(32),) * 3, (TensorSpec("d", F32, (5,)),), (bytes(32),), ("loss",))
    return replace(whole, **changes)


ROWS = Input(F, 1, F32, 12, View.strided((4, 3), (3, 1)))
INDEX = Input(F, 2, I32, 3, View.strided((4, 3), (0, 1)))


def a_sum(**changes: Any) -> Node:
    """Of the rows of the 4 by 3 constant."""
    return replace(Node(Kind.SUM, F32, (4,), (ROWS,), 3, 20), **changes)


def dot(**changes: Any) -> Node:
    """Products of the rows with each other."""
    left = Input(F, 1, F32, 12, View.strided((4, 4, 3), (3, 0, 1)))
    right = Input(F, 1, F32, 12, View.strided((4, 4, 3), (0, 3, 1)))
    return replace(Node(Kind.DOT, F32, (4, 4), (left, right), 3, 21), **changes)


def scatter(**changes: Any) -> Node:
    """Rows 0 to 3 of the sums of 3 values."""
    values = Input(F, 0, F32, 4, View.strided((4, 3), (0, 1)))
    return replace(Node(Kind.SCATTER_ADD, F32, (4,), (values, INDEX), 3, 20), **changes)


def test_the_good_ones_are_legal() -> None:
    rows = replace(INDEX, view=View.strided((3, 3), (0, 1)))
    gather = Node(Kind.GATHER, I32, (3,), (rows, vector(F, 2, I32, 3)), 3)
    for good in (a_map(), a_sum(), dot(), scatter(), Node(Kind.MAX, F32, (4,), (ROWS,), 3), gather):
        check(graph(good))


@given(graphs())
def test_drawn_graphs_are_legal(case: Case) -> None:
    check(case.graph)


def changed(item: Input, **changes: Any) -> Input:
    return replace(item, **changes)


def reads(view: View, shape: tuple[int, ...] = (4,)) -> Graph:
    """A map of the constant of 4 elements through a view."""
    return graph(a_map(shape=shape, inputs=(changed(WHOLE, view=view),)))


CANONICAL = "not in canonical form"
S = (1 << 32) - 1
X, ADD = Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0)
WHOLE = vector(F, 0, F32, 4)

ILLEGAL: dict[str, tuple[Callable[[], Graph], str]] = {
    # shape and extent
    "empty dimension": (lambda: graph(a_map(shape=(0,))), "at least 1"),
    "nine dimensions": (lambda: graph(a_map(shape=(1,) * 9)), "at most 8 dimensions"),
    "too many elements": (lambda: graph(a_map(shape=(2**20, 2**20))), "are above"),
    "map with extent": (lambda: graph(a_map(extent=1)), "extent 1 is not allowed"),
    "sum without extent": (lambda: graph(a_sum(extent=0)), "extent 0 is not allowed"),
    "extent too long": (lambda: graph(a_sum(extent=2**31)), "is not allowed here"),
    # inputs
    "17 inputs": (lambda: graph(a_map(inputs=(WHOLE,) * 17)), "17 inputs are above 16"),
    "dot of one operand": (lambda: graph(dot(inputs=dot().inputs[:1])), "takes 2 inputs, has 1"),
    "sum of integers": (lambda: graph(a_sum(inputs=(INDEX,))), "input 0 is I32, must be F32"),
    "reads itself": (lambda: graph(a_map(inputs=(vector(N, 0, F32, 4),))), "does not exist before it"),
    "reads no such slot": (lambda: graph(a_map(inputs=(vector(Source.STATE, 1, F32, 4),))), "reads state 1"),
    "reads no such data": (lambda: graph(a_map(inputs=(vector(Source.DATA, 1, F32, 5),))), "reads data 1"),
    "misstated length": (lambda: graph(a_map(inputs=(changed(WHOLE, length=5),))), "misstates"),
    "misstated dtype": (lambda: graph(a_map(inputs=(changed(WHOLE, dtype=I32),))), "misstates"),
    # views
    "axis missing": (lambda: graph(a_map(inputs=(changed(WHOLE, view=View(0, ())),))), "0 axes, must have 1"),
    "range beyond the shape": (
        lambda: graph(a_map(inputs=(changed(WHOLE, view=View(0, (Axis(0, 0, 5),))),))),
        "valid range outside",
    ),
    "range turned round": (
        lambda: graph(a_map(inputs=(changed(WHOLE, view=View(0, (Axis(0, 3, 2),))),))),
        "valid range outside",
    ),
    "reads past the end": (
        lambda: graph(a_map(inputs=(changed(WHOLE, view=View(1, (Axis(1, 0, 4),))),))),
        "outside its source",
    ),
    "reads before the start": (
        lambda: graph(a_map(inputs=(changed(WHOLE, view=View(2, (Axis(-1, 0, 4),))),))),
        "outside its source",
    ),
    "a stride where one coordinate is valid": (lambda: reads(View(4, (Axis(-1, 1, 2),))), CANONICAL),
    "a stride that leads far outside": (lambda: reads(View(-S + 4, (Axis(S, 1, 2),))), CANONICAL),
    "nothing, from somewhere": (lambda: reads(View(1, (Axis(0, 0, 0),))), CANONICAL),
    "nothing, at a stride": (lambda: reads(View(0, (Axis(1, 0, 0),))), CANONICAL),
    "nothing, behind a coordinate": (lambda: reads(View(0, (Axis(0, 2, 2),))), CANONICAL),
    "nothing along one axis": (lambda: reads(View(0, (Axis(0, 0, 0), Axis(1, 0, 2))), (2, 2)), CANONICAL),
    "strides beyond 2^53": (lambda: reads(View(0, (Axis(2**53, 0, 2), Axis(-(2**53), 0, 2))), (2, 2)), "2.53 or more"),
    "an offset beyond 2^53": (lambda: reads(View(2**53, (Axis(0, 0, 4),))), "2.53 or more"),
    "the least offset": (lambda: reads(View(-(2**63), (Axis(2**62, 2, 4),))), "2.53 or more"),
    # programs
    "sum with program": (lambda: graph(a_sum(program=(X,))), "only a map has a program"),
    "no program": (lambda: program(), "0 instructions"),
    "257 instructions": (lambda: program(X, *[ADD] * 256), "257 instructions"),
    "no such input": (lambda: program(Instr(Op.INPUT, 1)), "no input 1"),
    "no such dimension": (lambda: program(Instr(Op.INDEX, 1), dtype=I32), "no dimension 1"),
    "reads a later value": (lambda: program(X, Instr(Op.ADD, 0, 1)), "reads a later value"),
    "wrong operand type": (lambda: program(X, Instr(Op.IADD, 0, 0), dtype=I32), "operands are"),
    "branches differ": (
        lambda: program(X, Instr(Op.STEP), Instr(Op.SELECT, 1, 0, 1)),
        "branches differ",
    ),
    "unused operand": (lambda: program(X, Instr(Op.NEG, 0, 1)), "unused operands"),
    "constant with operand": (lambda: program(Instr(Op.CONST_F32, 1)), "unused operands"),
    "odd NaN constant": (lambda: program(Instr.const(F32, 0x7FC00001)), "not canonical"),
    "negative NaN constant": (lambda: program(Instr.const(F32, 0xFFC00000)), "not canonical"),
    "declared dtype": (lambda: program(X, dtype=I32), "result is F32, declared I32"),
    "sum declared as integers": (lambda: graph(a_sum(dtype=I32)), "result is F32, declared I32"),
    # bits
    "map with bits": (lambda: graph(a_map(bits=8)), "only sums have bits"),
    "one bit": (lambda: graph(a_sum(bits=1)), "1 bits, must be 2 to 31"),
    "32 bits": (lambda: graph(a_sum(bits=32)), "must be 2 to 31"),
    "28 bits in a dot": (lambda: graph(dot(bits=28)), "must be 2 to 27"),
    "dot not exact": (lambda: graph(dot(bits=27)), "is not exact at 27 bits"),
    # scatter_add
    "scatter without dimensions": (
        lambda: graph(
            scatter(
                shape=(),
                inputs=(
                    changed(WHOLE, view=View.strided((3,), (1,))),
                    changed(INDEX, view=View.strided((3,), (1,))),
                ),
            )
        ),
        "at least one dimension",
    ),
    "scatter of values that depend on the row": (
        lambda: graph(scatter(inputs=(changed(ROWS, view=View.strided((4, 3), (3, 1))), INDEX))),
        "may not depend on the row",
    ),
    "scatter by an index of rows": (
        lambda: graph(
            scatter(
                shape=(2,),
                extent=2,
                inputs=(
                    changed(WHOLE, view=View.strided((2, 2), (0, 1))),
                    changed(INDEX, view=View.strided((2, 2), (1, 1))),
                ),
            )
        ),
        "the index may depend on k only",
    ),
    # tensors and slots
    "no node": (lambda: graph(), "at least one node"),
    "no slot": (lambda: graph(a_map(), slots=()), "at least one node and one slot"),
    "empty dataset": (lambda: graph(a_map(), datasets=(TensorSpec("d", F32, (0,)),)), "dataset d"),
    "huge constant": (
        lambda: graph(a_map(), constants=(TensorSpec("c", F32, (2**20, 2**20)),)),
        "constant c",
    ),
    "no log": (lambda: with_slots(Slot(TensorSpec("x", F32, (2, 1)), Source.STATE, 0)), "last slot must be 'log'"),
    "log of integers": (
        lambda: with_slots(Slot(TensorSpec("log", I32, (2, 1)), Source.STATE, 0)),
        "last slot must be 'log'",
    ),
    "log of other metrics": (
        lambda: with_slots(Slot(TensorSpec("log", F32, (2, 2)), Source.STATE, 0)),
        "last slot must be 'log'",
    ),
    "two slots of one name": (lambda: with_slots(slot(), slot(), LOG), "the same name"),
    "empty slot": (lambda: with_slots(slot(shape=(0,)), LOG), "slot 0 .x.: empty"),
    "slot of data": (lambda: with_slots(slot(source=Source.DATA), LOG), "must repeat a node or a slot"),
    "slot of no node": (lambda: with_slots(slot(index=1), LOG), "repeats node 1, which does not exist"),
    "slot of another length": (lambda: with_slots(slot(shape=(5,)), LOG), "differs in dtype or length"),
    "slot of another dtype": (lambda: with_slots(slot(dtype=I32), LOG), "differs in dtype or length"),
}


LOG = Slot(TensorSpec("log", F32, (2, 1)), Source.STATE, 1)


def slot(dtype: DType = F32, shape: tuple[int, ...] = (4,), source: Source = Source.NODE, index: int = 0) -> Slot:
    return Slot(TensorSpec("x", dtype, shape), source, index)


def with_slots(*slots: Slot) -> Graph:
    return graph(a_map(), slots=slots)


@pytest.mark.parametrize("name", ILLEGAL)
def test_illegal_graph_is_refused(name: str) -> None:
    make, reason = ILLEGAL[name]
    with pytest.raises(IllegalGraph, match=reason):
        check(make())


def test_exact_is_the_bound_of_the_design() -> None:
    assert exact(Kind.DOT, 21, 2**13)
    assert not exact(Kind.DOT, 21, 2**13 + 1)
    assert exact(Kind.DOT, 27, 2)
    assert exact(Kind.SUM, 31, 2**23)
    assert not exact(Kind.SUM, 31, 2**23 + 1)
