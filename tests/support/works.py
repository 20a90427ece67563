"""Tasks made by hand, small enough for the reference, with shapes for every turn of a dispute."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from typing import Any, Final

import numpy as np

from offchain.commit.roots import tensor_root
from offchain.dispute.replay import Ledger
from offchain.exec.base import Executor
from offchain.exec.make import make_executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.ir.primitives import DType, Instr, Op
from offchain.task import Task

F, I = DType.F32, DType.I32  # noqa: E741


@dataclass(frozen=True, eq=False)
class Work(Task):
    """A task with the names of its nodes and an executor. Each is equal only to itself."""

    names: dict[str, int] = field(default_factory=dict)

    __eq__ = object.__eq__
    __hash__ = object.__hash__

    @cached_property
    def ledger(self) -> Ledger:
        return Ledger(self.graph, self.constants, self.datasets)

    @cached_property
    def executor(self) -> Executor[Any]:
        return make_executor("torch", self.graph, self.constants, self.datasets)

    @property
    def points(self) -> range:
        """Numbers of the checkpoints; the last interval may be shorter."""
        return range(-(-self.steps // self.interval))

    def before(self, checkpoint: int) -> list[Array]:
        """The right state before the interval of a checkpoint; computed once."""
        while len(self._states) <= checkpoint:
            held, start = self.executor.load(self._states[-1]), (len(self._states) - 1) * self.interval
            for t in range(start, start + self.interval):
                held = self.executor.step(held, t)
            self._states.append(self.executor.dump(held))
        return self._states[checkpoint]

    @cached_property
    def _states(self) -> list[list[Array]]:
        return [list(self.state)]


COPY: Final = (Instr(Op.INPUT, 0),)


def whole(source: Source, index: int, dtype: DType, *shape: int) -> Input:
    """A tensor read in its own shape."""
    size = int(np.prod(shape))
    return Input(source, index, dtype, size, View.contiguous(shape))


def strided(source: Source, index: int, dtype: DType, length: int, shape: Sequence[int], *strides: int) -> Input:
    return Input(source, index, dtype, length, View.strided(tuple(shape), strides))


def finish(
    nodes: Sequence[Node], slots: Sequence[Slot], state: Sequence[Array], data: Sequence[Array], steps: int
) -> Work:
    graph = Graph(
        nodes=tuple(nodes),
        slots=tuple(slots),
        constants=(),
        constant_roots=(),
        datasets=tuple(TensorSpec(f"data{i}", F, (a.size,)) for i, a in enumerate(data)),
        dataset_roots=tuple(map(tensor_root, data)),
        metrics=("loss",),
    )
    check(graph)
    return Work(graph, (), tuple(data), tuple(state), steps)


# Numbers of the nodes of `every_kind`.
ROWS, BATCH, DOT, WIDE, SUM, MAX, SCATTER, NEW, LOG, PADDED = range(10)
LONG: Final = 2_100  # three chunks, and a sum of 64 segments that 64 does not divide


@cache
def every_kind(steps: int = 5, interval: int = 3, seed: int = 7) -> Work:
    """A small step with every kind of node, a tensor of three chunks, and a maximum that also reads padding."""
    rng = np.random.default_rng(seed)
    data = rng.standard_normal(24, dtype=np.float32)  # 8 rows of 3
    state = [rng.standard_normal(18, dtype=np.float32), np.zeros(24, np.float32), np.zeros(interval, np.float32)]
    rows = (Instr(Op.STEP), Instr(Op.INDEX, 0), Instr(Op.IADD, 0, 1), Instr.const(I, 7), Instr(Op.IAND, 2, 3))
    wave = (Instr(Op.INDEX, 0), Instr(Op.TO_FLOAT, 0), Instr(Op.INPUT, 0), Instr(Op.MUL, 1, 2))
    n = Source.NODE
    a, b = strided(n, BATCH, F, 12, (4, 6, 3), 3, 0, 1), strided(Source.STATE, 0, F, 18, (4, 6, 3), 0, 3, 1)
    long = whole(n, WIDE, F, LONG)
    beside = replace(
        whole(n, DOT, F, 24), view=View(0, (Axis(6, 0, 4), Axis(1, 0, 6)))
    )  # along k = 6 the view ends, and the maximum reads 0
    nodes = [
        Node(Kind.MAP, I, (4,), (), program=rows),
        Node(Kind.GATHER, F, (4, 3), (strided(Source.DATA, 0, F, 24, (4, 3, 8), 0, 1, 3),
                                      strided(n, ROWS, I, 4, (4, 3), 1, 0)), extent=8),
        Node(Kind.DOT, F, (4, 6), (a, b), extent=3, bits=21),
        Node(Kind.MAP, F, (LONG,), (strided(n, DOT, F, 24, (LONG,), 0),), program=wave),
        Node(Kind.SUM, F, (1,), (replace(long, view=View.strided((1, LONG), (0, 1))),), extent=LONG, bits=24),
        Node(Kind.MAX, F, (4,), (beside,), extent=7),
        Node(Kind.SCATTER_ADD, F, (8, 3), (strided(n, BATCH, F, 12, (8, 3, 4), 0, 1, 3),
                                           strided(n, ROWS, I, 4, (8, 3, 4), 0, 0, 1)), extent=4, bits=21),
        Node(Kind.MAP, F, (18,), (whole(Source.STATE, 0, F, 18), strided(n, SUM, F, 1, (18,), 0)),
             program=(Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(Op.STEP), Instr.const(I, -20 & 0xFFFFFFFF),
                      Instr(Op.LDEXP, 1, 3), Instr(Op.ADD, 0, 4))),
        Node(Kind.MAP, F, (interval, 1), (strided(n, SUM, F, 1, (interval, 1), 0, 0),), program=COPY),
        Node(Kind.MAP, F, (1_030,), (strided(n, DOT, F, 24, (1_030,), 0),), program=COPY),
    ]  # fmt: skip
    slots = [
        Slot(TensorSpec("w", F, (18,)), n, NEW),
        Slot(TensorSpec("kept", F, (24,)), Source.STATE, 1),
        Slot(TensorSpec("log", F, (interval, 1)), n, LOG),
    ]
    return finish(nodes, slots, state, [data], steps)


@cache
def many(count: int = 300) -> Work:
    """More than 256 nodes, and more than 256 slots."""
    state = [np.full(1, i, np.float32) for i in range(count)] + [np.zeros(1, np.float32)]
    program = (Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0))
    nodes = [Node(Kind.MAP, F, (1,), (whole(Source.STATE, i, F, 1),), program=program) for i in range(count)]
    slots = [Slot(TensorSpec(f"s{i}", F, (1,)), Source.NODE, i) for i in range(count)]
    slots.append(Slot(TensorSpec("log", F, (1, 1)), Source.NODE, 0))
    return finish(nodes, slots, state, [], 1)


@cache
def tall(length: int = 265_000) -> Work:
    """A slot of more than 256 chunks, written anew in every step."""
    wave = (Instr(Op.INDEX, 0), Instr(Op.TO_FLOAT, 0))
    nodes = [Node(Kind.MAP, F, (length,), (), program=wave)]
    slots = [Slot(TensorSpec("w", F, (length,)), Source.NODE, 0), Slot(TensorSpec("log", F, (1, 1)), Source.STATE, 1)]
    return finish(nodes, slots, [np.zeros(length, np.float32), np.zeros(1, np.float32)], [], 1)


@cache
def lengthy(steps: int = 600) -> Work:
    """One node, one slot beside the log, and an interval of more than 256 steps."""
    program = (Instr(Op.INPUT, 0), Instr(Op.STEP), Instr(Op.TO_FLOAT, 1), Instr(Op.ADD, 0, 2))
    item = strided(Source.STATE, 0, F, steps, (steps, 1), 0, 0)
    nodes = [Node(Kind.MAP, F, (steps, 1), (item,), program=program)]
    slots = [
        Slot(TensorSpec("x", F, (steps,)), Source.NODE, 0),
        Slot(TensorSpec("log", F, (steps, 1)), Source.NODE, 0),
    ]
    return finish(nodes, slots, [np.zeros(steps, np.float32), np.zeros(steps, np.float32)], [], steps)
