"""Nodes that differ by where they read alone are one kernel, which is given where each of them begins."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from offchain.exec.base import Setting
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op

F32, I32 = DType.F32, DType.I32
ROWS, WIDTH, TIMES = 3, 8, 5
LENGTH = ROWS * WIDTH * TIMES
COPY = (Instr(Op.INPUT),)


def reading(source: Source, view: View, dtype: DType = F32) -> Input:
    return Input(source, 0, dtype, LENGTH, view)


def rows_of(time: int, source: Source) -> Input:
    """(ROWS, WIDTH) of one time step of (ROWS, TIMES, WIDTH)."""
    return reading(source, View.strided((ROWS, WIDTH), (TIMES * WIDTH, 1), time * WIDTH))


def shifted(time: int, source: Source) -> Input:
    """(ROWS, WIDTH) of which the first column is a zero, the second that of this time step."""
    view = View(time * WIDTH - 1, (Axis(TIMES * WIDTH, 0, ROWS), Axis(1, 1, WIDTH)))
    return reading(source, view)


def along(time: int, source: Source, dtype: DType = F32) -> Input:
    """k, of one time step."""
    view = View(time * WIDTH, (Axis(TIMES * WIDTH, 0, ROWS), Axis(1, 0, WIDTH)))
    return reading(source, view, dtype)


def matrix(time: int, source: Source, *, second: bool) -> Input:
    """An operand of a (ROWS, ROWS) product over the columns of one time step."""
    strides = (0, TIMES * WIDTH, 1) if second else (TIMES * WIDTH, 0, 1)
    return reading(source, View.strided((ROWS, ROWS, WIDTH), strides, time * WIDTH))


def index(time: int) -> Input:
    """Which of k each of the rows takes: numbers, of which some are outside."""
    return Input(Source.DATA, 1, I32, LENGTH, View.strided((ROWS,), (TIMES * WIDTH,), time * WIDTH))


def cells(kind: Kind, source: Source) -> list[Node]:
    """A node for each time step."""
    return [_cell(kind, time, source) for time in range(TIMES)]


def _cell(kind: Kind, time: int, source: Source) -> Node:
    if kind is Kind.MAP:
        both = (rows_of(time, source), shifted(time, source))
        return Node(kind, F32, (ROWS, WIDTH), both, program=(Instr(Op.INPUT), Instr(Op.INPUT, 1), Instr(Op.ADD, 0, 1)))
    if kind is Kind.DOT:
        both = (matrix(time, source, second=False), matrix(time, source, second=True))
        return Node(kind, F32, (ROWS, ROWS), both, WIDTH, 21)
    if kind is Kind.GATHER:
        return Node(kind, F32, (ROWS,), (along(time, source), index(time)), WIDTH)
    if kind is Kind.SCATTER_ADD:
        at = View.strided((ROWS, ROWS, WIDTH), (0, 0, 1), time * WIDTH)
        terms = matrix(time, source, second=True)
        return Node(kind, F32, (ROWS, ROWS), (terms, Input(Source.DATA, 1, I32, LENGTH, at)), WIDTH, 21)
    return Node(kind, F32, (ROWS,), (along(time, source),), WIDTH, 21 if kind is Kind.SUM else 0)


def graph_of(nodes: Sequence[Node]) -> Graph:
    state = Slot(TensorSpec("x", F32, (LENGTH,)), Source.STATE, 0)
    last = Slot(TensorSpec("last", F32, (nodes[-1].length,)), Source.NODE, len(nodes) - 1)
    log = Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 2)
    data = (TensorSpec("x", F32, (LENGTH,)), TensorSpec("i", I32, (LENGTH,)))
    return Graph(tuple(nodes), (state, last, log), (), (), data, (bytes(32),) * 2, ("loss",))


def outputs(executor: Callable[..., Any], graph: Graph, setting: Setting) -> list[Array]:
    numbers = np.random.default_rng(0)
    data = numbers.standard_normal(LENGTH).astype(np.float32)
    columns = numbers.integers(-1, WIDTH + 1, LENGTH).astype(np.int32)
    state = [data[::-1].copy(), np.zeros(graph.nodes[-1].length, np.float32), np.zeros(1, np.float32)]
    made = executor(graph, [], [data, columns], setting)
    return list(made.outputs(made.load(state), 0))


@pytest.mark.parametrize("source", [Source.DATA, Source.STATE])
@pytest.mark.parametrize("kind", list(Kind))
def test_time_steps_share_kernels(kind: Kind, source: Source) -> None:
    counts: list[int] = []

    def made(nodes: Sequence[Node]) -> list[Array]:
        graph = graph_of(nodes)
        found = outputs(FusedExecutor, graph, Setting(watch=lambda done, of: counts.append(of)))
        for one, other in zip(found, outputs(ReferenceExecutor, graph, Setting()), strict=True):
            assert one.view(np.uint32).tolist() == other.view(np.uint32).tolist()
        return found

    every = cells(kind, source)
    made(every[1:2])
    alone = counts[-1]
    assert len({array.tobytes() for array in made(every)}) == TIMES
    assert counts[-1] == alone
