"""Removes copies that a reshape forced: their readers read the source directly, over finer axes.

torch merges axes (such as batch and heads) to call a matrix product. A strided view of a permuted tensor cannot express
that, but a node with one more axis can. A copy is removed only if every reader can do without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from offchain.ir.axes import cut
from offchain.ir.graph import Axis, Input, Node, Slot, Source, View, readers_of, row_major
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Op


class _Impossible(Exception):
    """A reader needs the copy."""


def without_copies(nodes: Sequence[Node], slots: Sequence[Slot]) -> list[Node]:
    """The nodes without reads of copies; copies that nobody reads any more stay in the list."""
    out = list(nodes)
    pinned = {slot.index for slot in slots if slot.source is Source.NODE}
    readers = readers_of(out)
    for n, node in enumerate(out):
        if n in pinned or not _is_copy(node):
            continue
        try:
            changed = {reader: _without(out[reader], n, node) for reader in readers[n]}
        except _Impossible:
            continue
        for reader, new in changed.items():
            out[reader] = new
        item = node.inputs[0]
        if item.source is Source.NODE:
            readers[item.index] |= readers[n]
    return out


def _is_copy(node: Node) -> bool:
    return node.kind is Kind.MAP and len(node.program) == 1 and node.program[0].op is Op.INPUT


def _without(reader: Node, n: int, copy: Node) -> Node:
    """A reader of node n, a copy, that reads what the copy reads. Raises _Impossible."""
    while (at := _first_cut(reader, n, copy)) is not None:
        finer = cut(reader, at)
        if finer is None:
            raise _Impossible
        reader = finer
    inputs = (_through(copy, item) if _reads(item, n) else item for item in reader.inputs)
    return replace(reader, inputs=tuple(inputs))


def _reads(item: Input, n: int) -> bool:
    return (item.source, item.index) == (Source.NODE, n)


def _first_cut(reader: Node, n: int, copy: Node) -> int | None:
    """Flat stride of the reader at which one of its axes leaves an axis of the copy. Raises _Impossible."""
    own = {stride: size for stride, size in zip(row_major(copy.shape), copy.shape, strict=True) if size > 1}
    for item in reader.inputs:
        for d, axis in enumerate(item.view.axes if _reads(item, n) else ()):
            span = axis.hi - axis.lo
            if axis.stride == 0 or span <= 1:
                continue
            size = own.get(axis.stride)
            if size is None:
                raise _Impossible
            if span > size:
                if d == len(reader.shape):  # the axis k stays one
                    raise _Impossible
                return row_major(reader.shape)[d] * size
    return None


def _through(copy: Node, item: Input) -> Input:
    """The read of a copy as a read of its source. Raises _Impossible."""
    source = copy.inputs[0]
    if not source.view.reads:  # nothing below sees an axis of size 1
        raise _Impossible
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
    return Input(source.source, source.index, source.dtype, source.length, View(offset, tuple(axes)).settled())
