"""How a dispute cuts a span into pieces: the steps of an interval, or the terms of a sum (Descent.stride)."""

from __future__ import annotations

from typing import Final

STEP_FAN: Final = 256
SUM_FAN: Final = 64


def pieces(a: int, b: int, fan: int) -> list[tuple[int, int]]:
    """[a, b) in at most `fan` equal pieces, the last one shorter."""
    width = -(-(b - a) // fan)
    return [(start, min(start + width, b)) for start in range(a, b, width)]
