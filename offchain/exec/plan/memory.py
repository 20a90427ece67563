"""Reuses the memory of discarded states; turns a failed allocation into one line that says what it was for."""

from __future__ import annotations

import re
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import torch

from offchain.errors import OutOfMemory
from offchain.exec.plan.planning import ALIGN, Plan
from offchain.ir.graph import Graph, Node

_WANTED: Final = re.compile(r"allocate ([\d.]+) ?(bytes|[KMGTPE]iB)", re.IGNORECASE)  # torch on any device, numpy
_UNITS: Final = {"b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50, "e": 1 << 60}

Room = Callable[[int, torch.dtype], torch.Tensor]  # memory for so many elements


class Held:
    """A tensor of a state. Once nothing refers to it, its memory goes back to the pool, for a later state."""

    def __init__(self, tensor: torch.Tensor, pool: list[torch.Tensor]) -> None:
        self.tensor = tensor
        self.address = tensor.data_ptr()
        weakref.finalize(self, pool.append, tensor).atexit = False


@contextmanager
def memory_for(what: str, purpose: str, size: int = 0) -> Iterator[None]:
    """Raises OutOfMemory where an allocation in the block fails, of `size` bytes or else of what was asked for."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:  # torch raises either, depending on the device
        said = _WANTED.search(str(error))
        if said is None and not isinstance(error, MemoryError):
            raise
        wanted = size or (float(said[1]) * _UNITS[said[2][0].lower()] if said else 0)
        needs = shown(wanted) if wanted else "memory"
        raise OutOfMemory(f"{what} needs {needs} {purpose}: not enough memory") from error


def memory_of(number: int, node: Node) -> tuple[str, str]:
    """The arguments of `memory_for` for the output of a node."""
    return f"node {number} ({node.kind.name.lower()})", f"to make an output of shape {node.shape}"


def require_memory(what: str, purpose: str, size: int, most: int, total: int = 0) -> None:
    """Raises OutOfMemory where `size` bytes, or a `total` of which they are the largest share, exceed `most`."""
    if max(size, total) > most:
        raise OutOfMemory(f"{what} needs {shown(size)} {purpose}: a step may take {shown(most)}")


def largest(graph: Graph, plan: Plan[Any]) -> tuple[str, str, int]:
    """The arguments of `memory_for` for the node with the largest share of the arena."""
    part, node = plan.largest, graph.nodes[plan.largest.node]
    what, purpose = memory_of(part.node, node)
    if not part.output:
        purpose = f"for operands or totals of an output of shape {node.shape}"
    return what, f"{purpose} (a step needs {shown(plan.arena)})", part.bytes


def arena(graph: Graph, plan: Plan[Any], most: int, room: Room) -> torch.Tensor:
    """Memory for all buffers of a plan. Raises OutOfMemory where it exceeds `most` bytes or cannot be allocated."""
    what, purpose, size = largest(graph, plan)
    require_memory(what, purpose, size, most, plan.arena)
    with memory_for(what, purpose, size):
        return room(plan.arena + ALIGN, torch.uint8)


def shown(size: float) -> str:
    """Bytes in the largest unit that leaves at least one of it."""
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"
