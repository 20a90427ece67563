"""`x[t]` and `x[:, t] = y` where t is a tensor of one number without axes: torch would look at its value.

What t is while a step is traced is no part of the step. So one row is selected by an index, or written where the row's
number is t.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from offchain.errors import OffchainError, Unsupported

_WHOLE: Final = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def getitem(x: Tensor, index: Any) -> Tensor:
    """`x[index]`, also where numbers in it are traced tensors; a negative one counts from the end."""
    if not any(map(_is_number, _parts(index))):
        return x[index]
    try:
        return x[index]  # a tensor from outside the step has a value
    except (RuntimeError, OffchainError):
        return _selected(x, _parts(index))


def setitem(x: Tensor, index: Any, value: Any) -> None:
    """`x[index] = value`, also where numbers in `index` are traced tensors."""
    if not any(map(_is_number, _parts(index))):
        x[index] = value
        return
    try:
        x[index] = value
    except (RuntimeError, OffchainError):
        _write(x, _parts(index), value)


def _write(x: Tensor, parts: tuple[Any, ...], value: Any) -> None:
    """Write to the row along the one axis whose number is traced, within what slices and numbers leave of x."""
    place = next(i for i, part in enumerate(parts) if _is_number(part))
    if any(isinstance(part, Tensor) or part is None for i, part in enumerate(parts) if i != place):
        raise Unsupported(
            "an index of several tensors is written; use torch.where, or x.index_put_ with rows as tensors"
        )
    number, axis = parts[place], _axes(x, parts)[place]
    size = x.shape[axis]
    axis -= sum(isinstance(part, int) for part in parts[:place])
    rows = x[(*parts[:place], slice(None), *parts[place + 1 :])]
    number = torch.where(number < 0, number + size, number)
    torch.zeros(size).index_select(0, number.reshape(1))  # no part of the step, but ranges.py checks it
    here = torch.arange(size, dtype=number.dtype) == number
    here = here.reshape(size, *[1] * (rows.ndim - axis - 1))
    new = torch.as_tensor(value, dtype=rows.dtype)
    new = new.expand((*rows.shape[:axis], *rows.shape[axis + 1 :])).unsqueeze(axis)
    rows.copy_(torch.where(here, new, rows))


def _selected(x: Tensor, parts: tuple[Any, ...]) -> Tensor:
    """The rows that traced numbers choose, then the rest of the index."""
    rest: list[Any] = []
    for part, axis in zip(parts, _axes(x, parts), strict=True):
        if _is_number(part):
            size = x.shape[axis]
            x = x.index_select(axis, torch.where(part < 0, part + size, part).reshape(1))
        rest.append(0 if _is_number(part) else part)
    return x[tuple(rest)]


def _axes(x: Tensor, parts: tuple[Any, ...]) -> list[int]:
    """The axis of x at which each part of an index begins."""
    taken = [_taken(part) for part in parts]
    spread = x.ndim - sum(taken)
    axes, axis = [], 0
    for part, count in zip(parts, taken, strict=True):
        axes.append(axis)
        axis += spread if part is Ellipsis else count
    return axes


def _taken(part: Any) -> int:
    """Axes of x that a part of an index stands for, unless it is an ellipsis."""
    if part is None or part is Ellipsis or isinstance(part, bool):
        return 0
    return part.ndim if isinstance(part, Tensor) and part.dtype is torch.bool else 1


def _parts(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _is_number(part: Any) -> bool:
    return isinstance(part, Tensor) and part.ndim == 0 and part.dtype in _WHOLE
