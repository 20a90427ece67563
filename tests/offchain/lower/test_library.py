"""Library functions against C's libm in float64 (`scripts/ulp.py` does all 2^32 inputs), and C99 Annex F."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import special

from offchain.errors import Unsupported
from offchain.exec import reference
from offchain.exec.eager.program import run_program
from offchain.ir.graph import Input as NodeInput
from offchain.ir.graph import Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.ir.program import FULL, ProgramBuilder, Value
from offchain.lower import library
from tests.support.scripts import load_script

Array = np.ndarray[Any, Any]
NAN, INF = np.nan, np.inf
SPECIAL = [0.0, INF, NAN, 1.0, 1e-45, 1.1754942e-38, 1.1754944e-38, 3.4e38, 3.4028235e38, 1 - 2.0**-24, 1 + 2.0**-23]
EDGES = [88.72283, 88.72284, 87.33655, 103.97208, 103.97209, 9.010913, 3.9192059, 0.93, 0.5, 0.625, 2.0**25, 10.054]


ulp = load_script("ulp")


def run(f: Callable[..., Value], *inputs: Array) -> Array:
    """The program of `f` on every element, by the reference executor and by torch, whose bits must be equal."""
    dtypes = [DType.F32 if x.dtype == np.float32 else DType.I32 for x in inputs]
    shape = inputs[0].shape
    builder = ProgramBuilder(shape)
    result = f(*(builder.input(n, dtype, FULL) for n, dtype in enumerate(dtypes)))
    items = [
        NodeInput(Source.DATA, n, dtype, x.size, View.contiguous(shape))
        for n, (dtype, x) in enumerate(zip(dtypes, inputs, strict=True))
    ]
    node = Node(Kind.MAP, result.dtype, shape, tuple(items), program=builder.finish(result))
    wanted = reference.evaluate(node, list(inputs), 0)
    tensors = [torch.from_numpy(x) for x in inputs]
    got = reference.canonical(run_program(node, tensors, 0, torch.device("cpu")).broadcast_to(shape).numpy())
    np.testing.assert_array_equal(got.view(np.uint32), wanted.view(np.uint32))
    return wanted


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def samples() -> Array:
    rng = np.random.default_rng(0)
    words = ulp.as_floats(rng.integers(0, 1 << 32, 40_000, dtype=np.uint64))
    dense = [np.linspace(-110, 110, 20_001), np.linspace(-6, 6, 20_001), np.linspace(-1, 1, 10_001)]
    near_turns = np.rint(rng.uniform(-6e4, 6e4, 5_000)) * (np.pi / 2)
    ends = [SPECIAL, np.negative(SPECIAL), EDGES, np.negative(EDGES)]
    return ulp.as_floats(np.concatenate([words, *dense, near_turns, *ends]).astype(np.float32).view(np.uint32))


def _libm(f: Callable[..., float]) -> Callable[..., Array]:
    """A function of `math` whose domain errors are NaN and whose overflows are infinite."""

    def total(*args: float) -> float:
        try:
            return f(*args)
        except OverflowError:
            return math.copysign(INF, args[0]) if f is math.sinh else INF
        except ValueError:
            return NAN

    return np.vectorize(total, otypes=[np.float64])


TRUTH: dict[str, Callable[..., Array]] = {
    "exp": np.exp,
    "exp2": np.exp2,
    "expm1": np.expm1,
    "log": np.log,
    "log2": np.log2,
    "log10": np.log10,
    "log1p": np.log1p,
    "sigmoid": lambda x: np.where(x < 0, np.exp(x) / (1 + np.exp(x)), 1 / (1 + np.exp(-x))),
    "softplus": lambda x: np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))),
    "tanh": np.tanh,
    "sinh": _libm(math.sinh),
    "cosh": _libm(math.cosh),
    "asinh": _libm(math.asinh),
    "acosh": _libm(math.acosh),
    "atanh": np.arctanh,
    "sin": _libm(math.sin),
    "cos": _libm(math.cos),
    "tan": _libm(math.tan),
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "erf": _libm(math.erf),
    "erfc": _libm(math.erfc),
    "erfinv": lambda x: np.copysign(special.erfinv(x), x),
    "lgamma": special.gammaln,
    "digamma": special.digamma,
    "trigamma": lambda x: np.where(x < 0, np.nan, special.zeta(2.0, np.where(x == 0, 0.0, np.abs(x)))),
    "rsqrt": lambda x: 1 / np.sqrt(x),
    "atan2": np.arctan2,
    "hypot": np.hypot,
    "power": np.power,
}
EXACT: dict[str, Callable[[Array], Array]] = {
    "reciprocal": lambda x: 1 / x,
    "floor": np.floor,
    "ceil": np.ceil,
    "trunc": np.trunc,
}


def inputs_of(name: str) -> list[Array]:
    if ulp.FUNCTIONS[name].arity == 1:
        return [samples()]
    return list(next(ulp.chunks(2, 100_000, 5)))


def test_every_function_that_is_measured_is_tested() -> None:
    assert TRUTH.keys() == ulp.FUNCTIONS.keys()


@pytest.mark.parametrize("name", TRUTH)
def test_error_and_special_cases(name: str) -> None:
    """NaN, infinities and the signs of zeros count as infinite errors where they are wrong."""
    measured = ulp.FUNCTIONS[name]
    x = inputs_of(name)
    got = run(getattr(library, name), *x)
    with np.errstate(all="ignore"):
        exact = TRUTH[name](*(v.astype(np.float64) for v in x))
    error = np.empty(got.size)
    ulp.errors(got, exact, error)
    error[np.isfinite(x[0]) & (np.abs(x[0]) > measured.limit)] = 0
    error[x[0] < measured.least] = 0
    worst = error.argmax()
    assert error[worst] <= measured.bound, (error[worst], [v[worst] for v in x], got[worst], exact[worst])


@pytest.mark.parametrize("name", TRUTH)
def test_docstrings_state_the_bound(name: str) -> None:
    stated = re.search(r"; ([\d.]+) ulp", getattr(library, name).__doc__)
    assert stated and float(stated[1]) == ulp.FUNCTIONS[name].bound


@pytest.mark.parametrize("name", EXACT)
def test_correctly_rounded(name: str) -> None:
    x = samples()
    with np.errstate(all="ignore"):
        wanted = reference.canonical(EXACT[name](x))
    np.testing.assert_array_equal(run(getattr(library, name), x).view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize("name", TRUTH)
def test_programs_are_short(name: str) -> None:
    program = ulp.program_of(name, ulp.FUNCTIONS[name].arity)
    work = [i for i in program if i.op not in (Op.CONST_F32, Op.CONST_I32)]
    assert len(work) <= {"power": 140, "lgamma": 180, "digamma": 140}.get(name, 100)


LARGEST_TERM: dict[str, Callable[[Array], Array]] = {
    "lgamma": lambda x: np.abs(special.gammaln(x)),
    "digamma": lambda x: np.maximum(np.abs(special.digamma(-x)), np.pi / np.abs(np.tan(np.pi * x))) + 1 / np.abs(x),
    "trigamma": lambda x: np.square(np.pi / np.sin(np.pi * x)),
}


@pytest.mark.parametrize("name", LARGEST_TERM)
def test_gamma_functions_of_negative_numbers(name: str) -> None:
    rng = np.random.default_rng(0)
    x = np.concatenate([-rng.uniform(0, 40, 40_000), -np.exp(rng.uniform(-40, 6, 20_000))]).astype(np.float32)
    exact = ulp.FUNCTIONS[name].truth(torch.from_numpy(x).double()).numpy()
    error = np.abs(run(getattr(library, name), x) - exact) / (1 + LARGEST_TERM[name](x.astype(np.float64)))
    assert error.max() < 1e-6


@pytest.mark.parametrize("order", range(2, library.MOST_DERIVATIVES + 1))
def test_derivatives_of_digamma(order: int) -> None:
    function, rng = library.polygamma(order), np.random.default_rng(0)
    x = np.concatenate([rng.uniform(0, 40, 30_000), np.exp(rng.uniform(-12, 12, 30_000))]).astype(np.float32)
    sign, wide = (1 if order % 2 else -1), x.astype(np.float64)
    got, error = run(function, x), np.empty(x.size)
    ulp.errors(got, sign * math.factorial(order) * special.zeta(order + 1.0, wide), error)
    assert error.max() <= 2.5 * order
    below = -np.concatenate([rng.uniform(0, 40, 30_000), np.exp(rng.uniform(-12, 4, 30_000))]).astype(np.float32)
    exact = torch.polygamma(order, torch.from_numpy(below).double()).numpy()
    largest = math.factorial(order) * np.abs(np.pi / np.sin(np.pi * below.astype(np.float64))) ** (order + 1)
    assert (np.abs(run(function, below) - exact) / (1 + largest)).max() < 1e-6
    poles = floats(0.0, -0.0, -1.0, -2.0, -3e38, -INF, 1e-45)
    np.testing.assert_array_equal(run(function, poles), np.full(7, sign * INF, np.float32))
    np.testing.assert_array_equal(run(function, floats(-1e-45, INF, NAN)), floats(INF, 0.0, NAN))
    assert library.polygamma(order) is function  # equal programs are written once


def test_gamma_functions_at_their_poles() -> None:
    x = floats(0.0, -0.0, -1.0, -2.0, -3e38, -INF, -1e-45)
    np.testing.assert_array_equal(run(library.lgamma, x)[:6], np.full(6, INF))
    np.testing.assert_array_equal(run(library.digamma, x), floats(-INF, INF, NAN, NAN, NAN, NAN, INF))
    np.testing.assert_array_equal(run(library.trigamma, x), np.full(7, INF, np.float32))


def test_sines_of_large_numbers_are_sines_of_neighbours() -> None:
    x = samples()
    x = x[np.abs(x) > 1e5]
    finite, wide = np.isfinite(x), x.astype(np.float64)
    near = np.abs(x) < 1e7
    for f, truth in ((library.sin, np.sin), (library.cos, np.cos)):
        y = run(f, x)
        assert np.isnan(y[np.isinf(x)]).all()
        assert (np.abs(y[finite]) <= 1).all()
        assert (np.abs(y[near] - truth(wide[near])) <= 2 * np.spacing(np.abs(x[near]))).all()


# --- powers ------------------------------------------------------------------------------------------------------


def power(x: float, y: float) -> float:
    return float(run(library.power, floats(x), floats(y))[0])


@pytest.mark.parametrize(
    ("x", "y", "wanted"),
    [
        (NAN, 0.0, 1.0),
        (NAN, -0.0, 1.0),
        (1.0, NAN, 1.0),
        (1.0, INF, 1.0),
        (-1.0, INF, 1.0),
        (-1.0, -INF, 1.0),
        (NAN, 1.0, NAN),
        (2.0, NAN, NAN),
        (INF, NAN, NAN),
        (0.0, NAN, NAN),
        (-0.0, 3.0, -0.0),
        (-0.0, 2.0, 0.0),
        (-0.0, -3.0, -INF),
        (-0.0, -2.0, INF),
        (-0.0, 0.5, 0.0),
        (-0.0, -0.5, INF),
        (0.0, -INF, INF),
        (0.5, INF, 0.0),
        (0.5, -INF, INF),
        (2.0, INF, INF),
        (2.0, -INF, 0.0),
        (-INF, 3.0, -INF),
        (-INF, 2.0, INF),
        (-INF, 0.5, INF),
        (-INF, -3.0, -0.0),
        (-INF, -2.0, 0.0),
        (INF, -0.5, 0.0),
        (-8.0, 1 / 3, NAN),
        (-2.0, 3.0, -8.0),
        (-2.0, -2.0, 0.25),
        (-2.0, 1e30, INF),
        (2.0, -149.0, 2.0**-149),
        (2.0, -150.0, 0.0),
        (2.0, 128.0, INF),
        (1e-45, 1.0, 1e-45),
    ],
)
def test_power_of_special_cases(x: float, y: float, wanted: float) -> None:
    assert floats(power(x, y)).tobytes() == floats(wanted).tobytes()


@given(st.floats(width=32), st.floats(width=32))
def test_power_of_any_two_numbers(x: float, y: float) -> None:
    error = np.empty(1)
    with np.errstate(all="ignore"):
        ulp.errors(floats(power(x, y)), np.power(np.float64([x]), np.float64(y)), error)
    assert error[0] <= ulp.FUNCTIONS["power"].bound


# --- extrema ---------------------------------------------------------------------------------------------------


def test_extrema_and_nan() -> None:
    x, y = floats(1, NAN, -1, NAN, 0), floats(0, 0, 0, NAN, NAN)
    for f, wanted in (
        (library.maximum, [1, NAN, 0, NAN, NAN]),
        (library.minimum, [0, NAN, -1, NAN, NAN]),
        (library.fmax, [1, 0, 0, NAN, 0]),
        (library.fmin, [0, 0, -1, NAN, 0]),
    ):
        np.testing.assert_array_equal(run(f, x, y), floats(*wanted))
        np.testing.assert_array_equal(run(f, y, x), floats(*wanted))


def test_hypot_is_infinite_beside_nan() -> None:
    np.testing.assert_array_equal(run(library.hypot, floats(INF, NAN, NAN), floats(NAN, -INF, 1)), [INF, INF, NAN])


@pytest.mark.parametrize(("beta", "threshold"), [(1.0, 20.0), (2.0, 3.0), (-0.5, 1.0)])
def test_softplus_with_beta_and_threshold(beta: float, threshold: float) -> None:
    x = np.linspace(-40, 40, 4_001, dtype=np.float32)
    wanted = torch.nn.functional.softplus(torch.from_numpy(x).double(), beta, threshold).numpy()
    got = run(lambda v: library.softplus(v, beta, threshold), x)
    np.testing.assert_allclose(got, wanted, rtol=3e-6, atol=0)


# --- integers ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("divisor", [1, 2, 3, 7, 10, 641, 1797, 65536, 1_000_003, (1 << 31) - 1])
def test_integer_division_is_exact(divisor: int) -> None:
    rng = np.random.default_rng(1)
    edges = [-(1 << 31), (1 << 31) - 1, 0, -1, 1, divisor, -divisor, divisor - 1, 1 - divisor, -divisor - 1]
    x = np.concatenate([rng.integers(-(1 << 31), 1 << 31, 20_000), edges])
    words = np.clip(x, -(1 << 31), (1 << 31) - 1).astype(np.int32)
    wide = words.astype(np.int64)
    assert (run(lambda v: library.floor_divide(v, divisor), words) == wide // divisor).all()
    assert (run(lambda v: library.remainder(v, divisor), words) == wide % divisor).all()
    assert (run(lambda v: library.truncated_divide(v, divisor), words) == np.fix(wide / divisor)).all()
    assert (run(lambda v: library.truncated_remainder(v, divisor), words) == np.fmod(wide, divisor)).all()


def test_integer_division_may_wrap_inside_where_sums_must_not() -> None:
    builder = ProgramBuilder((1,), checked=True)
    x = builder.input(0, DType.I32, (-5, 1_000_000))
    assert library.floor_divide(x, 7).bounds == (-1, 142_857)
    assert library.remainder(x, 7).bounds == (0, 6)
    assert library.truncated_remainder(x, 7).bounds == (-5, 6)
    wide = builder.input(1, DType.I32, (-(1 << 30), 1 << 30))  # as int64 state is
    assert library.remainder(wide, 3).bounds == (0, 2)
    assert library.truncated_remainder(wide, 3).bounds == (-2, 2)
    with pytest.raises(Unsupported, match="do not fit int32"):
        _ = x * 1_000_000


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


# --- the script --------------------------------------------------------------------------------------------------


def test_script_measures_and_fails_where_a_bound_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["exp", "--sample", "300000"]
    assert ulp.main(arguments) == 0
    assert "exp" in capsys.readouterr().out
    monkeypatch.setitem(ulp.FUNCTIONS, "exp", ulp.Measured(torch.exp, 0.6))
    assert ulp.main(arguments) == 1
    with pytest.raises(SystemExit):
        ulp.main(["gamma"])
    assert "no function 'gamma'" in capsys.readouterr().err
