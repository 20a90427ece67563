"""Which nodes' outputs are made and downloaded together."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from offchain.ir.graph import Node


def batches(nodes: Sequence[Node], words: int) -> Iterator[range]:
    """Numbers of consecutive nodes: as many as their outputs fit `words` words, at least one."""
    first, taken = 0, 0
    for n, node in enumerate(nodes):
        if n > first and taken + node.length > words:
            yield range(first, n)
            first, taken = n, 0
        taken += node.length
    if nodes:
        yield range(first, len(nodes))
