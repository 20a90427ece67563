"""JSON of strangers. Parsed, a value of two bytes takes up to a hundred: so they are counted first."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

MOST: Final = 1 << 19  # values, some 60 MB: those of a task's file or a certificate are a tenth of it
Pairs = Callable[[Sequence[tuple[str, Any]]], Any]


def parsed(raw: bytes | str, pairs: Pairs | None = None, most: int = MOST) -> Any:
    """What a JSON text says. Raises ValueError for what is none, has more than `most` values, or is nested too deeply.

    Commas and brackets are counted, also those in strings: there are no more values than these.

    Args:
        pairs: makes an object from its fields; default: dict.
    """
    text = raw if isinstance(raw, bytes) else raw.encode()
    if (count := sum(map(text.count, (b",", b"[", b"{")))) > most:
        raise ValueError(f"{count} values are above the limit of {most}")
    try:
        return json.loads(text, object_pairs_hook=pairs)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error
