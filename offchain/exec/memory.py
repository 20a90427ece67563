"""Memory that there is not: what it was for, in one line."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from offchain.errors import OutOfMemory
from offchain.ir.graph import Node

_WANTED: Final = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)  # torch on any device, numpy
_UNITS: Final = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}


@contextmanager
def memory_for(what: str, purpose: str, size: int = 0) -> Iterator[None]:
    """Raises OutOfMemory where the block cannot have its memory: `size` bytes, or as much as was asked for in vain."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch has both for it, according to the device
        said = _WANTED.search(str(error))
        if said is None and not isinstance(error, MemoryError):
            raise
        wanted = size or (float(said[1]) * _UNITS[said[2][0].lower()] if said else 0)
        needs = shown(wanted) if wanted else "memory"
        raise OutOfMemory(f"{what} needs {needs} {purpose}: there is not so much memory") from error


def memory_of(number: int, node: Node, more: str = "", size: int = 0) -> tuple[str, str, int]:
    """What `memory_for` takes, for a node."""
    return f"node {number} ({node.kind.name.lower()})", f"to make an output of shape {node.shape}{more}", size


def shown(size: float) -> str:
    """Bytes in the largest unit that leaves at least one of it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
