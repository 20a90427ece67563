"""Lowerings of systems of linear equations: Gauss-Jordan elimination with partial pivoting, as a sequence of maps.

Every step makes the first column that is left a unit vector and drops it. Its pivot is the largest of the rows that
have none yet, to within 2^-17. A singular matrix gives infinities or NaN.
"""

from __future__ import annotations

from math import prod
from typing import Final

import torch

from offchain.errors import Unsupported
from offchain.ir.program import I32, Value
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
        left = _eliminated(builder, left, step)
    return left


def _eliminated(builder: GraphBuilder, left: Ref, step: int) -> Ref:
    """Rows `step` and that of the pivot exchanged, and the first column taken out of all others and dropped."""
    batch, n, columns = left.shape

    def column(ref: Ref) -> Ref:
        return ref.slice(2, 0, 1)

    def key(value: Value) -> Value:
        row = value.program.index(1)
        return row.ge(step).where((value.abs().bits() & ~_ROW) | (_ROW - row), -1)

    best = builder.max(builder.generate((batch, n), key, column(left).squeeze([2])), [1])
    pivot = builder.map(lambda k: _ROW - (k & _ROW), best)
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
    operands = (after[0], column(left), after[1], column(chosen), after[2], column(other))
    wide = pivot.unsqueeze(1).unsqueeze(2)
    return builder.generate((batch, n, columns - 1), program, *operands, wide)


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
    lead, n = wide[:-2], a.shape[-1]
    right = right.expand(wide)
    if not left and not vector:
        a, right = _transposed(a), _transposed(right)
    matrix = c.builder.reshape(c.builder.solid(a.expand((*lead, n, n))), (prod(lead), n, n))
    flat = c.builder.reshape(c.builder.solid(right), (prod(lead), n, right.shape[-1]))
    made = c.builder.reshape(solved(c.builder, matrix, flat), (*lead, n, right.shape[-1]))
    made = made if left or vector else _transposed(made)
    return c.builder.reshape(made, shape), None, None, Ref.constant(I32, 0, lead)


@lowers(aten.linalg_inv_ex.default)
def _inverse(c: Context, a: Ref, *, check_errors: bool = False) -> tuple[Ref, Ref]:
    """The solution for the columns of the unit matrix."""
    lead, n = a.shape[:-2], a.shape[-1]
    unit = c.builder.generate((n, n), lambda p: p.index(0).eq(p.index(1)).to_float())
    matrix = c.builder.reshape(c.builder.solid(a), (prod(lead), n, n))
    made = solved(c.builder, matrix, unit.expand((prod(lead), n, n)))
    return c.builder.reshape(made, a.shape), Ref.constant(I32, 0, lead)
