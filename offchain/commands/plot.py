"""Draws a curve in the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

EIGHTHS: Final = " ▁▂▃▄▅▆▇█"


def curve(values: Sequence[float], width: int = 64, height: int = 6) -> list[str]:
    """The curve as lines of text, at most `width` + 13 columns, with its scale at the left.

    A column shows the mean of neighbouring values. Values that are not finite leave a gap; if none is finite, there
    are no lines.
    """
    columns = [_mean(values[start:stop]) for start, stop in pairwise(_cuts(len(values), width))]
    finite = [value for value in columns if value is not None]
    if not finite:
        return []
    low, high = min(finite), max(finite)
    scale = (height * 8 - 1) / (high - low) if high > low else 0.0
    levels = [0 if value is None else 1 + round((value - low) * scale) for value in columns]
    labels = {height - 1: f"{high:.4g}", 0: f"{low:.4g}"}
    return [
        f"{labels.get(row, ''):>10} ┤" + "".join(EIGHTHS[min(max(level - row * 8, 0), 8)] for level in levels)
        for row in reversed(range(height))
    ]


def _cuts(count: int, width: int) -> list[int]:
    columns = min(count, width)
    return [count * i // columns for i in range(columns + 1)] if columns else [0]


def _mean(values: Sequence[float]) -> float | None:
    mean = sum(values) / len(values)
    return mean if math.isfinite(mean) else None
