"""Lowerings that torch's own decompositions would make longer: layer normalisation's gradient, masked softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from offchain.ir.program import Value
from offchain.lower.library import exp
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten = torch.ops.aten


@lowers(aten.native_layer_norm_backward.default)
def _layer_norm_backward(
    c: Context,
    dy: Ref,
    x: Ref,
    inner: Sequence[int],
    mean: Ref,
    rstd: Ref,
    weight: Ref | None,
    bias: Ref | None,
    wanted: Sequence[bool],
) -> tuple[Ref | None, Ref | None, Ref | None]:
    """With x̂ = (x − mean)·rstd and g = dy·weight: dx = rstd/n·(n·g − Σg − x̂·Σg·x̂), sums over the n inner elements;
    d weight = Σ dy·x̂ and d bias = Σ dy, sums over the outer axes.
    """
    rank, first = len(x.shape), len(x.shape) - len(inner)
    outer_axes, inner_axes = range(first), range(first, rank)
    count = float(torch.Size(inner).numel())
    normal = c.builder.map(lambda v, m, r: (v - m) * r, x, mean, rstd)
    dx = dw = db = None
    if wanted[0]:
        g = dy if weight is None else c.builder.map(lambda v, w: v * w, dy, weight)
        sums = _sums(c, g, normal, inner_axes)
        for axis in inner_axes:
            sums = [total.unsqueeze(axis) for total in sums]

        def gradient(g: Value, n: Value, plain: Value, scaled: Value, r: Value) -> Value:
            return (r / count) * (g * count - plain - n * scaled)

        dx = c.builder.map(gradient, g, normal, *sums, rstd)
    if wanted[1] or wanted[2]:
        plain, scaled = _sums(c, dy, normal, outer_axes)
        dw, db = (scaled if wanted[1] else None), (plain if wanted[2] else None)
    return dx, dw, db


@lowers(aten._safe_softmax.default)
def _safe_softmax(c: Context, x: Ref, dim: int, dtype: torch.dtype | None = None) -> Ref:
    """Softmax with zeros where a whole row is −inf, that is, where its maximum is."""
    axis = c.dim(dim, len(x.shape))
    top = c.builder.max(x, [axis]).unsqueeze(axis)
    powers = c.builder.map(lambda v, m: exp(v - m), x, top)
    total = c.builder.sum(powers, [axis]).unsqueeze(axis)
    return c.builder.map(lambda e, s, m: m.eq(float("-inf")).where(0.0, e / s), powers, total, top)


def _sums(c: Context, a: Ref, b: Ref, axes: Sequence[int]) -> list[Ref]:
    """Σa and Σa·b over some axes, by one node over a tensor that holds a and a·b side by side."""
    shape = (2, *a.shape)

    def program(x: Value, y: Value) -> Value:
        return x.program.index(0).eq(0).where(x, x * y)

    both = c.builder.generate(shape, program, a.unsqueeze(0).expand(shape), b.unsqueeze(0).expand(shape))
    total = c.builder.sum(both, [axis + 1 for axis in axes])
    return [total.slice(0, which, 1).squeeze([0]) for which in range(2)]
