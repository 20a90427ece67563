"""Linear operations in which each output reads a few elements with constant weights: resizing, adaptive means.

All of them treat their axes separately, so applying torch's operation to an identity matrix, axis by axis, gives the
weights.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from offchain.ir.arrays import Array
from offchain.lower.builder import GraphBuilder
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers
from offchain.lower.windows import Sizes, Windows, fold, paired, summed

aten = torch.ops.aten


@dataclass(frozen=True, eq=False)
class Taps:
    """The elements of a tensor's last axes (of `size`) that each output reads, laid out like Windows: (y, ky, x, kx).

    at       flat places, int32; −1: nothing
    weights  float32
    """

    size: Sizes
    at: Array
    weights: Array

    @classmethod
    def of(cls, size: Sizes, apply: Callable[[Tensor, int], Tensor]) -> Taps:
        """`apply(x, a)`: the operation along axis a, on a tensor whose other axes (after two more) have size 1."""
        at, weights = np.zeros((), np.int64), np.ones((), np.float32)
        for a, extent in enumerate(size):
            identity = torch.eye(extent).reshape(extent, 1, *(extent if a == b else 1 for b in range(len(size))))
            matrix = apply(identity, a).reshape(extent, -1).T.numpy()
            used = np.argsort(matrix == 0, axis=1, kind="stable")[:, : max(1, int((matrix != 0).sum(1).max()))]
            weight = np.take_along_axis(matrix, used, 1)
            at, known = np.maximum(at, 0)[..., None, None] * extent + used, at >= 0
            at = np.where(known[..., None, None] & (weight != 0), at, -1)
            weights = weights[..., None, None] * weight
        return cls(size, at.astype(np.int32), weights)

    @property
    def shape(self) -> Sizes:
        """(y, ky, x, kx)."""
        return self.at.shape

    @property
    def padded(self) -> bool:
        """Whether some outputs read fewer elements than others."""
        return bool((self.at < 0).any())

    def places(self, builder: GraphBuilder) -> Ref:
        """As Windows.places."""
        return builder.solid(builder.constant(self.at))

    def view(self, builder: GraphBuilder, x: Ref) -> Ref:
        """What all outputs read of `x`, 0 for nothing: (…, y, ky, x, kx)."""
        lead = x.shape[: len(x.shape) - len(self.size)]
        table = builder.reshape(x, (*lead, 1, prod(self.size)))
        index = builder.reshape(self.places(builder), (prod(self.shape),))
        return builder.reshape(builder.gather(table, index), (*lead, *self.shape))

    def fold(self, builder: GraphBuilder, terms: Ref) -> Ref:
        """Adds (…, y, ky, x, kx) where the outputs read."""
        return fold(builder, terms, self.places(builder), self.size)

    def forward(self, builder: GraphBuilder, x: Ref) -> Ref:
        """The operation."""
        tiles = self._tiles()
        if tiles:
            return tiles.fold(builder, paired(x, tiles.shape))
        return summed(builder, self._weighted(builder, self.view(builder, x)), len(self.size))

    def backward(self, builder: GraphBuilder, grad: Ref) -> Ref:
        """Its adjoint."""
        tiles = self._tiles()
        if tiles:
            return summed(builder, tiles.view(builder, grad), len(self.size))
        return self.fold(builder, self._weighted(builder, paired(grad, self.shape)))

    def _tiles(self) -> Windows | None:
        """Windows over the outputs, if each element is only repeated over a window of its own; else None."""
        out = self.shape[::2]
        repeats = tuple(n // size for n, size in zip(out, self.size, strict=True))
        if self.at.size != prod(out) or not all(repeats) or not (self.weights == 1).all():
            return None
        read = [np.arange(n) // k for n, k in zip(out, repeats, strict=True)]
        if any(places[-1] >= size for places, size in zip(read, self.size, strict=True)):
            return None
        flat = np.ravel_multi_index(np.ix_(*read), self.size)
        return Windows.of(out, self.size, repeats, repeats, 0, 1) if (flat.ravel() == self.at.ravel()).all() else None

    def _weighted(self, builder: GraphBuilder, read: Ref) -> Ref:
        if (self.weights == 1).all():
            return read
        return builder.map(lambda v, w: v * w, read, builder.constant(self.weights))


# --- resizing ----------------------------------------------------------------------------------------------------


def _resizing(operation: Any, size: Sequence[int], out: Sequence[int], rest: Sequence[Any]) -> Taps:
    """`rest`: align_corners, where the operation has it, then scales, which may be missing."""
    n = len(out)
    flags = [one for one in rest if isinstance(one, bool)]
    scales = [*rest[len(flags) :], *[None] * n][:n]
    wide = 2 if "_aa." in str(operation) else 1  # torch's antialiasing gives a column of width 1 wrong rows

    def apply(x: Tensor, a: int) -> Tensor:
        only = [scale if a == b else None for b, scale in enumerate(scales)]
        widened = x.expand(*x.shape[:2], *(-1 if a == b else wide for b in range(n))).contiguous()
        made: Tensor = operation(widened, [out[a] if a == b else wide for b in range(n)], *flags, *only)
        return made[(..., *(slice(None) if a == b else slice(1) for b in range(n)))]

    return Taps.of(tuple(size[-n:]), apply)


def _resize(c: Context, x: Ref, out: Sequence[int], *rest: Any) -> Ref:
    return _resizing(c.node.target, x.shape, out, rest).forward(c.builder, x)


def _resize_backward(operation: Any, c: Context, grad: Ref, out: Sequence[int], size: Sequence[int], *rest: Any) -> Ref:
    return _resizing(operation, size, out, rest).backward(c.builder, grad)


_RESIZING: Final = (
    *(f"upsample_nearest{n}d" for n in (1, 2, 3)),
    *(f"_upsample_nearest_exact{n}d" for n in (1, 2, 3)),
    "upsample_linear1d",
    "upsample_bilinear2d",
    "upsample_trilinear3d",
    "upsample_bicubic2d",
    "_upsample_bilinear2d_aa",
    "_upsample_bicubic2d_aa",
)
for _name in _RESIZING:
    _operation = getattr(aten, _name).default
    lowers(_operation)(_resize)
    lowers(getattr(aten, f"{_name}_backward").default)(partial(_resize_backward, _operation))
