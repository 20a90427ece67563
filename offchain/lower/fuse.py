"""Fusion: maps that only feed one other map become part of its program; nodes that nobody reads disappear.

A map joins the cluster of its readers when all of them are in that cluster and read it element for element (axes
may be permuted, or split), so that nothing is computed twice. Short maps that only maps read, or that read no tensor
at all (coordinates, masks), are copied into every reader instead, which is cheaper than storing them. A fused program
computes the same operations as the separate nodes, so fused and unfused graphs give the same bits. Fusion is
deterministic: clusters grow from the last node backwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from math import prod
from typing import Final

from offchain.errors import IllegalGraph, Unsupported
from offchain.ir.axes import coalesced, cut
from offchain.ir.encoding import MAX_RANK
from offchain.ir.graph import Axis, Input, Node, Slot, Source, View, readers_of, row_major
from offchain.ir.kinds import MAX_INPUTS, Kind
from offchain.ir.legality import program_types
from offchain.ir.moves import Counts, excess
from offchain.ir.primitives import MAX_PROGRAM, DType, Instr, Op, Program
from offchain.ir.program import ProgramBuilder, Value
from offchain.lower.builder import compact
from offchain.lower.copies import without_copies
from offchain.lower.node_order import reordered

FREE: Final = 8  # instructions of a map without inputs that may be copied
LIGHT: Final = 12  # instructions of any map that may be copied, and what it may read
LIGHT_INPUTS: Final = 3
Axes = tuple[int | None, ...]  # axis of the cluster's root that each axis of a member follows; None: has size 1


def prune(nodes: Sequence[Node], slots: Sequence[Slot]) -> tuple[list[Node], list[Slot]]:
    """Without the nodes that no slot needs."""
    live = {slot.index for slot in slots if slot.source is Source.NODE}
    for n in range(len(nodes) - 1, -1, -1):
        if n in live:
            live |= {item.index for item in nodes[n].inputs if item.source is Source.NODE}
    return _keep(nodes, slots, sorted(live))


def fuse(
    nodes: Sequence[Node], slots: Sequence[Slot], others: tuple[int, int] = (0, 0)
) -> tuple[list[Node], list[Slot]]:
    """The same step with fewer, longer maps, of which each can still be disputed. `others`: constants and datasets."""
    nodes, slots = prune(nodes, slots)
    counts = Counts(len(nodes), others[0], len(slots), others[1])  # of which fusion makes no more
    nodes, slots = prune(without_copies(nodes, slots), slots)
    nodes = _aligned(nodes)
    readers, written = readers_of(nodes), _Written()
    pinned = {slot.index for slot in slots if slot.source is Source.NODE}
    for n, node in enumerate(nodes):  # forwards, so that a map that reads only free maps becomes free itself
        if node.kind is Kind.MAP:
            cluster = _Cluster(nodes, n, counts, written)
            cluster.grow(readers, pinned)
            nodes[n] = cluster.node
    light = {n for n in range(len(nodes)) if n not in pinned and _is_light(nodes, n, readers[n])}
    live = set(pinned)
    for n in range(len(nodes) - 1, -1, -1):
        if n in live:
            if nodes[n].kind is Kind.MAP:
                cluster = _Cluster(nodes, n, counts, written)
                cluster.grow(readers, pinned, light)
                nodes[n] = cluster.node
            live |= {item.index for item in nodes[n].inputs if item.source is Source.NODE}
    return reordered(*prune([coalesced(node) if node.kind is Kind.MAP else node for node in nodes], slots))


def _aligned(nodes: Sequence[Node]) -> list[Node]:
    """Give maps that read each other element for element the same axes, by cutting those of either."""
    out = list(nodes)
    changed = set(range(len(out)))  # in this pass or the one before: other pairs stay as they are
    for _ in range(MAX_RANK):
        now: set[int] = set()
        for n in range(len(out) - 1, -1, -1):
            for position in range(len(out[n].inputs) if out[n].kind is Kind.MAP else 0):
                item = out[n].inputs[position]
                pair = {n, item.index}
                if item.source is not Source.NODE or (pair.isdisjoint(changed) and pair.isdisjoint(now)):
                    continue
                if out[item.index].kind is Kind.MAP:
                    reader, producer = _cut_alike(out[n], out[item.index], item)
                    now |= {m for m, new in ((n, reader), (item.index, producer)) if new is not out[m]}
                    out[n], out[item.index] = reader, producer
        if not now:
            break
        changed = now
    return out


def _cut_alike(reader: Node, producer: Node, item: Input) -> tuple[Node, Node]:
    walked = [
        (out, axis.stride, size)
        for out, axis, size in zip(row_major(reader.shape), item.view.axes, reader.shape, strict=True)
        if axis.stride and size > 1
    ]
    full = all((axis.lo, axis.hi) == (0, size) for axis, size in zip(item.view.axes, reader.shape, strict=True))
    if not full or item.view.offset or prod(size for _, _, size in walked) != producer.length:
        return reader, producer
    for _, stride, _ in walked:
        producer = cut(producer, stride) or producer
    for out, stride, size in walked:
        for own in row_major(producer.shape):
            if stride < own < stride * size and own % stride == 0:
                reader = cut(reader, out * (own // stride)) or reader
    return reader, producer


def _keep(nodes: Sequence[Node], slots: Sequence[Slot], kept: Sequence[int]) -> tuple[list[Node], list[Slot]]:
    """Only the nodes `kept`, renumbered; nodes that became equal are one."""
    new: dict[int, int] = {}
    numbers: dict[Node, int] = {}
    for old in kept:
        inputs = tuple(
            replace(item, index=new[item.index]) if item.source is Source.NODE else item for item in nodes[old].inputs
        )
        new[old] = numbers.setdefault(replace(nodes[old], inputs=inputs), len(numbers))
    moved = [replace(s, index=new[s.index]) if s.source is Source.NODE else s for s in slots]
    return list(numbers), moved


Pattern = tuple[object, ...]
Reading = tuple[int, int, int, tuple[Axis, ...]]  # member, in order; number of its input; beyond its offset; axes
_Written = dict[Pattern, tuple[Program, tuple[Reading, ...]] | None]  # what clusters of a pattern become


@dataclass
class _Cluster:
    """A root map and the maps that its program swallows."""

    nodes: Sequence[Node]
    root: int
    counts: Counts
    known: _Written

    def __post_init__(self) -> None:
        self.node = self.nodes[self.root]
        rank = range(len(self.node.shape))
        self.members: dict[int, Axes] = {self.root: tuple(rank)}
        self.copied: set[int] = set()
        self.written = True  # whether `node` has the program of all members

    def grow(self, readers: Sequence[set[int]], pinned: set[int], light: set[int] | None = None) -> None:
        """Swallow the maps that fit; without `light`, only free ones."""
        queue = self._producers(self.root)
        heapq.heapify(queue)
        seen = set(queue)
        while queue:
            candidate = -heapq.heappop(queue)
            inside = candidate not in pinned and readers[candidate] <= self.members.keys() - self.copied
            if not _is_free(self.nodes[candidate]) and (light is None or not (inside or candidate in light)):
                continue
            axes = self._axes_of(candidate)
            if axes is None or not self._swallow(candidate, axes):
                continue
            if not inside:
                self.copied.add(candidate)
            fresh = [p for p in self._producers(candidate) if p not in seen]
            seen.update(fresh)
            for p in fresh:
                heapq.heappush(queue, p)
        if not self.written:
            node = self._together(self.members)
            assert node is not None  # as _surely_fits says
            self.node, self.written = node, True

    def _producers(self, member: int) -> list[int]:
        """Maps that a member reads, negated so that the heap gives the last first."""
        inputs = self.nodes[member].inputs
        found = {item.index for item in inputs if item.source is Source.NODE}
        return sorted(-n for n in found if self.nodes[n].kind is Kind.MAP)

    def _axes_of(self, candidate: int) -> Axes | None:
        """How the candidate's axes follow the root's, if every read by a member agrees."""
        found: set[Axes | None] = set()
        for member, axes in self.members.items():
            for item in self.nodes[member].inputs:
                if item.source is Source.NODE and item.index == candidate:
                    found.add(_follow(self.nodes[candidate], self.nodes[member], item, axes))
        return found.pop() if len(found) == 1 else None

    def _swallow(self, candidate: int, axes: Axes) -> bool:
        trial = {**self.members, candidate: axes}
        if self._surely_fits(trial):
            self.members, self.written = trial, False
            return True
        node = self._together(trial)
        if node is None:
            return False
        self.members, self.node, self.written = trial, node, True
        return True

    def _together(self, members: dict[int, Axes]) -> Node | None:
        """The node that does what all members do; None where it is not legal.

        Clusters that differ only by where they read, as the cells of a recurrence do, are written once.
        """
        order, pattern = sorted(members), self._pattern(members)
        if pattern not in self.known:
            self.known[pattern] = self._written_anew(members)
        found = self.known[pattern]
        if found is None:
            return None
        program, readings = found
        inputs = []
        for member, number, beyond, axes in readings:
            item = self.nodes[order[member]].inputs[number]
            inputs.append(replace(item, view=View(item.view.offset + beyond, axes)))
        return replace(self.node, inputs=tuple(inputs), program=program)

    def _written_anew(self, members: dict[int, Axes]) -> tuple[Program, tuple[Reading, ...]] | None:
        writer = _Writer(self.nodes, self.root, members)
        made = writer.write()
        if made is None or excess(replace(self.node, inputs=made[1], program=made[0]), self.counts):
            return None
        return made[0], tuple(writer.readings[item] for item in made[1])

    def _pattern(self, members: dict[int, Axes]) -> Pattern:
        """All that decides what the members become, but for which tensors they read and from which element on."""
        root, tensors = self.nodes[self.root], dict[tuple[Source, int, int], int]()
        ranks = {member: rank for rank, member in enumerate(sorted(members))}
        parts: list[object] = [root.shape, root.dtype, ranks[self.root]]
        for member in ranks:
            parts += [self.nodes[member].program, members[member]]
            for item in self.nodes[member].inputs:
                if item.source is Source.NODE and item.index in ranks:
                    parts.append(ranks[item.index])
                    continue
                number = tensors.setdefault((item.source, item.index, item.view.offset), len(tensors))
                parts.append((number, item.source, item.dtype, item.length, item.view.axes))
        return tuple(parts)

    def _surely_fits(self, members: dict[int, Axes]) -> bool:
        """Whether the members fit together even if nothing were simplified: this takes far less time than to write it.

        No instruction becomes more than one, and no read more than one; a move is the larger, the more there are.
        """
        if sum(len(self.nodes[member].program) for member in members) > MAX_PROGRAM:
            return False
        reads = {
            (item, axes)
            for member, axes in members.items()
            for item in self.nodes[member].inputs
            if item.source is not Source.NODE or item.index not in members
        }
        if len(reads) > MAX_INPUTS:
            return False
        read = tuple(sorted((item.source, item.length) for item, _ in reads))
        return _sendable(self.node.shape, self._operations(members), read, self.counts)

    def _operations(self, members: dict[int, Axes]) -> tuple[Op, ...]:
        """Of all members, in an order that does not depend on that of the members."""
        return tuple(sorted(instr.op for member in members for instr in self.nodes[member].program))


@lru_cache(maxsize=4096)
def _sendable(
    shape: tuple[int, ...], operations: tuple[Op, ...], read: tuple[tuple[Source, int], ...], counts: Counts
) -> bool:
    """Whether every move about a map fits: one of these operations, that reads tensors of these lengths everywhere."""
    everywhere = View.contiguous(shape)
    inputs = tuple(Input(source, 0, DType.F32, length, everywhere) for source, length in read)
    program = tuple(map(Instr, operations))
    return not excess(Node(Kind.MAP, DType.F32, shape, inputs, program=program), counts)


def _follow(producer: Node, reader: Node, item: Input, axes: Axes) -> Axes | None:
    """Root axes that the producer's axes follow when `reader` reads it, or None if not one to one."""
    if item.view.offset or (producer.length != reader.length and len(producer.program) > LIGHT):
        return None
    own = {s: d for d, s in enumerate(row_major(producer.shape)) if producer.shape[d] > 1}
    out: list[int | None] = [None] * len(producer.shape)
    for d, (axis, size) in enumerate(zip(item.view.axes, reader.shape, strict=True)):
        if (axis.lo, axis.hi) != (0, size):  # even where the size is 1: the reader may read nothing
            return None
        if axis.stride == 0:
            continue
        target = own.pop(axis.stride, None)
        if target is None or producer.shape[target] != size:
            return None
        out[target] = axes[d]
    return None if own else tuple(out)


def _is_free(node: Node) -> bool:
    """Whether a map is cheaper to repeat than to read."""
    return node.kind is Kind.MAP and not node.inputs and len(node.program) <= FREE


def _is_light(nodes: Sequence[Node], n: int, readers: set[int]) -> bool:
    """Whether a map is cheaper to repeat in each of its readers than to store: short, and no node needs it whole."""
    node = nodes[n]
    if node.kind is not Kind.MAP or len(node.program) > LIGHT or len(node.inputs) > LIGHT_INPUTS:
        return False
    return all(nodes[reader].kind is Kind.MAP for reader in readers)


class _Writer:
    """Writes the program of a cluster: members in order, reads between them replaced by values."""

    def __init__(self, nodes: Sequence[Node], root: int, members: dict[int, Axes]) -> None:
        self.nodes, self.root, self.members = nodes, root, members
        self.shape = nodes[root].shape
        self.builder = ProgramBuilder(self.shape)
        self.inputs: dict[Input, int] = {}
        self.readings: dict[Input, Reading] = {}
        self.results: dict[int, Value] = {}

    def write(self) -> tuple[Program, tuple[Input, ...]] | None:
        """None where the result is not a legal program."""
        try:
            for rank, member in enumerate(sorted(self.members)):
                self.results[member] = self._member(member, rank)
        except Unsupported:
            return None
        program, inputs = compact(self.builder.finish(self.results[self.root]), tuple(self.inputs))
        if len(program) > MAX_PROGRAM or len(inputs) > MAX_INPUTS:
            return None
        try:
            types = program_types(replace(self.nodes[self.root], inputs=inputs, program=program))
        except IllegalGraph:
            return None
        return (program, inputs) if types[-1] is self.nodes[self.root].dtype else None

    def _member(self, member: int, rank: int) -> Value:
        node, axes = self.nodes[member], self.members[member]

        def index(axis: int) -> Value:
            target = axes[axis]
            return self.builder.whole(0) if target is None else self.builder.index(target)

        def read(number: int) -> Value:
            return self._input(node.inputs[number], axes, (rank, number))

        return self.builder.repeat(node.program, read, index)

    def _input(self, item: Input, axes: Axes, place: tuple[int, int]) -> Value:
        if item.source is Source.NODE and item.index in self.results:
            return self.results[item.index]
        if not item.view.reads:
            return self.builder.real(0.0) if item.dtype is DType.F32 else self.builder.whole(0)
        moved = [Axis(0, 0, size) for size in self.shape]
        for axis, target in zip(item.view.axes, axes, strict=True):
            if target is not None:
                moved[target] = axis
        read = replace(item, view=View(item.view.offset, tuple(moved)).settled())
        number = self.inputs.setdefault(read, len(self.inputs))
        self.readings.setdefault(read, (*place, read.view.offset - item.view.offset, read.view.axes))
        return self.builder.input(number, item.dtype)
