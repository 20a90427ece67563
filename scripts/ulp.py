#!/usr/bin/env python3
"""Measures the library functions of offchain.lower against float64, at every one of the 2^32 inputs or a sample.

The error is real-valued and strict: |got − exact| divided by the distance of float32 numbers in the binade of the
exact value. A NaN, an infinity or a signed zero in the wrong place counts as an infinite error. `exact` is float64's
libm, whose own error (below 1 ulp of float64) is 2^-29 of the ulp measured here.
"""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.exec.reference import evaluate  # noqa: E402
from offchain.ir.graph import Input, Kind, Node, Source, View  # noqa: E402
from offchain.ir.primitives import DType, Op, Program  # noqa: E402
from offchain.ir.program import ProgramBuilder, signed  # noqa: E402
from offchain.lower import library  # noqa: E402

Array = np.ndarray[Any, Any]
CHUNK = 1 << 22
WORDS = 1 << 32
F32 = DType.F32


# --- the functions and what they should be -----------------------------------------------------------------------


def _sigmoid(x: float) -> float:
    e = math.exp(-abs(x))
    return (1.0 if x >= 0 else e) / (1.0 + e) if x == x else x


def _softplus(x: float) -> float:
    return max(x, 0.0) + math.log1p(math.exp(-abs(x))) if x == x else x


def _log1p(x: float) -> float:
    return math.log1p(x) if x > -1 else -math.inf if x == -1 else math.nan


def _atanh(x: float) -> float:
    return math.atanh(x) if abs(x) < 1 else math.copysign(math.inf, x) if abs(x) == 1 else math.nan


def _rsqrt(x: float) -> float:
    return 1 / math.sqrt(x) if x > 0 else math.copysign(math.inf, x) if x == 0 else math.nan


def _log(f: Callable[[float], float]) -> Callable[[float], float]:
    """libm's poles and domain errors, which Python makes exceptions."""
    f = njit(f, error_model="numpy")

    def total(x: float) -> float:
        return f(x) if x > 0 else -math.inf if x == 0 else math.nan

    return total


@dataclass(frozen=True)
class Measured:
    """A function, its value in float64, the bound on its error in ulp, and the largest |x| for which that holds."""

    truth: Callable[..., float]
    bound: float
    limit: float = math.inf
    arity: int = 1


def _pow(x: float, y: float) -> float:
    return x**y


FUNCTIONS: dict[str, Measured] = {
    "exp": Measured(lambda x: math.exp(x), 1.0),
    "expm1": Measured(lambda x: math.expm1(x), 2.0),
    "log": Measured(_log(lambda x: math.log(x)), 1.0),
    "log1p": Measured(_log1p, 2.0),
    "log2": Measured(_log(lambda x: math.log2(x)), 1.0),
    "log10": Measured(_log(lambda x: math.log10(x)), 1.0),
    "exp2": Measured(lambda x: 2.0**x, 1.5),
    "rsqrt": Measured(_rsqrt, 2.0),
    "tanh": Measured(lambda x: math.tanh(x), 2.0),
    "sigmoid": Measured(_sigmoid, 2.0),
    "softplus": Measured(_softplus, 2.0),
    "erf": Measured(lambda x: math.erf(x), 1.5),
    "sin": Measured(lambda x: math.sin(x), 2.0, 1e5),
    "cos": Measured(lambda x: math.cos(x), 2.0, 1e5),
    "tan": Measured(lambda x: math.tan(x), 4.0, 1e5),
    "atan": Measured(lambda x: math.atan(x), 2.0),
    "asin": Measured(lambda x: math.asin(x) if abs(x) <= 1 else math.nan, 2.0),
    "acos": Measured(lambda x: math.acos(x) if abs(x) <= 1 else math.nan, 2.0),
    "sinh": Measured(lambda x: math.sinh(x), 2.0),
    "cosh": Measured(lambda x: math.cosh(x), 2.0),
    "asinh": Measured(lambda x: math.asinh(x), 3.0),
    "acosh": Measured(lambda x: math.acosh(x) if x >= 1 else math.nan, 3.0),
    "atanh": Measured(_atanh, 3.0),
    "erfc": Measured(lambda x: math.erfc(x), 4.0),
    "atan2": Measured(lambda y, x: math.atan2(y, x), 3.0, arity=2),
    "hypot": Measured(lambda x, y: math.hypot(x, y), 1.5, arity=2),
    "power": Measured(_pow, 16.0, arity=2),
}


# --- evaluation --------------------------------------------------------------------------------------------------

_EXPRESSIONS: dict[Op, str] = {
    Op.ADD: "{0} + {1}",
    Op.SUB: "{0} - {1}",
    Op.MUL: "{0} * {1}",
    Op.DIV: "{0} / {1}",
    Op.SQRT: "np.sqrt({0})",
    Op.NEG: "-{0}",
    Op.ABS: "abs({0})",
    Op.RINT: "np.rint({0})",
    Op.LDEXP: "ldexp({0}, {1})",
    Op.EQ: "i32({0} == {1})",
    Op.LT: "i32({0} < {1})",
    Op.LE: "i32({0} <= {1})",
    Op.TO_INT: "to_int({0})",
    Op.TO_FLOAT: "f32({0})",
    Op.BITS: "bits({0})",
    Op.FROM_BITS: "from_bits({0})",
    Op.IADD: "i32({0} + {1})",
    Op.ISUB: "i32({0} - {1})",
    Op.IMUL: "i32({0} * {1})",
    Op.IAND: "i32({0} & {1})",
    Op.IOR: "i32({0} | {1})",
    Op.IXOR: "i32({0} ^ {1})",
    Op.SHL: "i32(i64({0}) << ({1} & 31))",
    Op.SHR: "i32((i64({0}) & 0xFFFFFFFF) >> ({1} & 31))",
    Op.SAR: "i32(i64({0}) >> ({1} & 31))",
    Op.IEQ: "i32({0} == {1})",
    Op.ILT: "i32({0} < {1})",
    Op.SELECT: "select({0}, {1}, {2})",
}


@njit
def _bits(x: Any) -> Any:
    return np.int32(0x7FC00000) if x != x else np.float32(x).view(np.int32)


@njit
def _from_bits(n: Any) -> Any:
    return np.int32(n).view(np.float32)


@njit
def _select(chosen: Any, yes: Any, no: Any) -> Any:
    return yes if chosen != 0 else no


@njit
def _ldexp(x: Any, n: Any) -> Any:
    power = (np.int64(min(max(n, -400), 400)) + 1023) << 52
    return np.float32(np.float64(x) * np.int64(power).view(np.float64))


@njit
def _to_int(x: Any) -> Any:
    if x != x:
        return np.int32(0)
    return np.int32(min(max(np.float64(x), -2147483648.0), 2147483647.0))


def compiled(program: Program, arity: int) -> Callable[..., None]:
    """`f(x…, out)`: the program on flat float32 arrays, as one loop in machine code."""
    names = [f"x{n}" for n in range(arity)]
    lines = [f"def run({', '.join(names)}, out):", "    for i in range(out.size):"]
    for n, instr in enumerate(program):
        if instr.op is Op.INPUT:
            text = f"x{instr.a}[i]"
        elif instr.op is Op.CONST_F32:
            text = f"from_bits(i32({signed(instr.word)}))"
        elif instr.op is Op.CONST_I32:
            text = f"i32({signed(instr.word)})"
        else:
            text = _EXPRESSIONS[instr.op].format(*(f"v{arg}" for arg in instr.args))
        lines.append(f"        v{n} = {text}")
    lines.append(f"        out[i] = v{len(program) - 1}")
    scope = {"np": np, "f32": np.float32, "i32": np.int32, "i64": np.int64}
    scope |= {"bits": _bits, "ldexp": _ldexp, "from_bits": _from_bits, "to_int": _to_int, "select": _select}
    exec("\n".join(lines), scope)
    return njit(scope["run"], error_model="numpy")  # type: ignore[no-any-return]


def program_of(name: str, arity: int) -> Program:
    builder = ProgramBuilder((1,))
    return builder.finish(getattr(library, name)(*(builder.input(n, F32) for n in range(arity))))


def by_reference(program: Program, inputs: Sequence[Array]) -> Array:
    """The same by the reference executor."""
    shape = inputs[0].shape
    items = tuple(Input(Source.DATA, n, F32, x.size, View.contiguous(shape)) for n, x in enumerate(inputs))
    return evaluate(Node(Kind.MAP, F32, shape, items, program=program), list(inputs), 0)


# --- errors ------------------------------------------------------------------------------------------------------


@njit
def _ulp_error(got: float, exact: float) -> float:
    if exact != exact or got != got:
        return 0.0 if exact != exact and got != got else math.inf
    if got == 0 and math.copysign(1.0, got) != math.copysign(1.0, exact):
        return math.inf
    if math.isinf(got) and abs(exact) >= 2.0**128 - 2.0**103:
        return 0.0 if (got > 0) == (exact > 0) else math.inf
    top = 2.0**128  # an infinity in place of a number near the largest is that far away
    got, exact = min(max(got, -top), top), min(max(exact, -top), top)
    exponent = math.frexp(exact)[1] - 1 if exact != 0 else -126
    return abs(got - exact) / math.ldexp(1.0, min(max(exponent, -126), 127) - 23)


def worst(truth: Callable[..., float], arity: int) -> Callable[..., tuple[float, int]]:
    """`f(x…, got, limit)`: the largest error of `got` in ulp and where, among |x| <= limit (NaN and inf included)."""
    names = [f"x{n}" for n in range(arity)]
    text = f"""
def scan({", ".join(names)}, got, limit):
    most, at = -1.0, 0
    for i in range(got.size):
        if limit < abs(x0[i]) < math.inf:
            continue
        error = ulp_error(np.float64(got[i]), truth({", ".join(f"np.float64({name}[i])" for name in names)}))
        if error > most:
            most, at = error, i
    return most, at
"""
    scope = {"np": np, "math": math, "ulp_error": _ulp_error, "truth": njit(truth, error_model="numpy")}
    exec(text, scope)
    return njit(scope["scan"])  # type: ignore[no-any-return]


# --- inputs ------------------------------------------------------------------------------------------------------


def as_floats(words: Array) -> Array:
    """float32 with these bits, every NaN canonical."""
    x = words.astype(np.uint32).view(np.float32).copy()
    x[np.isnan(x)] = np.nan
    return x


def chunks(arity: int, count: int, seed: int) -> Iterator[list[Array]]:
    """All words in order where `count` is 2^32 and there is one input, else a random sample with special cases."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, CHUNK):
        size = min(CHUNK, count - start)
        if arity == 1 and count == WORDS:
            yield [as_floats(np.arange(start, start + size, dtype=np.int64))]
        elif arity == 1:
            yield [as_floats(rng.integers(0, WORDS, size, dtype=np.uint64))]
        else:
            yield pairs(rng, size)


SPECIAL = [0.0, 1.0, 2.0, 3.0, 0.5, 1e-45, 1.1754944e-38, 3.4028235e38, np.inf, 1 - 2.0**-24, 1 + 2.0**-23, 5.0, 2.5]


def pairs(rng: np.random.Generator, size: int) -> list[Array]:
    """Bases and exponents: any words; bases near 1; results over the whole range; small integers; special cases."""
    any_x, any_y = (as_floats(rng.integers(0, WORDS, size // 4, dtype=np.uint64)) for _ in range(2))
    near_1 = (1 + rng.normal(size=size // 4) * 2.0 ** rng.uniform(-24, -1, size // 4)).astype(np.float32)
    base = np.concatenate([np.abs(any_x), np.abs(near_1)])
    with np.errstate(all="ignore"):
        whole = np.nan_to_num(rng.uniform(-155, 135, base.size) / np.log2(base.astype(np.float64)), nan=0.5)
        scaled = whole.astype(np.float32)
        scaled[::5] = np.rint(scaled[::5])
    sign = np.where(rng.random(base.size) < 0.2, -1, 1).astype(np.float32)
    small = rng.integers(-40, 40, size // 4).astype(np.float32)
    corner = np.array([*SPECIAL, *np.negative(SPECIAL), np.nan], np.float32)
    cx, cy = (c.ravel() for c in np.meshgrid(corner, corner))
    return [np.concatenate([any_x, base * sign, any_x, cx]), np.concatenate([any_y, scaled, small, cy])]


# --- the command -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    name: str
    error: float
    at: tuple[float, ...]
    instructions: int
    bound: float


def measure(name: str, count: int, advance: Callable[[int], None], seed: int = 0) -> Result:
    """The largest error over `count` inputs. Raises AssertionError if the reference gives other bits on a sample."""
    measured = FUNCTIONS[name]
    program = program_of(name, measured.arity)
    run, scan = compiled(program, measured.arity), worst(measured.truth, measured.arity)
    check_against_reference(run, program, measured.arity)
    most, at = -1.0, (0.0,)
    for inputs in chunks(measured.arity, count, seed):
        got = np.empty(inputs[0].size, np.float32)
        run(*inputs, got)
        error, where = scan(*inputs, got, measured.limit)
        if error > most:
            most, at = error, tuple(float(x[where]) for x in inputs)
        advance(inputs[0].size)
    return Result(name, most, at, len(program), measured.bound)


def check_against_reference(run: Callable[..., None], program: Program, arity: int) -> None:
    inputs = next(chunks(arity, 40_000, 1))
    got = np.empty(inputs[0].size, np.float32)
    run(*inputs, got)
    got[np.isnan(got)] = np.nan
    assert np.array_equal(got.view(np.uint32), by_reference(program, inputs).view(np.uint32)), (
        "not the reference's bits"
    )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Largest error of library functions in ulp, against float64.")
    parser.add_argument("functions", nargs="*", metavar="FUNCTION", help=f"of {', '.join(FUNCTIONS)} (default: all)")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--all", action="store_true", help="every one of the 2^32 inputs (a sample of as many pairs)")
    group.add_argument("--sample", type=int, default=1 << 24, metavar="N", help="that many random inputs (2^24)")
    options = parser.parse_args(argv)
    names = options.functions or list(FUNCTIONS)
    unknown = [name for name in names if name not in FUNCTIONS]
    if unknown:
        parser.error(f"no function {unknown[0]!r}; there are {', '.join(FUNCTIONS)}")
    count = WORDS if options.all else options.sample
    results = []
    with Progress(console=Console(stderr=True)) as progress:
        for name in names:
            task = progress.add_task(name, total=count)
            results.append(measure(name, count, lambda n, task=task: progress.advance(task, n)))
    table = Table("function", "largest error, ulp", "at", "instructions", "bound")
    for r in results:
        place = ", ".join(f"{x!r}" for x in r.at)
        table.add_row(r.name, f"{r.error:.3f}", place, str(r.instructions), f"{r.bound:g}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0 if all(r.error <= r.bound for r in results) else 1


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    sys.exit(main())
