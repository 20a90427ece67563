"""Rewrites a node over other axes: splits, merges or drops axes. The flat output and its bits stay the same.

Fusion needs two maps with the same axes; a copy can only disappear into a reader whose axes are no longer than its own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from offchain.ir.encoding import MAX_RANK
from offchain.ir.graph import Axis, Input, Node, View, row_major
from offchain.ir.kinds import traits
from offchain.ir.primitives import Op
from offchain.ir.program import ProgramBuilder, Value

Spell = Callable[[ProgramBuilder, int], Value]


def cut(node: Node, at: int) -> Node | None:
    """The node with an axis of stride `at` in its flat output: itself if it has one, None if none can be made."""
    if at in (1, node.length):
        return node
    for d, (stride, size) in enumerate(zip(row_major(node.shape), node.shape, strict=True)):
        if stride == at and size > 1:
            return node
        if stride < at < stride * size:
            return _split(node, d, at // stride) if at % stride == 0 and stride * size % at == 0 else None
    return node  # between two axes


def coalesced(node: Node) -> Node:
    """A map over as few axes as its views and its coordinates allow."""
    for d in range(len(node.shape) - 1, -1, -1):
        if node.shape[d] == 1 and all((axes[d].lo, axes[d].hi) == (0, 1) for axes in _axes(node)):
            node = _without(node, d)
    for d in range(len(node.shape) - 2, -1, -1):
        read = {instr.a for instr in node.program if instr.op is Op.INDEX}
        if not read & {d, d + 1} and all(_continues(axes[d], axes[d + 1], node.shape[d + 1]) for axes in _axes(node)):
            node = _merged(node, d)
    return node


def _axes(node: Node) -> list[tuple[Axis, ...]]:
    return [item.view.axes for item in node.inputs]


def _split(node: Node, d: int, inner: int) -> Node | None:
    """The node with axis d, of size n, split into two of sizes n/inner and inner; None if a range does not allow it."""
    if len(node.shape) == MAX_RANK or d < traits(node.kind).named_axes:
        return None
    if any(axes[d].lo % inner or axes[d].hi % inner for axes in _axes(node)):
        return None

    def halves(axis: Axis) -> list[Axis]:
        return [Axis(axis.stride * inner, axis.lo // inner, axis.hi // inner), Axis(axis.stride, 0, inner)]

    def index(p: ProgramBuilder, axis: int) -> Value:
        return p.index(d) * inner + p.index(d + 1) if axis == d else p.index(axis + (axis > d))

    sizes = [node.shape[d] // inner, inner]
    return _changed(node, slice(d, d + 1), sizes, lambda axes: halves(*axes), index)


def _without(node: Node, d: int) -> Node:
    """The node without axis d, of size 1."""

    def index(p: ProgramBuilder, axis: int) -> Value:
        return p.whole(0) if axis == d else p.index(axis - (axis > d))

    return _changed(node, slice(d, d + 1), [], lambda axes: [], index)


def _merged(node: Node, d: int) -> Node:
    """The node with axes d and d+1 merged, whose coordinates the program does not read."""
    inner = node.shape[d + 1]

    def joined(outer: Axis, last: Axis) -> list[Axis]:
        return [Axis(last.stride, outer.lo * inner, outer.hi * inner)]

    size = node.shape[d] * inner
    return _changed(
        node, slice(d, d + 2), [size], lambda axes: joined(*axes), lambda p, axis: p.index(axis - (axis > d))
    )


def _continues(outer: Axis, last: Axis, inner: int) -> bool:
    return outer.stride == last.stride * inner and (last.lo, last.hi) == (0, inner)


def _changed(node: Node, at: slice, sizes: list[int], axes: Callable[[list[Axis]], list[Axis]], index: Spell) -> Node:
    """The node with the axes `at` replaced, in the shape and in every view; coordinates are written by `index`."""
    shape = [*node.shape]
    shape[at] = sizes
    inputs: list[Input] = []
    for item in node.inputs:
        own = [*item.view.axes]
        own[at] = axes(own[at])
        inputs.append(replace(item, view=View(item.view.offset, tuple(own)).settled()))
    program = node.program
    if any(instr.op is Op.INDEX for instr in program):
        builder = ProgramBuilder(tuple(shape))

        def read(number: int) -> Value:
            return builder.input(number, inputs[number].dtype)

        program = builder.finish(builder.repeat(program, read, lambda axis: index(builder, axis)))
    return replace(node, shape=tuple(shape), inputs=tuple(inputs), program=program)
