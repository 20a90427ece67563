"""How fast this machine computes: one matrix product, by the executor that a worker would use."""

from __future__ import annotations

import time
from typing import Final

import numpy as np

from offchain.dispute.replay import Ledger
from offchain.exec.base import UNLIMITED
from offchain.ir.graph import Graph, Input, Node, Slot, Source, TensorSpec, View, work_units
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.worker.making import ExecutorFactory, finish

SIDE: Final = 512  # of the matrix
BITS: Final = 13
SECONDS: Final = 0.5  # of measuring


def product() -> Graph:
    """A step that squares a matrix in its state."""
    size = SIDE * SIDE
    a, b = (
        Input(Source.STATE, 0, DType.F32, size, View.strided((SIDE, SIDE, SIDE), strides))
        for strides in ((SIDE, 0, 1), (0, 1, SIDE))
    )
    node = Node(Kind.DOT, DType.F32, (SIDE, SIDE), (a, b), extent=SIDE, bits=BITS)
    slots = (
        Slot(TensorSpec("w", DType.F32, (size,)), Source.NODE, 0),
        Slot(TensorSpec("log", DType.F32, (1, 1)), Source.STATE, 1),
    )
    return Graph((node,), slots, (), (), (), (), ("loss",))


def units_a_second(executors: ExecutorFactory) -> float:
    """Units of work (`ir.graph.work_units`) a second; of a product, multiply-accumulates.

    The executor is first compared with the definition, bit for bit. Raises OffchainError where it differs.
    """
    graph = product()
    executor = executors(Ledger(graph, (), ()), UNLIMITED)
    matrix = np.full(SIDE * SIDE, 1 / SIDE, np.float32)  # its own square
    state = executor.step(executor.load([matrix, np.zeros(1, np.float32)]), 0)  # compiles
    finish()
    began, steps = time.monotonic(), 0
    while time.monotonic() < began + SECONDS:
        state = executor.step(state, 0)
        finish()
        steps += 1
    return steps * work_units(graph) / (time.monotonic() - began)
