"""Chooses the order in which nodes run so that little memory is in use at once.

torch's backward pass computes the gradient of a layer's input before that of its weight, so the tensors that the
weight's gradient needs stay alive meanwhile. Every order in which inputs come first gives the same bits.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace

from offchain.ir.graph import Node, Slot, Source, readers_of


def reordered(nodes: Sequence[Node], slots: Sequence[Slot]) -> tuple[list[Node], list[Slot]]:
    """The nodes in the order with the lower peak: the given one, or the greedy one that always frees most next."""
    kept = {slot.index for slot in slots if slot.source is Source.NODE}
    before = list(range(len(nodes)))
    order = min((before, _thrifty(nodes, kept)), key=lambda order: peak(nodes, kept, order))
    new = {old: number for number, old in enumerate(order)}

    def renumbered(n: int) -> Node:
        inputs = (replace(i, index=new[i.index]) if i.source is Source.NODE else i for i in nodes[n].inputs)
        return replace(nodes[n], inputs=tuple(inputs))

    moved = [replace(s, index=new[s.index]) if s.source is Source.NODE else s for s in slots]
    return [renumbered(n) for n in order], moved


def peak(nodes: Sequence[Node], kept: set[int], order: Sequence[int]) -> int:
    """The most elements of node outputs that are alive at once in an order. Nodes in `kept` stay alive."""
    memory, most = _Memory(nodes, kept), 0
    for n in order:
        most = max(most, memory.alive + nodes[n].length)
        memory.run(n)
    return most


def _thrifty(nodes: Sequence[Node], kept: set[int]) -> list[int]:
    """The greedy order: of all nodes whose inputs exist, the one that leaves least alive; of equals, the first."""
    memory = _Memory(nodes, kept)
    missing = [len(producers) for producers in memory.producers]
    ready = [(memory.growth(n), n) for n in range(len(nodes)) if not missing[n]]
    heapq.heapify(ready)  # an entry for each growth that a node had: it only falls, so that the last one comes first
    order: list[int] = []
    done = [False] * len(nodes)
    while ready:
        _, n = heapq.heappop(ready)
        if done[n]:
            continue
        done[n] = True
        order.append(n)
        memory.run(n)
        fresh = [reader for reader in memory.readers[n] if missing[reader] == 1]
        for reader in memory.readers[n]:
            missing[reader] -= 1
        last = (p for p in memory.producers[n] if memory.waiting[p] == 1 and p not in kept)
        fresh += [reader for p in last for reader in memory.readers[p] if not (done[reader] or missing[reader])]
        for reader in fresh:
            heapq.heappush(ready, (memory.growth(reader), reader))
    return order


class _Memory:
    """The outputs that are alive while nodes run."""

    def __init__(self, nodes: Sequence[Node], kept: set[int]) -> None:
        self.nodes, self.kept, self.alive = nodes, kept, 0
        self.producers = [{i.index for i in node.inputs if i.source is Source.NODE} for node in nodes]
        self.readers = readers_of(nodes)
        self.waiting = [len(readers) for readers in self.readers]

    def growth(self, n: int) -> int:
        """Elements of the node's output, less those of inputs that it is the last to read."""
        last = (p for p in self.producers[n] if self.waiting[p] == 1 and p not in self.kept)
        return self.nodes[n].length - sum(self.nodes[p].length for p in last)

    def run(self, n: int) -> None:
        self.alive += self.growth(n)
        for producer in self.producers[n]:
            self.waiting[producer] -= 1
