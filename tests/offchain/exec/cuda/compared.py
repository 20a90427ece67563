"""The CUDA executor beside the reference, in Triton's interpreter where there is no GPU. Skips without Triton."""

from __future__ import annotations

import os
from collections.abc import Sequence
from unittest.mock import patch

import numpy as np
import pytest
import torch

from offchain.exec.base import Setting
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import Array
from offchain.ir.graph import Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from tests.offchain.exec.cuda.interpreter import GPU, INTERPRETED
from tests.support.strategies import Case, over_state

with patch.dict(os.environ, INTERPRETED):  # holds for functions of ours, too, as it does for Triton's
    pytest.importorskip("triton")
    from offchain.exec.cuda import device  # noqa: F401
    from offchain.exec.cuda.executor import CudaExecutor
    from tests.support.ptx import Always

DEVICE = torch.device("cuda" if GPU else "cpu")
ENGINES = ["float64", "float32", "int8"]
F32, I32 = DType.F32, DType.I32
MARKS = [
    *([pytest.mark.gpu] if GPU else []),
    pytest.mark.filterwarnings("ignore::RuntimeWarning:triton"),  # NumPy's, in the interpreter
]


def words(arrays: Sequence[Array]) -> list[list[int]]:
    return [array.reshape(-1).view(np.uint32).tolist() for array in arrays]


def executor(case: Case, engine: str | None = None) -> CudaExecutor:
    tuner = None if engine is None else Always(engine, DEVICE)
    return CudaExecutor(case.graph, case.constants, case.datasets, Setting(str(DEVICE)), tuner)


def assert_same(case: Case, engine: str | None = None) -> None:
    truth, fast = ReferenceExecutor(case.graph, case.constants, case.datasets), executor(case, engine)
    slow_state, fast_state = truth.load(case.state), fast.load(case.state)
    assert words(list(fast.outputs(fast_state, case.t))) == words(list(truth.outputs(slow_state, case.t)))
    slow_next, fast_next = truth.step(slow_state, case.t), fast.step(fast_state, case.t)
    assert words(fast.dump(fast_next)) == words(truth.dump(slow_next))
    assert words(fast.dump(fast_state)) == words(case.state)


def dot(rows: int, columns: int, extent: int, bits: int, down: bool = False) -> Node:
    """A product of matrices; `down` has k as the farther axis of both in memory."""
    left = View.strided((rows, columns, extent), (1, 0, rows) if down else (extent, 0, 1))
    right = View.strided((rows, columns, extent), (0, 1, columns) if down else (0, extent, 1))
    reads = (Input(Source.STATE, 0, F32, rows * extent, left), Input(Source.STATE, 1, F32, columns * extent, right))
    return Node(Kind.DOT, F32, (rows, columns), reads, extent, bits)


def one_node() -> Case:
    return over_state([dot(2, 2, 3, 8)], [np.ones(6, np.float32), np.ones(6, np.float32)])
