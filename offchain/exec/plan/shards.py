"""Divides a step among processes by the rows of its batch.

Every process holds the whole state, datasets and constants. The output of a node is whole in every process, or dealt
out: each process holds the elements of its own rows. A node is cut along an axis, of its output or k, such that a
process reads its own rows only of what is dealt out:

- along an axis of its output: the output is dealt out;
- along k of a reduction: every process has a part of each element. The greatest magnitudes are joined, then the integer
  totals, and every process rounds the same numbers. Order cannot change an integer sum, so no bit depends on the cut;
- where no axis serves: what is dealt out is gathered, and every process makes all of the node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from offchain.errors import BadInput
from offchain.exec.plan.pieces import restricted, shifted
from offchain.ir.graph import Axis, Graph, Input, Node, Source, View, readers_of, row_major
from offchain.ir.kinds import Kind, traits
from offchain.ir.primitives import Instr, Op

BUCKET: Final = 1 << 25  # bytes of totals and their operands that may wait to be joined with others


@dataclass(frozen=True, slots=True)
class Joined:
    """How the processes join a node's output: a map by adding words, of which all but one process's are 0; a maximum by
    order keys; a sum by magnitudes, then totals. Nodes of one bucket follow each other and are independent. `extent` is
    K over all processes.
    """

    bucket: int
    extent: int


@dataclass(frozen=True)
class Share:
    """What one process does: the graph of its nodes, and how the output of each is joined (None: it is not)."""

    graph: Graph
    joined: tuple[Joined | None, ...]

    @property
    def together(self) -> frozenset[int]:
        """The nodes whose outputs are joined."""
        return frozenset(n for n, how in enumerate(self.joined) if how is not None)


def whole(graph: Graph) -> Share:
    """The share of a single process: all of a step."""
    return Share(graph, (None,) * len(graph.nodes))


def share(graph: Graph, size: int, rank: int) -> Share:
    """The share of process `rank` of `size`. Raises BadInput where there are fewer rows than processes."""
    dealing = by_rows(graph)
    if dealing.rows < size and size > 1:
        raise BadInput(f"{size} processes need as many rows of a dataset in each step, and a step reads {dealing.rows}")
    return dealing.part(rank, size)


def by_rows(graph: Graph) -> Dealing:
    """Deals outputs out, beginning with the nodes that gather rows of a dataset; where a step gathers none, with those
    that read all rows of the datasets, as a step does that has no batches."""
    rows = batch_rows(graph)
    axes = {n: _row_axis(node) for n, node in enumerate(graph.nodes)}
    if not rows and graph.datasets:
        rows = graph.datasets[0].shape[0]
        axes = {n: _whole_axis(graph, node) for n, node in enumerate(graph.nodes)}
    return Dealing(graph, rows, {n: d for n, d in axes.items() if d is not None and graph.nodes[n].shape[d] == rows})


def batch_rows(graph: Graph) -> int:
    """How many rows a step gathers from datasets: of several numbers the one with most elements, 0 if none."""
    found: Counter[int] = Counter()
    for node in graph.nodes:
        axis = _row_axis(node)
        if axis is not None:
            found[node.shape[axis]] += node.length
    return max(found, key=lambda rows: (found[rows], rows), default=0)


def _row_axis(node: Node) -> int | None:
    """The axis along which a gather from a dataset takes different rows."""
    if node.kind is not Kind.GATHER or node.inputs[0].source is not Source.DATA:
        return None
    return next((d for d, axis in enumerate(node.inputs[1].view.axes) if axis.stride and node.shape[d] > 1), None)


def _whole_axis(graph: Graph, node: Node) -> int | None:
    """The axis along which a node reads a dataset row by row."""
    for item in node.inputs:
        if item.source is not Source.DATA:
            continue
        rows = graph.datasets[item.index].shape[0]
        for d in range(traits(node.kind).named_axes, len(node.shape)):
            if node.shape[d] == rows and item.view.axes[d].stride == item.length // rows:
                return d
    return None


def block_of(view: View, axis: int, size: int, rows: int, inner: int) -> int | None:
    """The block of rows·inner elements that a view starts in, if coordinates of each row of `axis` read that row only.

    `axis` has `size` coordinates, a multiple of `rows`. None where another row may be read.
    """
    block, each = rows * inner, size // rows
    if any(a.lo == a.hi for a in view.axes):
        return 0  # reads nothing
    if view.axes[axis].stride * each != inner:
        return None
    low = view.offset
    high = low + inner - view.axes[axis].stride
    for d, a in enumerate(view.axes):
        if d != axis and a.stride % block:  # the others go from block to block
            ends = (a.stride * a.lo, a.stride * (a.hi - 1))
            low, high = low + min(ends), high + max(ends)
    first = low // block
    return first if high < first * block + inner else None


@dataclass
class Dealing:
    """How outputs are dealt out, the same for every process. `first` gives the axis of the nodes that it begins with.

    Element f of an output belongs to row `f // inner % rows`. `axes[n]` is where node n is cut: len(shape) for k.
    """

    graph: Graph
    rows: int
    first: Mapping[int, int]
    inner: list[int | None] = field(default_factory=list)
    axes: list[int | None] = field(default_factory=list)
    kept: set[int] = field(default_factory=set)  # nodes whose outputs slots hold

    def __post_init__(self) -> None:
        self.kept = {slot.index for slot in self.graph.slots if slot.source is Source.NODE}
        for n, node in enumerate(self.graph.nodes):
            axis = self._axis(n, node)
            self.axes.append(axis)
            self.inner.append(self._inner(node, axis))
        if self.first:
            self._deal_out_what_only_rows_read()

    def part(self, rank: int, size: int) -> Share:
        """The share of process `rank`: rows from rows·rank/size on, rounded down."""
        return _Process(self, self.rows * rank // size, self.rows * (rank + 1) // size).share()

    def block(self, node: Node, item: Input, axis: int | None) -> int | None:
        """`block_of` an input that is dealt out, for a node cut along `axis`."""
        inner = self.inner[item.index]
        if axis is None or inner is None:
            return None
        return block_of(item.view, axis, (*node.shape, node.extent)[axis], self.rows, inner)

    def _inner(self, node: Node, axis: int | None) -> int | None:
        if axis is None or axis == len(node.shape):
            return None
        return row_major(node.shape)[axis] * node.shape[axis] // self.rows

    def _candidates(self, node: Node) -> list[int]:
        """Axes that may be cut."""
        first = traits(node.kind).named_axes
        axes = [d for d in range(first, len(node.shape)) if node.shape[d] % self.rows == 0]
        return [*axes, len(node.shape)] if traits(node.kind).reduces and node.extent % self.rows == 0 else axes

    def _axis(self, n: int, node: Node) -> int | None:
        """The axis for which the fewest elements must be gathered; None where all must, or nothing is dealt out."""
        dealt = [i for i in node.inputs if i.source is Source.NODE and self.inner[i.index] is not None]
        if not dealt:
            return self.first.get(n)
        gathered = 0 if n not in self.kept else node.length  # a slot's output, which every process needs whole
        cost = {
            d: sum(i.length for i in dealt if self.block(node, i, d) is None) + (gathered if d < len(node.shape) else 0)
            for d in self._candidates(node)
        }
        best = min(cost, key=lambda d: cost[d], default=None)
        return None if best is None or cost[best] >= sum(i.length for i in dealt) else best

    def _deal_out_what_only_rows_read(self) -> None:
        """Deals out nodes that read nothing dealt out (a dropout's mask) where no process needs them whole."""
        nodes, readers = self.graph.nodes, readers_of(self.graph.nodes)
        for n in range(len(nodes) - 1, -1, -1):
            free = self.axes[n] is None and n not in self.kept and readers[n] and not traits(nodes[n].kind).named_axes
            if not free or any(i.source is Source.NODE and self.inner[i.index] is not None for i in nodes[n].inputs):
                continue
            for axis in (d for d in self._candidates(nodes[n]) if d < len(nodes[n].shape)):
                self.inner[n] = self._inner(nodes[n], axis)
                if all(self._reads_rows(nodes[reader], n, self.axes[reader]) for reader in readers[n]):
                    self.axes[n] = axis
                    break
                self.inner[n] = None

    def _reads_rows(self, node: Node, of: int, axis: int | None) -> bool:
        items = (i for i in node.inputs if i.source is Source.NODE and i.index == of)
        return all(self.block(node, item, axis) is not None for item in items)


@dataclass(frozen=True)
class _Made:
    """A node of one process. The other fields are the same in all, so that all join the same in the same order."""

    node: Node
    reads: frozenset[int]
    bytes: int
    extent: int | None  # K of all processes together, where the output is joined


class _Process:
    """The nodes of one process, with views of what it holds."""

    def __init__(self, dealing: Dealing, lo: int, hi: int) -> None:
        self.dealing, self.lo, self.hi = dealing, lo, hi
        self._made: list[_Made] = []
        self._numbers: list[int] = []  # here, of the graph's nodes
        self._gathered: dict[int, int] = {}

    def share(self) -> Share:
        graph, rows = self.dealing.graph, self.dealing.rows
        for node, axis in zip(graph.nodes, self.dealing.axes, strict=True):
            local = replace(node, inputs=tuple(self._input(node, item, axis) for item in node.inputs))
            reads = _reads(local)
            if axis is not None:
                each = (*node.shape, node.extent)[axis] // rows
                local = _cut(local, axis, each * self.lo, each * self.hi)
            size = 8 * node.length + sum(4 * item.length for item in node.inputs)
            self._numbers.append(self._add(local, reads, size, node.extent if axis == len(node.shape) else None))
        slots = [replace(s, index=self._whole(s.index)) if s.source is Source.NODE else s for s in graph.slots]
        return _in_buckets(replace(graph, slots=tuple(slots)), self._made)

    def _add(self, node: Node, reads: frozenset[int], size: int, extent: int | None) -> int:
        self._made.append(_Made(node, reads, size, extent))
        return len(self._made) - 1

    def _input(self, node: Node, item: Input, axis: int | None) -> Input:
        """The input as this process reads it, at the whole node's coordinates."""
        if item.source is not Source.NODE:
            return item
        first, inner = self.dealing.block(node, item, axis), self.dealing.inner[item.index]
        if first is None or inner is None or axis is None:
            return replace(item, index=self._whole(item.index))
        block, own = self.dealing.rows * inner, (self.hi - self.lo) * inner
        axes = (
            a._replace(stride=a.stride // block * own) if d != axis and a.stride % block == 0 else a
            for d, a in enumerate(item.view.axes)
        )
        view = View(item.view.offset + first * (own - block) - self.lo * inner, tuple(axes))
        return replace(item, index=self._numbers[item.index], length=item.length // block * own, view=view)

    def _whole(self, n: int) -> int:
        """This process's number of an output as a whole: what is dealt out is gathered, from own rows among zeros."""
        inner, number = self.dealing.inner[n], self._numbers[n]
        if inner is None:
            return number
        if n not in self._gathered:
            node, own = self._made[number].node, (self.hi - self.lo) * inner
            shape = (node.length // own, self.dealing.rows, inner)
            axes = (Axis(own, 0, shape[0]), Axis(inner, self.lo, self.hi), Axis(1, 0, inner))
            item = Input(Source.NODE, number, node.dtype, node.length, View(-self.lo * inner, axes))
            rows = Node(Kind.MAP, node.dtype, shape, (item,), program=(Instr(Op.INPUT),))
            self._gathered[n] = self._add(rows, _reads(rows), 4 * rows.length, 0)
        return self._gathered[n]


def _reads(node: Node) -> frozenset[int]:
    return frozenset(item.index for item in node.inputs if item.source is Source.NODE)


def _cut(node: Node, axis: int, lo: int, hi: int) -> Node:
    """The node for coordinates [lo, hi) of one axis, or of k."""
    if traits(node.kind).program:
        return restricted(node, axis, lo, hi)
    inputs = tuple(shifted(item, axis, lo, hi) for item in node.inputs)
    if axis == len(node.shape):
        return replace(node, inputs=inputs, extent=hi - lo)
    return replace(node, inputs=inputs, shape=(*node.shape[:axis], hi - lo, *node.shape[axis + 1 :]))


def _in_buckets(graph: Graph, made: Sequence[_Made]) -> Share:
    """Reorders nodes: those to be joined wait for others, until a node reads one or they take much memory."""
    order = list(_ordered(made))
    at = {n: i for i, (n, _) in enumerate(order)}

    def moved(node: Node) -> Node:
        items = (replace(i, index=at[i.index]) if i.source is Source.NODE else i for i in node.inputs)
        return replace(node, inputs=tuple(items))

    slots = (replace(slot, index=at[slot.index]) if slot.source is Source.NODE else slot for slot in graph.slots)
    nodes = tuple(moved(made[n].node) for n, _ in order)
    return Share(replace(graph, nodes=nodes, slots=tuple(slots)), tuple(joined for _, joined in order))


def _ordered(made: Sequence[_Made]) -> Iterator[tuple[int, Joined | None]]:
    waiting: dict[int, Joined] = {}
    held = bucket = 0
    for n, item in enumerate(made):
        if held > BUCKET or not item.reads.isdisjoint(waiting):
            yield from waiting.items()
            waiting, held, bucket = {}, 0, bucket + 1
        if item.extent is None:
            yield n, None
        else:
            waiting[n] = Joined(bucket, item.extent)
            held += item.bytes
    yield from waiting.items()
