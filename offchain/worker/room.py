"""Room on a worker's disk: how large a state's file may be, and how much is made free where there is too little."""

from __future__ import annotations

from typing import Final

from offchain.ir.graph import Graph

SLACK: Final = 1 << 20  # bytes of a state's file beside its tensors
ROOM: Final = 1 << 30  # bytes that are made free on a full disk


def state_bytes(graph: Graph) -> int:
    """The most that a state's file may have."""
    return 4 * sum(slot.spec.length for slot in graph.slots) + SLACK + 256 * len(graph.slots)
