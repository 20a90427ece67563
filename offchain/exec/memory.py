"""Memory that a state gives back; and that there is not: what it was for, in one line."""

from __future__ import annotations

import re
import weakref
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from offchain.errors import OutOfMemory
from offchain.exec.planning import Buffer, Call, Plan, Within
from offchain.ir.graph import Graph, Node

_WANTED: Final = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)  # torch on any device, numpy
_UNITS: Final = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}


class Held:
    """A tensor of a state. When nothing holds it any more its memory goes to a later state."""

    def __init__(self, tensor: torch.Tensor, pool: list[torch.Tensor]) -> None:
        self.tensor = tensor
        self.address = tensor.data_ptr()
        weakref.finalize(self, pool.append, tensor).atexit = False


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


def largest(graph: Graph, plan: Plan[Any]) -> tuple[str, str, int]:
    """What `memory_for` takes, for the node that the arena has most of."""
    tensors = (item for call in plan.calls if isinstance(call, Call) for item in call.tensors)
    buffers = [item.buffer if isinstance(item, Within) else item for item in tensors]
    most = max((b for b in buffers if isinstance(b, Buffer)), key=lambda b: b.bytes, default=Buffer(0, 0, 0))
    number = bisect_right(plan.ends, most.first)
    return memory_of(number, graph.nodes[number], f" (a step needs {shown(plan.arena)})", most.bytes)


def shown(size: float) -> str:
    """Bytes in the largest unit that leaves at least one of it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
