"""Lowerings of fake quantisation: floats rounded to a grid of scaled integers, and where the grid holds them."""

from __future__ import annotations

from typing import Final

import torch

from offchain.ir.program import F32, I32, Value
from offchain.lower import library
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten = torch.ops.aten
_FAR: Final = float(1 << 30)  # beyond every grid, and still an integer


def _quantised(c: Context, x: Ref, scale: Ref, zero: Ref, low: int, high: int) -> tuple[Ref, Ref]:
    """(clamp(round(x / scale) + zero) − zero)·scale, and whether nothing was cut off. NaN is 0.

    Numbers beyond 64 bits, which torch's conversion leaves to the processor, are cut off at their own end.
    """

    def placed(v: Value, by: Value, start: Value) -> Value:
        steps = (v * (1.0 / by)).rint()
        return library.clamp(steps.ne(steps).where(0.0, steps), -_FAR, _FAR).to_int() + start.cast(I32)

    def rounded(v: Value, by: Value, start: Value) -> Value:
        step = placed(v, by, start)
        return (step.lt(low).where(low, step.gt(high).where(high, step)) - start.cast(I32)).to_float() * by

    def held(v: Value, by: Value, start: Value) -> Value:
        step = placed(v, by, start)
        return step.ge(low) & step.le(high)

    return c.builder.map(rounded, x, scale, zero), c.builder.map(held, x, scale, zero)


@lowers(aten.fake_quantize_per_tensor_affine_cachemask.default)
def _per_tensor(c: Context, x: Ref, scale: float, zero: int, low: int, high: int) -> tuple[Ref, Ref]:
    return _quantised(c, x, Ref.constant(F32, scale), Ref.constant(I32, zero), low, high)


@lowers(aten._fake_quantize_per_tensor_affine_cachemask_tensor_qparams.default)
def _per_tensor_by_tensors(
    c: Context, x: Ref, scale: Ref, zero: Ref, enabled: Ref, low: int, high: int
) -> tuple[Ref, Ref]:
    made, inside = _quantised(c, x, scale.reshape(()) or scale, zero.reshape(()) or zero, low, high)
    on = enabled.reshape(()) or enabled
    return c.builder.map(lambda e, q, v: e.ge(1).where(q, v), on, made, x), c.builder.map(
        lambda e, inner: e.lt(1) | inner, on, inside
    )


@lowers(aten.fake_quantize_per_channel_affine_cachemask.default)
def _per_channel(c: Context, x: Ref, scale: Ref, zero: Ref, axis: int, low: int, high: int) -> tuple[Ref, Ref]:
    def along(line: Ref) -> Ref:
        for _ in range(len(x.shape) - 1 - c.dim(axis, len(x.shape))):
            line = line.unsqueeze(len(line.shape))
        return line

    return _quantised(c, x, along(scale), along(zero), low, high)
