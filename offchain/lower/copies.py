"""Copies that a reshape forced disappear: their readers walk the source themselves, over finer axes.

torch merges axes (batch and heads, say) to call a matrix product, which a strided view of a permuted tensor cannot
say; a node with one axis more can. A copy goes only if every reader can do without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from offchain.ir.graph import Axis, Input, Kind, Node, Slot, Source, View, readers_of, row_major
from offchain.ir.legality import SCALED
from offchain.ir.primitives import Op
from offchain.lower.axes import cut


def without_copies(nodes: Sequence[Node], slots: Sequence[Slot]) -> list[Node]:
    """The nodes, of which those that nobody reads any more are left in place."""
    out = list(nodes)
    pinned = {slot.index for slot in slots if slot.source is Source.NODE}
    readers = readers_of(out)
    for n, node in enumerate(out):
        if n not in pinned and readers[n] and _is_copy(node):
            changed = _Attempt(out, readers).without(n)
            for reader, new in changed.items():
                out[reader] = new
            item = node.inputs[0]
            if changed and item.source is Source.NODE:
                readers[item.index] |= readers[n]
    return out


def _is_copy(node: Node) -> bool:
    return node.kind is Kind.MAP and len(node.program) == 1 and node.program[0].op is Op.INPUT


class _Impossible(Exception):
    """A reader needs the copy."""


@dataclass
class _Attempt:
    """New spellings of the readers of one copy, and of what must be spelled like them; all or none."""

    nodes: Sequence[Node]
    readers: Sequence[set[int]]
    trial: dict[int, Node] = field(default_factory=dict)

    def without(self, copy: int) -> dict[int, Node]:
        try:
            for reader in sorted(self.readers[copy]):
                self._cut_like(reader, copy)
            for reader in sorted(self.readers[copy]):
                node = self._node(reader)
                inputs = tuple(
                    _through(self.nodes[copy], item) if (item.source, item.index) == (Source.NODE, copy) else item
                    for item in node.inputs
                )
                self.trial[reader] = replace(node, inputs=inputs)
        except _Impossible:
            return {}
        return self.trial

    def _node(self, n: int) -> Node:
        return self.trial.get(n, self.nodes[n])

    def _cut_like(self, reader: int, copy: int) -> None:
        """No axis of the reader walks further than one axis of the copy."""
        while (at := self._first_cut(reader, copy)) is not None:
            self._cut(reader, at)

    def _first_cut(self, reader: int, copy: int) -> int | None:
        node = self._node(reader)
        reads = (item for item in node.inputs if (item.source, item.index) == (Source.NODE, copy))
        cuts = (_first_cut(node, item, self.nodes[copy]) for item in reads)
        return next((at for at in cuts if at is not None), None)

    def _cut(self, n: int, at: int) -> None:
        """Cut a node's output at a flat stride, and what `legality` wants to be spelled alike: sums and exponents."""
        node = self._node(n)
        new = cut(node, at)
        if new is None:
            raise _Impossible
        if new is node:
            return
        self.trial[n] = new
        stride, d = max((s, d) for d, s in enumerate(row_major(node.shape)) if s < at and node.shape[d] > 1)
        inner = at // stride
        for _, scale in SCALED.get(node.kind, ()):
            item = node.inputs[scale]
            if item.view.axes[d].stride:
                self._cut(item.index, item.view.axes[d].stride * inner)
        if node.kind is Kind.EXPONENT:
            for reader in sorted(self.readers[n]):
                self._cut_reader(reader, n, stride, inner)

    def _cut_reader(self, reader: int, exponent: int, stride: int, inner: int) -> None:
        node = self._node(reader)
        for item in node.inputs:
            if (item.source, item.index) != (Source.NODE, exponent):
                continue
            for d, out in enumerate(row_major(node.shape)):
                if item.view.axes[d].stride == stride and node.shape[d] > inner:
                    self._cut(reader, out * inner)


def _first_cut(node: Node, item: Input, copy: Node) -> int | None:
    """Flat stride of the reader at which one of its axes leaves an axis of the copy. Raises _Impossible."""
    own = {stride: size for stride, size in zip(row_major(copy.shape), copy.shape, strict=True) if size > 1}
    for d, axis in enumerate(item.view.axes):
        span = axis.hi - axis.lo
        if axis.stride == 0 or span <= 1:
            continue
        size = own.get(axis.stride)
        if size is None:
            raise _Impossible
        if span > size:
            if d == len(node.shape):  # the axis k stays one
                raise _Impossible
            return row_major(node.shape)[d] * size
    return None


def _through(copy: Node, item: Input) -> Input:
    """The read of a copy as a read of its source. Raises _Impossible."""
    source = copy.inputs[0]
    view, low = item.view, item.view.offset + sum(axis.stride * axis.lo for axis in item.view.axes)
    starts: dict[int, tuple[int, int]] = {}  # stride in the copy -> (axis, coordinate where the read begins)
    offset = source.view.offset
    for a, (stride, size) in enumerate(zip(row_major(copy.shape), copy.shape, strict=True)):
        start, low = divmod(low, stride) if size > 1 else (0, low)
        offset += source.view.axes[a].stride * start
        if size > 1:
            starts[stride] = (a, start)
    axes: list[Axis] = []
    walked = set()
    for axis in view.axes:
        if axis.stride == 0 or axis.hi - axis.lo <= 1:
            axes.append(Axis(0, axis.lo, axis.hi))
            continue
        a, start = starts[axis.stride]
        under = source.view.axes[a]
        if a in walked or start + axis.hi - axis.lo > copy.shape[a]:
            raise _Impossible
        walked.add(a)
        offset -= under.stride * axis.lo
        lo, hi = (max(axis.lo, under.lo - start + axis.lo), min(axis.hi, under.hi - start + axis.lo))
        if lo >= hi:
            raise _Impossible
        axes.append(Axis(under.stride, lo, hi))
    for a, start in starts.values():
        under = source.view.axes[a]
        if a not in walked and not under.lo <= start < under.hi:
            raise _Impossible
    return Input(source.source, source.index, source.dtype, source.length, View(offset, tuple(axes)))
