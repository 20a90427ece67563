"""Lowerings of systems of linear equations: Gauss-Jordan elimination with partial pivoting, as a sequence of maps.

Every step makes the first column that is left a unit vector and drops it. Its pivot is the largest of the rows that
have none yet, to within 2^-17. A singular matrix gives infinities or NaN.

Cholesky's factors are made column by column; a matrix that is not positive definite gives NaN.
"""

from __future__ import annotations

from math import prod
from typing import Final

import torch

from offchain.errors import Unsupported
from offchain.ir.program import F32, I32, Value
from offchain.lower import library
from offchain.lower.builder import GraphBuilder
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers
from offchain.lower.shapes import concatenated

aten = torch.ops.aten
LARGEST: Final = 64  # rows of a matrix, by 5 nodes each
_ROW: Final = LARGEST - 1  # bits of a row's number


def solved(builder: GraphBuilder, matrix: Ref, right: Ref) -> Ref:
    """The solution of matrix·x = right, for shapes (batch, n, n) and (batch, n, m)."""
    n = matrix.shape[1]
    if n > LARGEST:
        raise Unsupported(
            f"a system of {n} linear equations; at most {LARGEST}: use Newton-Schulz for the inverse of a, some 30 "
            "times x = 2 * x - x @ a @ x, from x = a.T / a.square().sum()"
        )
    left = concatenated(builder, [builder.solid(matrix), builder.solid(right)], 2, right.dtype)
    for step in range(n):
        left = _eliminated(builder, left, step, _pivot(builder, left, step))
    return left


def _column(ref: Ref) -> Ref:
    return ref.slice(2, 0, 1)


def _pivot(builder: GraphBuilder, left: Ref, step: int) -> Ref:
    """The row of the pivot of each matrix: of the largest in the first column, from row `step` on."""
    batch, n, _ = left.shape

    def key(value: Value) -> Value:
        row = value.program.index(1)
        return row.ge(step).where((value.abs().bits() & ~_ROW) | (_ROW - row), -1)

    best = builder.max(builder.generate((batch, n), key, _column(left).squeeze([2])), [1])
    return builder.map(lambda k: _ROW - (k & _ROW), best)


def _eliminated(builder: GraphBuilder, left: Ref, step: int, pivot: Ref) -> Ref:
    """Rows `step` and that of the pivot exchanged, and the first column taken out of all others and dropped."""
    batch, n, columns = left.shape
    rows = left.permute([0, 2, 1])
    chosen = builder.gather(rows, pivot.unsqueeze(1).expand((batch, columns))).unsqueeze(1)
    other = left.slice(1, step, 1)

    def program(own: Value, first: Value, top: Value, divisor: Value, old: Value, old_first: Value, at: Value) -> Value:
        row = own.program.index(1)
        moved = row.eq(at)
        value, start = moved.where(old, own), moved.where(old_first, first)
        scaled = top / divisor
        return row.eq(step).where(scaled, value - start * scaled)

    after = [ref.slice(2, 1, columns - 1) for ref in (left, chosen, other)]
    operands = (after[0], _column(left), after[1], _column(chosen), after[2], _column(other))
    wide = pivot.unsqueeze(1).unsqueeze(2)
    return builder.generate((batch, n, columns - 1), program, *operands, wide)


def _pivots(c: Context, a: Ref) -> tuple[list[Ref], Ref]:
    """The pivots of matrices (…, n, n), each of shape (batch,), and how many of them exchanged rows."""
    lead, n = a.shape[:-2], a.shape[-1]
    if n > LARGEST:
        raise Unsupported(
            f"the determinant of {n} rows; at most {LARGEST}: take it of blocks, for [[a, b], [c, d]] det(a) * det(d - "
            "c @ torch.linalg.solve(a, b))"
        )
    left = c.builder.reshape(c.builder.solid(a), (prod(lead), n, n))
    found, moved = [], []
    for step in range(n):
        at = _pivot(c.builder, left, step)
        rows = left.permute([0, 2, 1])
        chosen = c.builder.gather(rows.slice(1, 0, 1), at.unsqueeze(1)).squeeze([1])
        found.append(chosen)
        moved.append(c.builder.map(lambda row, step=step: row.ne(step).to_float(), at).unsqueeze(1))
        if step < n - 1:
            left = _eliminated(c.builder, left, step, at)
    return found, c.builder.sum(concatenated(c.builder, moved, 1, F32), [1])


def _sign(exchanges: Value) -> Value:
    return 1.0 - (exchanges.to_int() & 1).to_float() * 2.0


@lowers(aten._linalg_det.default)
def _determinant(c: Context, a: Ref) -> tuple[Ref, None, None]:
    """Of up to 64 rows: the product of the elimination's pivots; the factors are not given."""
    pivots, exchanges = _pivots(c, a)
    made = c.builder.map(_sign, exchanges)
    for pivot in pivots:
        made = c.builder.map(lambda product, p: product * p, made, pivot)
    return c.builder.reshape(made, a.shape[:-2]), None, None


@lowers(aten._linalg_slogdet.default)
def _log_determinant(c: Context, a: Ref) -> tuple[Ref, Ref, None, None]:
    """Of up to 64 rows, from the elimination's pivots; the factors are not given."""
    pivots, exchanges = _pivots(c, a)
    sign = c.builder.map(_sign, exchanges)
    for pivot in pivots:
        sign = c.builder.map(lambda s, p: p.lt(0.0).where(-s, p.eq(0.0).where(0.0, s)), sign, pivot)
    size = Ref.constant(F32, 0, sign.shape)
    for pivot in pivots:
        size = c.builder.map(lambda total, p: total + library.log(p.abs()), size, pivot)
    shape = a.shape[:-2]
    return c.builder.reshape(sign, shape), c.builder.reshape(size, shape), None, None


def _transposed(x: Ref) -> Ref:
    rank = len(x.shape)
    return x.permute([*range(rank - 2), rank - 1, rank - 2])


@lowers(aten._linalg_solve_ex.default)
def _solve(c: Context, a: Ref, b: Ref, *, left: bool = True, check_errors: bool = False) -> tuple[Ref, None, None, Ref]:
    """Up to 64 equations; the factors are not given."""
    shape = tuple(c.node.meta["val"][0].shape)
    vector = len(b.shape) == 1 or (len(b.shape) == len(a.shape) - 1 and b.shape == a.shape[:-1])
    right = b.unsqueeze(len(b.shape)) if vector else b
    wide = (*shape, 1) if vector else shape
    made = _solutions(c.builder, a, right.expand(wide), left or vector)
    return c.builder.reshape(made, shape), None, None, Ref.constant(I32, 0, wide[:-2])


def _solutions(builder: GraphBuilder, a: Ref, right: Ref, left: bool) -> Ref:
    """The solutions of a·x = right, or of x·a = right, in the shape of `right`, to whose batches those of `a` fit."""
    if not left:
        a, right = _transposed(a), _transposed(right)
    lead, n, m = right.shape[:-2], a.shape[-1], right.shape[-1]
    matrix = builder.reshape(builder.solid(a.expand((*lead, n, n))), (prod(lead), n, n))
    flat = builder.reshape(builder.solid(right), (prod(lead), n, m))
    made = builder.reshape(solved(builder, matrix, flat), (*lead, n, m))
    return made if left else _transposed(made)


@lowers(aten.linalg_solve_triangular.default)
def _solve_triangular(
    c: Context, a: Ref, b: Ref, *, upper: bool, left: bool = True, unitriangular: bool = False
) -> Ref:
    """Up to 64 equations, by the same elimination; what lies in the other triangle counts as 0."""
    triangle = _triangle(c.builder, a, upper, unitriangular)
    return c.builder.reshape(_solutions(c.builder, triangle, b.expand(c.shape), left), c.shape)


def _triangle(builder: GraphBuilder, a: Ref, upper: bool, unit: bool = False) -> Ref:
    """A matrix with 0 in its other triangle, and 1 on its diagonal if that is asked for."""
    rank = len(a.shape)

    def program(value: Value) -> Value:
        row, column = (value.program.index(axis) for axis in (rank - 2, rank - 1))
        kept = (row.le(column) if upper else row.ge(column)).where(value, 0.0)
        return row.eq(column).where(1.0, kept) if unit else kept

    return builder.generate(a.shape, program, a)


@lowers(aten.linalg_cholesky_ex.default)
def _cholesky(c: Context, a: Ref, *, upper: bool = False, check_errors: bool = False) -> tuple[Ref, Ref]:
    """Of up to 64 rows. Reads the triangle that it makes a factor of."""
    lead, n = a.shape[:-2], a.shape[-1]
    if n > LARGEST:
        raise Unsupported(f"Cholesky's factor of {n} rows; at most {LARGEST}: factor blocks of the matrix")
    own = _transposed(a) if upper else a
    left = c.builder.reshape(c.builder.solid(own), (prod(lead), n, n))
    for step in range(n):
        left = _with_column(c.builder, left, step)
    made = c.builder.reshape(_triangle(c.builder, left, upper=False), a.shape)
    return _transposed(made) if upper else made, Ref.constant(I32, 0, lead)


@lowers(aten.cholesky.default)
def _old_cholesky(c: Context, a: Ref, upper: bool = False) -> Ref:
    return _cholesky(c, a, upper=upper)[0]


def _with_column(builder: GraphBuilder, left: Ref, step: int) -> Ref:
    """What is left of a matrix: the factor's column `step` is in it, whose square is taken out of the columns after it.

    Of the triangle above the diagonal nothing is read.
    """
    column = left.slice(2, step, 1)

    def program(own: Value, row: Value, other: Value, pivot: Value) -> Value:
        i, k = (own.program.index(axis) for axis in (1, 2))
        root = pivot.sqrt()
        scaled = row / root
        rest = k.le(step).where(own, own - scaled * (other / root))
        return k.eq(step).where(i.eq(step).where(root, scaled), rest)

    return builder.generate(left.shape, program, left, column, column.permute([0, 2, 1]), column.slice(1, step, 1))


@lowers(aten.linalg_inv_ex.default)
def _inverse(c: Context, a: Ref, *, check_errors: bool = False) -> tuple[Ref, Ref]:
    """The solution for the columns of the unit matrix."""
    lead, n = a.shape[:-2], a.shape[-1]
    unit = c.builder.generate((n, n), lambda p: p.index(0).eq(p.index(1)).to_float())
    matrix = c.builder.reshape(c.builder.solid(a), (prod(lead), n, n))
    made = solved(c.builder, matrix, unit.expand((prod(lead), n, n)))
    return c.builder.reshape(made, a.shape), Ref.constant(I32, 0, lead)
