"""Memory that a state gives back; and that there is not: what it was for, in one line."""

from __future__ import annotations

import re
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from offchain.errors import OutOfMemory
from offchain.exec.plan.planning import ALIGN, Plan
from offchain.ir.graph import Graph, Node

_WANTED: Final = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)  # torch on any device, numpy
_UNITS: Final = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}

_CPU: Final = torch.device("cpu")


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


def memory_of(number: int, node: Node) -> tuple[str, str]:
    """What `memory_for` takes, for a node."""
    return f"node {number} ({node.kind.name.lower()})", f"to make an output of shape {node.shape}"


def require_memory(what: str, purpose: str, size: int, most: int, total: int = 0) -> None:
    """Raises OutOfMemory where the total of which this is the largest part is above `most` bytes."""
    if max(size, total) > most:
        raise OutOfMemory(f"{what} needs {shown(size)} {purpose}: a step may take {shown(most)}")


def largest(graph: Graph, plan: Plan[Any]) -> tuple[str, str, int]:
    """What `memory_for` takes, for the node that the arena has most of."""
    part, node = plan.largest, graph.nodes[plan.largest.node]
    what, purpose = memory_of(part.node, node)
    if not part.output:
        purpose = f"for operands or totals of an output of shape {node.shape}"
    return what, f"{purpose} (a step needs {shown(plan.arena)})", part.bytes


def arena(graph: Graph, plan: Plan[Any], most: int, device: torch.device = _CPU) -> torch.Tensor:
    """Memory for all of a plan's buffers. Raises OutOfMemory where it is above `most` or cannot be had."""
    what, purpose, size = largest(graph, plan)
    require_memory(what, purpose, size, most, plan.arena)
    with memory_for(what, purpose, size):
        return torch.empty(plan.arena + ALIGN, dtype=torch.uint8, device=device)


def shown(size: float) -> str:
    """Bytes in the largest unit that leaves at least one of it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
