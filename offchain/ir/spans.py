"""Many steps of a graph at once: which nodes can be made for all of them together, and in which order.

A step is `state[t+1] = F(state[t], t)`. Whoever is told what the steps output is told more of the states than the first
one: a slot that holds what a step has output is known after every step. Reads of such a slot tie no step to the one
before. What ties them still are nodes that depend on themselves one step earlier: a cache, and what writes to it.
These run step after step, all others once, with the steps as one more axis. No row of that axis reads another, so each
has the bits that its own step gives it.

What is said of the outputs need not be true. Rows are right up to the first at which the node of a known slot gives
something else, and there that node is right as well, since all that it reads is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from math import prod
from typing import Final

from offchain.ir.graph import Axis, Graph, Input, Node, Source, View
from offchain.ir.kinds import traits
from offchain.ir.program import ProgramBuilder, Value

LARGE: Final = 1 << 21  # elements of all steps together: what a loop makes and is larger is read in that loop
LOOKS: Final = 1_000_000  # at nodes of a stranger's graph, after which no loop takes in more


@dataclass(frozen=True, slots=True)
class Group:
    """Nodes in order that are made step after step, or (not `looped`) one node that is made for all steps at once."""

    nodes: tuple[int, ...]
    looped: bool


@dataclass(frozen=True)
class Span:
    """`steps` steps of a graph at once. `known` has the slots whose content after each step is given, with the slot of
    the output that shows it; `groups` are in an order in which they can be made."""

    graph: Graph
    steps: int
    known: dict[int, int]
    groups: tuple[Group, ...]

    def begins(self) -> dict[int, int]:
        """The slot that hands a node's output on to the next step, where steps read it. There is one at most."""
        read = {item.index for node in self.graph.nodes for item in node.inputs if item.source is Source.STATE}
        slots = self.graph.slots
        return {slots[n].index: n for n in read if slots[n].source is Source.NODE}

    def readers(self) -> list[set[int]]:
        """For each node, the nodes that read what it gives, in this step or, through a slot that is not known, in the
        next."""
        found: list[set[int]] = [set() for _ in self.graph.nodes]
        makers = _makers(self.graph)
        for n, node in enumerate(self.graph.nodes):
            for maker in _feeds(node, makers, self.known):
                found[maker].add(n)
        return found

    @property
    def repeated(self) -> int:
        """How often a node of a loop is made in all steps."""
        return self.steps * sum(len(group.nodes) for group in self.groups if group.looped)

    @property
    def looped(self) -> float:
        """The part of a step's work that is made step after step."""
        work = [traits(node.kind).cost(node.shape, node.extent, node.program) for node in self.graph.nodes]
        return sum(work[n] for group in self.groups if group.looped for n in group.nodes) / sum(work)


def known_slots(graph: Graph, outputs: Iterable[int]) -> dict[int, int]:
    """The slots that hold after a step what the step writes to one of these slots of outputs, and to which.

    A guess by shapes alone, which need not be right: whoever uses it compares.
    """
    found = {}
    for output in outputs:
        slot = graph.slots[output]
        read = {
            item.index
            for item in (graph.nodes[slot.index].inputs if slot.source is Source.NODE else ())
            if item.source is Source.NODE and item.length == prod(slot.spec.shape[1:])
        }
        for n, other in enumerate(graph.slots):
            alike = other.spec.dtype is slot.spec.dtype
            if n != output and other.source is Source.NODE and other.index in read and alike:
                found[n] = output
    return found


def span_of(graph: Graph, steps: int, outputs: Sequence[int]) -> Span | None:
    """How so many steps are made at once, given these slots of outputs; None where it cannot be."""
    makers = _makers(graph)
    moved = any(slot.source is Source.STATE and slot.index != n for n, slot in enumerate(graph.slots))
    read = {item.index for node in graph.nodes for item in node.inputs if item.source is Source.STATE}
    twice = [makers[n] for n in read if makers[n] is not None]
    if steps < 2 or moved or len(set(twice)) < len(twice):
        return None
    known = {slot: output for slot, output in known_slots(graph, outputs).items() if slot in read}
    groups = _Groups(graph.nodes, [_feeds(node, makers, known) for node in graph.nodes])
    groups.widen(steps, [_shares(graph, node) for node in graph.nodes])
    return Span(graph, steps, known, groups.ordered())


def moves(graph: Graph, item: Input) -> bool:
    """Whether what a node reads may be another in each step."""
    if item.source is Source.STATE:
        return graph.slots[item.index].source is Source.NODE
    return item.source is Source.NODE


def _shares(graph: Graph, node: Node) -> bool:
    """Whether a node multiplies by something that is the same in all steps. That is what many at once gain by."""
    return len(traits(node.kind).scaled) > 1 and not all(moves(graph, item) for item in node.inputs)


def _makers(graph: Graph) -> list[int | None]:
    """The node that each slot hands on."""
    return [slot.index if slot.source is Source.NODE else None for slot in graph.slots]


def _feeds(node: Node, makers: Sequence[int | None], known: dict[int, int]) -> dict[int, int]:
    """The nodes whose output of this step, or of the one before, a node reads, with the elements of that output."""
    found = {}
    for item in node.inputs:
        maker = item.index if item.source is Source.NODE else None
        if item.source is Source.STATE and item.index not in known:
            maker = makers[item.index]
        if maker is not None:
            found[maker] = item.length
    return found


class _Groups:
    """The nodes of a graph in groups, of which none depends on itself through another."""

    def __init__(self, nodes: Sequence[Node], feeds: Sequence[dict[int, int]]) -> None:
        self._nodes, self._feeds = nodes, feeds
        self._of = list(range(len(nodes)))  # the group of each node, named by its first node
        self._members = {n: [n] for n in range(len(nodes))}
        self._looped: set[int] = set()
        self._looks = LOOKS
        for circle in circles(feeds):
            self._looped.add(min(circle))
            self._join(min(circle), circle)
        for n, node in enumerate(nodes):
            if traits(node.kind).named_axes:  # its first axis must stay the first
                self._looped.add(self._of[n])

    def widen(self, steps: int, shared: Sequence[bool]) -> None:
        """Takes a node into the loop from which it reads what is largest, unless it also reads what comes after that,
        or multiplies by what is `shared`."""
        for n, feeds in enumerate(self._feeds):
            for m in sorted(feeds, key=lambda m: -feeds[m]):
                if shared[n] or self._of[n] in self._looped or feeds[m] * steps <= LARGE:
                    break
                if self._of[m] in self._looped and not self._reaches(self._of[m], n):
                    self._join(self._of[m], [n])

    def ordered(self) -> tuple[Group, ...]:
        """All groups, each after those that it reads."""
        waits = {group: self._read_by(group) for group in self._members}
        readers: dict[int, list[int]] = {group: [] for group in waits}
        for group, before in waits.items():
            for other in before:
                readers[other].append(group)
        ready, found = [group for group, before in waits.items() if not before], []
        heapify(ready)
        while ready:
            group = heappop(ready)
            found.append(Group(tuple(sorted(self._members[group])), group in self._looped))
            for reader in readers[group]:
                waits[reader].discard(group)
                if not waits[reader]:
                    heappush(ready, reader)
        return tuple(found)

    def _join(self, group: int, nodes: Iterable[int]) -> None:
        for n in nodes:
            if self._of[n] != group:
                self._members[group] += self._members.pop(self._of[n])
                self._of[n] = group

    def _read_by(self, group: int) -> set[int]:
        return {self._of[m] for n in self._members[group] for m in self._feeds[n]} - {group}

    def _reaches(self, group: int, n: int) -> bool:
        """Whether what a node reads, but for the group itself, depends on the group; or nobody looks any more."""
        todo, seen = [self._of[m] for m in self._feeds[n] if self._of[m] != group], set[int]()
        while todo:
            at = todo.pop()
            if at == group or self._looks <= 0:
                return True
            if at not in seen:
                seen.add(at)
                self._looks -= len(self._members[at])
                todo += self._read_by(at)
        return False


def circles(feeds: Sequence[Iterable[int]]) -> list[list[int]]:
    """The largest sets of nodes each of which depends on itself through all others (Tarjan 1972, without recursion)."""
    low, place, held, found = dict[int, int](), dict[int, int](), list[int](), list[list[int]]()
    for root in range(len(feeds)):
        todo = [] if root in low else [(root, iter(feeds[root]))]
        while todo:
            n, rest = todo[-1]
            if n not in low:
                low[n] = place[n] = len(held)
                held.append(n)
            fresh = next((m for m in rest if m not in low), None)
            if fresh is not None:
                todo.append((fresh, iter(feeds[fresh])))
                continue
            todo.pop()
            low[n] = min([low[n], *(low[m] for m in feeds[n] if m in place)])
            if low[n] == place[n]:
                circle = held[low[n] :]
                del held[low[n] :]
                for m in circle:
                    del place[m]
                if len(circle) > 1 or n in feeds[n]:
                    found.append(circle)
    return found


class _Wide(ProgramBuilder):
    """Of a node with the steps as its first axis."""

    def step(self) -> Value:
        return super().step() + self.index(0)


def widened(node: Node, steps: int, moves: Sequence[bool]) -> Node:
    """The node for so many steps at once, as its first axis. `moves`: which inputs have a row for each step; the others
    are the same in all of them. A scatter_add has none: its first axis stays the first."""
    shape = (steps, *node.shape)
    inputs = tuple(_wide(item, steps, moving) for item, moving in zip(node.inputs, moves, strict=True))
    program = node.program
    if program:
        builder = _Wide(shape)
        result = builder.repeat(
            program, lambda number: builder.input(number, inputs[number].dtype), lambda axis: builder.index(axis + 1)
        )
        program = builder.finish(result)
    return replace(node, shape=shape, inputs=inputs, program=program)


def _wide(item: Input, steps: int, moving: bool) -> Input:
    axis = Axis(item.length if moving else 0, 0, steps)
    view = View(item.view.offset, (axis, *item.view.axes)).settled()
    return replace(item, length=item.length * (steps if moving else 1), view=view)
