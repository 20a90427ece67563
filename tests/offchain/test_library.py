"""Library expansions against float64: largest error in ulp on dense samples, and the special cases of C99 Annex F."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from offchain.exec.reference import evaluate
from offchain.ir.graph import Input as NodeInput
from offchain.ir.graph import Kind, Node, Source, View
from offchain.ir.primitives import DType, Instr, Op
from offchain.ir.program import FULL, ProgramBuilder, Value
from offchain.lower import library

Array = np.ndarray[Any, Any]
SPECIAL = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 1e-45, -1e-45, 1.1754944e-38, 3.4e38, -3.4e38]
EDGES = [88.72283, 88.72284, -87.33655, -103.97208, -103.97209, 9.010913, 3.9192059, 0.93, 0.55]


def run(f: Callable[..., Value], x: Array) -> Array:
    """The program of `f` on every element, by the reference executor."""
    dtype = DType.F32 if x.dtype == np.float32 else DType.I32
    builder = ProgramBuilder(x.shape)
    result = f(builder.input(0, dtype, FULL))
    item = NodeInput(Source.DATA, 0, dtype, x.size, View.contiguous(x.shape))
    node = Node(Kind.MAP, result.dtype, x.shape, (item,), program=builder.finish(result))
    return evaluate(node, [x], 0)


def samples() -> Array:
    rng = np.random.default_rng(0)
    words = rng.integers(0, 1 << 32, 60_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    dense = [np.linspace(-110, 110, 40_001), np.linspace(-6, 6, 40_001), np.linspace(-1, 1, 20_001)]
    with np.errstate(invalid="ignore"):  # signalling NaN among the words
        x = np.concatenate([words, *dense, SPECIAL, EDGES, np.negative(EDGES)]).astype(np.float32)
    x[np.isnan(x)] = np.nan
    return x


def _sigmoid(x: Array) -> Array:
    return np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x)))


def _erf(x: Array) -> Array:
    return torch.erf(torch.from_numpy(x)).numpy()


BOUNDS: dict[str, tuple[Callable[[Array], Array], float]] = {
    "exp": (np.exp, 1.0),
    "expm1": (np.expm1, 1.6),
    "log": (np.log, 1.0),
    "log1p": (np.log1p, 2.5),
    "tanh": (np.tanh, 2.2),
    "sigmoid": (_sigmoid, 2.5),
    "erf": (_erf, 1.6),
    "rsqrt": (lambda x: 1 / np.sqrt(x), 1.6),
    "reciprocal": (lambda x: 1 / x, 0.5),
    "floor": (np.floor, 0.0),
    "ceil": (np.ceil, 0.0),
    "trunc": (np.trunc, 0.0),
}


@pytest.mark.parametrize("name", BOUNDS)
def test_error_and_special_cases(name: str) -> None:
    truth, bound = BOUNDS[name]
    x = samples()
    y = run(getattr(library, name), x)
    with np.errstate(all="ignore"):
        exact = truth(x.astype(np.float64))
        rounded = exact.astype(np.float32)
    finite = np.isfinite(rounded) & np.isfinite(y)
    same = (rounded == y) | (np.isnan(rounded) & np.isnan(y))
    assert (finite | same).all(), x[~(finite | same)][:5]
    zeros = (rounded == 0) & (y == 0)
    assert (np.signbit(rounded[zeros]) == np.signbit(y[zeros])).all(), "signs of zeros"
    error = np.abs(y[finite].astype(np.float64) - exact[finite]) / np.spacing(np.abs(rounded[finite]))
    assert error.max() <= bound, (error.max(), x[finite][error.argmax()])


@pytest.mark.parametrize("name", BOUNDS)
def test_programs_are_short(name: str) -> None:
    builder = ProgramBuilder((1,))
    program = builder.finish(getattr(library, name)(builder.input(0, DType.F32)))
    assert len([i for i in program if i.op not in (Op.CONST_F32, Op.CONST_I32)]) <= 64


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 10, 641, 1797, 65536, 1_000_003, (1 << 31) - 1])
def test_integer_division_is_exact(divisor: int) -> None:
    rng = np.random.default_rng(1)
    edges = [-(1 << 31), (1 << 31) - 1, 0, -1, 1, divisor, -divisor, divisor - 1, 1 - divisor, -divisor - 1]
    x = np.concatenate([rng.integers(-(1 << 31), 1 << 31, 20_000), edges])
    words = np.clip(x, -(1 << 31), (1 << 31) - 1).astype(np.int32)
    wide = words.astype(np.int64)
    assert (run(lambda v: library.floor_divide(v, divisor), words) == wide // divisor).all()
    assert (run(lambda v: library.remainder(v, divisor), words) == wide % divisor).all()


def test_maximum_and_minimum_keep_nan() -> None:
    x = np.array([1.0, np.nan, -1.0], np.float32)
    assert np.array_equal(run(lambda v: library.maximum(v, v.program.real(0)), x), [1, np.nan, 0], equal_nan=True)
    assert np.array_equal(run(lambda v: library.minimum(v.program.real(0), v), x), [0, np.nan, -1], equal_nan=True)


def test_simplification_keeps_signed_zeros_and_wrapping() -> None:
    builder = ProgramBuilder((1,))
    x, i = builder.input(0, DType.F32), builder.input(1, DType.I32)
    assert x * 1 == x
    assert x - 0 == x
    assert x + 0 != x  # -0 + 0 is +0
    assert i * 2 != i
    assert (i >> 16) & 0xFFFF == i.shr(16)
    assert builder.instr(builder.whole(3) * 5) == Instr.const(DType.I32, 15)
    assert (i & 7).lt(8).bounds == (1, 1)
