"""F.grid_sample as gathers at computed places, in torch's operations: its gradients are those of what it is made of.

Formulas: aten/src/ATen/native/GridSampler.h. Places outside the image read 0; border and reflection
move them inside first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Final

import torch
from torch import Tensor

from offchain.errors import Unsupported

_MODES: Final = ("bilinear", "nearest", "bicubic")  # in the order of torch's numbers
_PADDINGS: Final = ("zeros", "border", "reflection")
_SHARPNESS: Final = -0.75  # of the cubic convolution (Keys, 1981), as in torch


def grid_sample(
    image: Tensor,
    grid: Tensor,
    mode: str = "bilinear",
    padding_mode: str = "zeros",
    align_corners: bool | None = None,
) -> Tensor:
    """`image` (N, C, *size) at `grid` (N, *out, n) with coordinates from −1 to 1, the last axis first: (N, C, *out)."""
    for value, known in ((mode, _MODES), (padding_mode, _PADDINGS)):
        if value not in known:
            raise Unsupported(f"grid_sample by {value!r}; torch has {', '.join(map(repr, known))}")
    size = image.shape[2:]
    if len(size) not in (2, 3) or grid.shape[-1] != len(size) or grid.shape[0] != image.shape[0]:
        gave = f"an image of shape {tuple(image.shape)} and a grid of shape {tuple(grid.shape)}"
        raise Unsupported(f"grid_sample of {gave}; give (N, C, H, W) and (N, H', W', 2), or both with a depth")
    axes = [grid[..., len(size) - 1 - d] for d in range(len(size))]
    places = [_in_elements(at, n, bool(align_corners)) for at, n in zip(axes, size, strict=True)]
    if mode == "bicubic":
        return _bicubic(image, places, padding_mode, bool(align_corners))
    places = [_padded(at, n, padding_mode, bool(align_corners)) for at, n in zip(places, size, strict=True)]
    if mode == "nearest":
        return _read(image, [at.detach().round() for at in places])
    lows = [at.detach().floor() for at in places]
    rests = [at - low for at, low in zip(places, lows, strict=True)]
    total = torch.zeros((), dtype=image.dtype)
    for corner in product((0, 1), repeat=len(size)):
        read = _read(image, [low + step for low, step in zip(lows, corner, strict=True)])
        for rest, step in zip(rests, corner, strict=True):
            read = read * (rest if step else 1 - rest).unsqueeze(1)
        total = total + read
    return total


def _bicubic(image: Tensor, places: Sequence[Tensor], padding: str, align_corners: bool) -> Tensor:
    """From four by four elements around each place, which are moved inside one by one."""
    size = image.shape[2:]
    if len(size) != 2:
        raise Unsupported("grid_sample by 'bicubic' of an image with a depth, which torch refuses too; use 'bilinear'")
    lows = [at.detach().floor() for at in places]
    weights = [_cubic(at - low) for at, low in zip(places, lows, strict=True)]
    ways = torch.arange(-1, 3, dtype=places[0].dtype).reshape(4, *(1 for _ in places[0].shape[1:]))
    near = [_padded(low.unsqueeze(1) + ways, n, padding, align_corners) for low, n in zip(lows, size, strict=True)]
    read = _read(image, (near[0].unsqueeze(2), near[1].unsqueeze(1)))  # (N, C, 4, 4, *out)
    rows = (read * weights[1].unsqueeze(1).unsqueeze(2)).sum(3)
    return (rows * weights[0].unsqueeze(1)).sum(2)


def _cubic(t: Tensor) -> Tensor:
    """The weights of the elements −1, 0, 1 and 2 for a place t between 0 and 1, along axis 1."""
    a = _SHARPNESS

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return torch.stack([far(t + 1), near(t), near(1 - t), far(2 - t)], 1)


def grid_sampler(image: Tensor, grid: Tensor, mode: int, padding: int, align_corners: bool) -> Tensor:
    """torch.grid_sampler, whose modes are numbers."""
    return grid_sample(image, grid, _MODES[mode], _PADDINGS[padding], align_corners)


def _in_elements(at: Tensor, size: int, align_corners: bool) -> Tensor:
    return (at + 1) / 2 * (size - 1) if align_corners else ((at + 1) * size - 1) / 2


def _padded(at: Tensor, size: int, padding: str, align_corners: bool) -> Tensor:
    """Coordinates in elements, moved inside where the padding says so."""
    if padding == "reflection":
        at = _reflected(at, 0, 2 * (size - 1)) if align_corners else _reflected(at, -1, 2 * size - 1)
    if padding != "zeros":  # no gradient from the border on
        at = torch.where((at > 0) & (at < size - 1), at, at.detach().clamp(0, size - 1))
    return at


def _reflected(at: Tensor, twice_low: int, twice_high: int) -> Tensor:
    """Reflected at both ends, which are half of what is given, until it is between them."""
    if twice_low == twice_high:
        return torch.zeros_like(at)
    low, span = twice_low / 2, (twice_high - twice_low) / 2
    away = (at - low).abs()
    rest = torch.fmod(away, span)
    odd = torch.floor(away.detach() / span) % 2 != 0
    return torch.where(odd, span - rest, rest) + low


def _read(image: Tensor, places: Sequence[Tensor]) -> Tensor:
    """The elements of every channel at whole coordinates, whose shapes are broadcast, 0 outside."""
    size = image.shape[2:]
    index = torch.zeros((), dtype=torch.int32)  # of 64 bits it would have to be shown that they fit 32
    inside = torch.ones((), dtype=torch.bool)
    for at, n in zip(places, size, strict=True):
        inside = inside & (at >= 0) & (at <= n - 1)
        index = index * n + at.clamp(0, n - 1).to(torch.int32)
    lead, out = image.shape[:2], index.shape[1:]
    flat = index.reshape(lead[0], 1, prod(out)).expand(*lead, prod(out))
    read = image.reshape(*lead, prod(size)).gather(2, flat.long()).reshape(*lead, *out)
    return torch.where(inside.unsqueeze(1), read, 0.0)
