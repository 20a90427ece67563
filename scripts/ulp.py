#!/usr/bin/env python3
"""Measures the library functions of offchain.lower against float64 at every one of the 2^32 inputs or a sample.

The error is real-valued and strict: |got − exact| divided by the distance of float32 numbers in the binade of the
exact value. A NaN or a signed zero in the wrong place counts as an infinite error. `exact` is torch in float64, whose
own error, about one unit in its last place, is 2^-29 of the ulp measured here, too small for the digits shown.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numba import njit
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from offchain.exec.reference import evaluate  # noqa: E402
from offchain.ir.graph import Input, Node, Source, View  # noqa: E402
from offchain.ir.kinds import Kind  # noqa: E402
from offchain.ir.primitives import DType, Op, Program  # noqa: E402
from offchain.ir.program import ProgramBuilder, signed  # noqa: E402
from offchain.lower import library  # noqa: E402

Array = np.ndarray[Any, Any]
CHUNK = 1 << 18  # stays in the cache
WORDS = 1 << 32
F32 = DType.F32


# --- the functions and what they should be -----------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """A function, its value on float64 tensors, the bound on its error in ulp, and the |x| up to which that holds.

    `least`: the x from which it holds.
    """

    truth: Callable[..., torch.Tensor]
    bound: float
    limit: float = np.inf
    arity: int = 1
    least: float = -np.inf


FUNCTIONS: dict[str, Measured] = {
    "exp": Measured(torch.exp, 1.0),
    "exp2": Measured(torch.exp2, 1.5),
    "expm1": Measured(torch.expm1, 2.0),
    "log": Measured(torch.log, 1.0),
    "log2": Measured(torch.log2, 1.0),
    "log10": Measured(torch.log10, 1.0),
    "log1p": Measured(torch.log1p, 1.0),
    "sigmoid": Measured(torch.sigmoid, 1.5),
    "softplus": Measured(lambda x: torch.nn.functional.softplus(x, threshold=50.0), 2.0),
    "tanh": Measured(torch.tanh, 2.0),
    "sinh": Measured(torch.sinh, 1.5),
    "cosh": Measured(torch.cosh, 1.5),
    "asinh": Measured(torch.asinh, 2.5),
    "acosh": Measured(torch.acosh, 2.5),
    "atanh": Measured(torch.atanh, 2.5),
    "sin": Measured(torch.sin, 1.0, 1e5),
    "cos": Measured(torch.cos, 1.0, 1e5),
    "tan": Measured(torch.tan, 3.0, 1e5),
    "asin": Measured(torch.asin, 2.0),
    "acos": Measured(torch.acos, 1.5),
    "atan": Measured(torch.atan, 2.0),
    "erf": Measured(torch.erf, 2.0),
    "erfc": Measured(torch.erfc, 4.5),
    "erfinv": Measured(torch.erfinv, 4.0),
    "lgamma": Measured(torch.lgamma, 3.0, least=0.0),
    "digamma": Measured(torch.digamma, 4.0, least=0.0),
    "trigamma": Measured(partial(torch.polygamma, 1), 3.0, least=0.0),
    "rsqrt": Measured(torch.rsqrt, 1.5),
    "atan2": Measured(torch.atan2, 2.5, arity=2),
    "hypot": Measured(torch.hypot, 1.5, arity=2),
    "power": Measured(torch.pow, 8.0, arity=2),
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
    exec("\n".join(lines), scope)  # numbers and _EXPRESSIONS only, of programs that this project wrote
    run: Callable[..., None] = njit(scope["run"], error_model="numpy")
    return run


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
def errors(got: Array, exact: Array, out: Array) -> None:
    """|got − exact| in ulp of the binade of `exact`; an infinity in place of a finite number stands for 2^128."""
    top = 2.0**128
    for i in range(out.size):
        g, e = np.float64(got[i]), exact[i]
        exponent = ((np.float64(e).view(np.int64) >> 52) & 0x7FF) - 1023
        per_unit = np.int64(1023 + 23 - min(max(exponent, -126), 127)) << 52
        error = abs(min(max(g, -top), top) - min(max(e, -top), top)) * np.int64(per_unit).view(np.float64)
        if (g != g) or (e != e):
            error = 0.0 if g != g and e != e else np.inf
        if g == 0 and np.signbit(g) != np.signbit(e):
            error = np.inf
        out[i] = error


# --- inputs ------------------------------------------------------------------------------------------------------


def as_floats(words: Array) -> Array:
    """float32 with these bits, every NaN canonical."""
    x = words.astype(np.uint32).view(np.float32)
    return np.where(np.isnan(x), np.float32(np.nan), x)


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
    run = compiled(program, measured.arity)
    check_against_reference(run, program, measured.arity)
    most = -1.0
    at: tuple[float, ...] = ()
    for inputs in chunks(measured.arity, count, seed):
        got, error = np.empty(inputs[0].size, np.float32), np.empty(inputs[0].size)
        run(*inputs, got)
        errors(got, measured.truth(*(torch.from_numpy(x).double() for x in inputs)).numpy(), error)
        if measured.limit < np.inf:
            error[np.isfinite(inputs[0]) & (np.abs(inputs[0]) > measured.limit)] = 0
        error[inputs[0] < measured.least] = 0
        where = error.argmax()
        if error[where] > most:
            most, at = error[where], tuple(float(x[where]) for x in inputs)
        advance(inputs[0].size)
    return Result(name, most, at, len(program), measured.bound)


def check_against_reference(run: Callable[..., None], program: Program, arity: int) -> None:
    inputs = next(chunks(arity, CHUNK, 1))
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
            results.append(measure(name, count, partial(progress.advance, task)))
    table = Table("function", "largest error, ulp", "at", "instructions", "bound")
    for r in results:
        place = ", ".join(f"{x!r}" for x in r.at)
        table.add_row(r.name, f"{r.error:.3f}", place, str(r.instructions), f"{r.bound:g}")
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    return 0 if all(r.error <= r.bound for r in results) else 1


if __name__ == "__main__":
    torch.set_num_threads(1)
    sys.exit(main())
