"""Pooling: maxima with their places, and means, over windows or over the regions of adaptive pooling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from math import prod
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from offchain.errors import Unsupported
from offchain.ir.program import Value
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers
from offchain.lower.resample import Taps
from offchain.lower.windows import Sizes, Windows, paired, summed

aten = torch.ops.aten
_LOWEST: Final = float("-inf")


def _regions(size: Sizes, count: Sizes) -> Windows | Taps:
    """Adaptive pooling; regions are windows where the output size divides the input size."""
    if not any(n % k for n, k in zip(size, count, strict=True)):
        kernel = tuple(n // k for n, k in zip(size, count, strict=True))
        return Windows.of(size, count, kernel, kernel, 0, 1)
    operation = {2: aten._adaptive_avg_pool2d, 3: aten._adaptive_avg_pool3d}[len(size)]

    def apply(x: Tensor, a: int) -> Tensor:
        made: Tensor = operation(x, [k if a == b else 1 for b, k in enumerate(count)])
        return made

    return Taps.of(size, apply)


# --- maxima ------------------------------------------------------------------------------------------------------


def _max(c: Context, x: Ref, windows: Windows | Taps) -> tuple[Ref, Ref]:
    """Maxima, and the first place of each, flat over the pooled axes. Padding is never a maximum."""
    n = len(windows.size)
    lead, own = len(x.shape) - n, range(2 * n)
    order = [*own[::2], *own[1::2]]  # kernels last, so that they are one axis of the maximum
    places = windows.places(c.builder).permute(order)
    read = windows.view(c.builder, x).permute([*range(lead), *(lead + d for d in order)])
    if windows.padded:
        read = c.builder.map(lambda v, at: at.lt(0).where(_LOWEST, v), read, places)
    kernels = range(lead + n, lead + 2 * n)
    top = c.builder.max(read, kernels)
    best = top
    for d in kernels:
        best = best.unsqueeze(d)

    def first(value: Value, best: Value, at: Value) -> Value:
        same = (value.eq(best) | (value.ne(value) & best.ne(best))) & at.ge(0)
        return same.where(at ^ -1, -prod(windows.size) - 1)

    found = c.builder.max(c.builder.map(first, read, best, places), kernels)
    return top, c.builder.map(lambda v: v ^ -1, found)


def _max_backward(c: Context, grad: Ref, indices: Ref, windows: Windows | Taps) -> Ref:
    pairs = (paired(ref, windows.shape) for ref in (grad, indices))
    terms = c.builder.map(lambda g, i, at: at.eq(i).where(g, 0), *pairs, windows.places(c.builder))
    return windows.fold(c.builder, terms)


def _max_windows(
    n: int, x: Sizes, out: Sizes, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, *_: Any
) -> Windows:
    return Windows.of(x[-n:], out[-n:], kernel, stride or kernel, padding, dilation)


def _max_pool(n: int, c: Context, x: Ref, *geometry: Any) -> tuple[Ref, Ref]:
    out = tuple(c.node.meta["val"][0].shape)
    return _max(c, x, _max_windows(n, x.shape, out, *geometry))


def _max_pool_backward(n: int, c: Context, grad: Ref, x: Ref, *geometry: Any) -> Ref:
    return _max_backward(c, grad, geometry[-1], _max_windows(n, x.shape, grad.shape, *geometry[:-1]))


def _adaptive_max(n: int, c: Context, x: Ref, count: Sequence[int]) -> tuple[Ref, Ref]:
    return _max(c, x, _regions(x.shape[-n:], tuple(count)))


def _adaptive_max_backward(n: int, c: Context, grad: Ref, x: Ref, indices: Ref) -> Ref:
    return _max_backward(c, grad, indices, _regions(x.shape[-n:], grad.shape[-n:]))


# --- means -------------------------------------------------------------------------------------------------------


def _divisors(windows: Windows, include_pad: bool, override: int | None) -> np.ndarray[Any, np.dtype[np.float32]]:
    """How many elements each window counts: (y, x)."""
    if override:
        return np.full(windows.count, override, np.float32)
    counts = np.ones((), np.float32)
    for a, (size, padding) in enumerate(zip(windows.size, windows.padding, strict=True)):
        outside = padding if include_pad else 0
        start = np.arange(windows.count[a]) * windows.stride[a] - padding
        end = np.minimum(start + windows.kernel[a], size + outside)
        counts = counts[..., None] * (end - np.maximum(start, -outside)).astype(np.float32)
    return counts


def _mean(c: Context, x: Ref, windows: Windows, include_pad: bool = True, override: int | None = None) -> Ref:
    total = summed(c.builder, windows.view(c.builder, x), len(windows.size))
    return c.builder.map(lambda v, n: v / n, total, c.builder.constant(_divisors(windows, include_pad, override)))


def _mean_backward(
    c: Context, grad: Ref, windows: Windows, include_pad: bool = True, override: int | None = None
) -> Ref:
    divisors = c.builder.constant(_divisors(windows, include_pad, override))
    share = c.builder.map(lambda g, n: g / n, grad, divisors)
    return windows.fold(c.builder, paired(share, windows.shape))


def _avg_windows(n: int, x: Sizes, out: Sizes, kernel: Any, stride: Any = (), padding: Any = 0, *_: Any) -> Windows:
    return Windows.of(x[-n:], out[-n:], kernel, stride or kernel, padding, 1)


def _avg_pool(n: int, c: Context, x: Ref, *geometry: Any) -> Ref:
    return _mean(c, x, _avg_windows(n, x.shape, c.shape, *geometry), *geometry[4:])


def _avg_pool_backward(n: int, c: Context, grad: Ref, x: Ref, *geometry: Any) -> Ref:
    return _mean_backward(c, grad, _avg_windows(n, x.shape, grad.shape, *geometry), *geometry[4:])


def _adaptive_mean(n: int, c: Context, x: Ref, count: Sequence[int]) -> Ref:
    regions = _regions(x.shape[-n:], tuple(count))
    return _mean(c, x, regions) if isinstance(regions, Windows) else regions.forward(c.builder, x)


def _adaptive_mean_backward(n: int, c: Context, grad: Ref, x: Ref) -> Ref:
    regions = _regions(x.shape[-n:], grad.shape[-n:])
    return _mean_backward(c, grad, regions) if isinstance(regions, Windows) else regions.backward(c.builder, grad)


_POOLING: Final[dict[str, tuple[Callable[..., Any], Callable[..., Any]]]] = {  # over {} axes
    "max_pool{}d_with_indices": (_max_pool, _max_pool_backward),
    "adaptive_max_pool{}d": (_adaptive_max, _adaptive_max_backward),
    "avg_pool{}d": (_avg_pool, _avg_pool_backward),
    "_adaptive_avg_pool{}d": (_adaptive_mean, _adaptive_mean_backward),
}
for _name, (_forward, _backward) in _POOLING.items():
    for _n in (2, 3):
        lowers(getattr(aten, _name.format(_n)).default)(partial(_forward, _n))
        lowers(getattr(aten, f"{_name.format(_n)}_backward").default)(partial(_backward, _n))


@lowers(aten.fractional_max_pool2d.default, aten.fractional_max_pool3d.default)
def _fractional_max_pool(c: Context, *_: Any) -> Ref:
    raise Unsupported("pooling over random windows; use MaxPool2d, or AdaptiveMaxPool2d for other ratios")
