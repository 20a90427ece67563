"""Lowerings of distances between rows: sums over differences, with torch's gradients where a distance is 0.

Every pair is subtracted first, so a distance is as exact as its terms; torch's own shortcut for many rows,
√(a² + b² − 2ab), loses that, and is not taken (`substitutes`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from offchain.errors import Unsupported
from offchain.ir.encoding import MAX_RANK
from offchain.ir.program import F32, Value
from offchain.lower import library
from offchain.lower.builder import GraphBuilder
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten = torch.ops.aten
INF = float("inf")


def _pairs(a: Ref, b: Ref) -> tuple[Ref, Ref]:
    """Rows (…, p, m) and (…, r, m) as (…, p, r, m) by views."""
    if len(a.shape) == MAX_RANK:
        raise Unsupported(f"distances in a tensor of {MAX_RANK} dimensions; merge some with .flatten()")
    return a.unsqueeze(len(a.shape) - 1), b.unsqueeze(len(b.shape) - 2)


def _distances(builder: GraphBuilder, a: Ref, b: Ref, p: float) -> Ref:
    """(Σ |a − b|^p)^(1/p) over the last axis: (…, p, r)."""

    def term(x: Value, y: Value) -> Value:
        gap = x - y
        if p == 0:
            return gap.ne(0.0).to_float()
        if p == 2:
            return gap * gap
        return gap.abs() if p in (1, INF) else library.power(gap.abs(), gap.program.real(p))

    terms = builder.map(term, *_pairs(a, b))
    axis = len(terms.shape) - 1
    total = builder.max(terms, [axis]) if p == INF else builder.sum(terms, [axis])
    if p == 2:
        return builder.map(lambda v: v.sqrt(), total)
    return total if p in (0, 1, INF) else builder.map(lambda v: library.power(v, v.program.real(1 / p)), total)


def _gradients(builder: GraphBuilder, gradient: Ref, a: Ref, b: Ref, p: float, distances: Ref) -> Ref:
    """Of `a`, for gradients and distances of (…, p, r). Where a distance is 0, or for p = 0, it is 0."""
    if p == 0:
        return Ref.constant(F32, 0.0, a.shape)
    left, right = _pairs(a, b)
    axis = len(a.shape) - 1
    wide = [ref.unsqueeze(axis + 1) for ref in (gradient, distances)]
    terms = builder.map(_slope(p), left, right, *wide)
    return builder.sum(terms, [axis])


def _slope(p: float) -> Callable[..., Value]:
    """sign(a − b)·(|a − b| / d)^(p − 1)·g."""

    def program(x: Value, y: Value, g: Value, distance: Value) -> Value:
        gap = x - y
        if p == 2:
            return distance.eq(0.0).where(0.0, gap * (g / distance))
        signed = gap.gt(0.0).where(g, gap.lt(0.0).where(-g, 0.0))
        if p == 1:
            return signed
        if p == INF:
            return gap.abs().eq(distance).where(signed, 0.0)
        share = library.power(gap.abs() / distance, gap.program.real(p - 1))
        return (gap.eq(0.0) | distance.eq(0.0)).where(0.0, signed * share)

    return program


@lowers(aten._cdist_forward.default)
def _cdist(c: Context, a: Ref, b: Ref, p: float, mode: int | None) -> Ref:
    return _distances(c.builder, a, b, p)


@lowers(aten._cdist_backward.default)
def _cdist_backward(c: Context, gradient: Ref, a: Ref, b: Ref, p: float, distances: Ref) -> Ref:
    return _gradients(c.builder, gradient, a, b, p, distances)


@lowers(aten._pdist_forward.default)
def _pdist(c: Context, x: Ref, p: float = 2.0) -> Ref:
    """The distances of all pairs of rows, of which those above the diagonal are kept."""
    n = x.shape[0]
    flat = c.builder.reshape(_distances(c.builder, x, x, p), (1, n * n))
    upper = np.flatnonzero(np.triu(np.ones((n, n)), 1)).astype(np.int32)
    return c.builder.gather(flat, c.builder.constant(upper))


@lowers(aten._pdist_backward.default)
def _pdist_backward(c: Context, gradient: Ref, x: Ref, p: float, distances: Ref) -> Ref:
    n = x.shape[0]
    places = np.full((n, n), -1, np.int32)  # of nothing, which reads 0
    places[np.triu_indices(n, 1)] = np.arange(n * (n - 1) // 2)
    index = c.builder.constant(np.maximum(places, places.T).reshape(-1))

    def square(pairs: Ref) -> Ref:
        return c.builder.reshape(c.builder.gather(pairs.unsqueeze(0), index), (n, n))

    return _gradients(c.builder, square(gradient), x, x, p, square(distances))
