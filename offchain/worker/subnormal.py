"""How much longer operations take on subnormal numbers, on this machine, with a given executor.

Processors compute with subnormal numbers in microcode. A task whose values become subnormal after the steps of its
trial takes longer than its trial said (measured: multiplications 3.4 times, divisions 2.4 times as long). No trial
finds out which step that is; but how often it can happen in a step can be counted.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache
from math import prod
from statistics import median
from typing import Any, Final

import numpy as np

from offchain.dispute.replay import Ledger
from offchain.exec.base import UNLIMITED
from offchain.ir.graph import Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind, traits
from offchain.ir.primitives import DType, Instr, Op
from offchain.worker.making import ExecutorFactory, finish

LENGTH: Final = 1 << 17  # elements of a probe
CHAIN: Final = 8  # operations on each
REPEATS: Final = 5
LATE: Final = 1 << 20  # a step at which nobody cheats in tests
SUBNORMAL: Final = np.float32(1e-39)
F: Final = DType.F32
QUOTIENTS: Final = frozenset({Op.DIV, Op.SQRT})
PRODUCTS: Final = frozenset({Op.ADD, Op.SUB, Op.MUL, Op.LDEXP})


@dataclass(frozen=True, slots=True)
class Penalty:
    """Seconds by which an operation takes longer on a subnormal element: a product (or sum), a quotient (or root)."""

    product: float
    quotient: float

    def of(self, graph: Graph) -> float:
        """Seconds by which a step takes longer if everything in it that can be subnormal is."""
        return sum(map(self._of, graph.nodes))

    def _of(self, node: Node) -> float:
        if traits(node.kind).program:
            ops = [instr.op for instr in node.program]
            products, quotients = sum(op in PRODUCTS for op in ops), sum(op in QUOTIENTS for op in ops)
            return node.length * (products * self.product + quotients * self.quotient)
        scaled = traits(node.kind).scaled
        return self.product * sum(_distinct(node.inputs[position]) for position in scaled)


@cache
def measured(executors: ExecutorFactory) -> Penalty:
    """The penalty on this machine, measured once. Takes some milliseconds, and the compiling of two kernels."""
    return Penalty(_extra(executors, Op.MUL), _extra(executors, Op.DIV))


def _distinct(item: Input) -> int:
    """At most so many elements of its source are scaled; those that a view repeats are scaled once."""
    return min(item.length, prod(max(axis.hi - axis.lo, 0) for axis in item.view.axes if axis.stride))


def _extra(executors: ExecutorFactory, op: Op) -> float:
    graph = _probe(op)
    executor = executors(Ledger(graph, (), ()), UNLIMITED)
    one, log = np.ones(1, np.float32), np.zeros(1, np.float32)
    usual, small = (
        _seconds(executor, executor.load([np.full(LENGTH, value, np.float32), one, log]))
        for value in (np.float32(1.5), SUBNORMAL)
    )
    return max(0.0, small - usual) / (LENGTH * CHAIN)


def _seconds(executor: Any, state: Any) -> float:
    times = []
    for _ in range(REPEATS + 1):
        began = time.monotonic()
        executor.step(state, LATE)
        finish()
        times.append(time.monotonic() - began)
    return median(times[1:])


def _probe(op: Op) -> Graph:
    """Each element is multiplied with, or divided by, the number in the second slot, CHAIN times."""
    whole = Input(Source.STATE, 0, F, LENGTH, View.contiguous((LENGTH,)))
    factor = Input(Source.STATE, 1, F, 1, View.strided((LENGTH,), (0,)))
    chain = [Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(op, 0, 1)]
    chain += [Instr(op, n, 1) for n in range(2, CHAIN + 1)]
    node = Node(Kind.MAP, F, (LENGTH,), (whole, factor), program=tuple(chain))
    slots = (
        Slot(TensorSpec("w", F, (LENGTH,)), Source.NODE, 0),
        Slot(TensorSpec("factor", F, (1,)), Source.STATE, 1),
        Slot(TensorSpec("log", F, (1, 1)), Source.STATE, 2),
    )
    return Graph((node,), slots, (), (), (), (), ("loss",))
