"""Maps that choose by a coordinate, as several maps without the choice.

A concatenation reads each of its parts along one stretch of an axis and chooses by comparing the coordinate with
constants. Along a stretch the choice is known and the other parts need not be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from offchain.ir.graph import Axis, Input, Node, View
from offchain.ir.primitives import DType, Op
from offchain.ir.program import ProgramBuilder, Value, signed

MAX_PIECES: Final = 64


@dataclass(frozen=True)
class Piece:
    """A map for coordinates [lo, hi) of one axis of another: a node of its own, over coordinates from 0."""

    axis: int
    lo: int
    hi: int
    node: Node


def pieces(node: Node) -> tuple[Piece, ...]:
    """The node cut along the axis whose coordinate its program compares with the most constants; none if with none."""
    cuts = {axis: sorted(found | {0, node.shape[axis]}) for axis, found in _comparisons(node).items() if found}
    if not cuts:
        return ()
    axis = max(cuts, key=lambda d: (len(cuts[d]), -d))
    if len(cuts[axis]) > MAX_PIECES:
        return ()
    return tuple(Piece(axis, lo, hi, restricted(node, axis, lo, hi)) for lo, hi in pairwise(cuts[axis]))


def cuts(node: Node, out: View) -> Iterator[tuple[Node, View]]:
    """Maps that together write what the node writes through `out`, each with its own view; itself where it is one."""
    parts = pieces(node)
    if not parts:
        yield node, out
    for part in parts:
        axes = list(out.axes)
        axes[part.axis] = replace(axes[part.axis], hi=part.hi - part.lo)
        yield from cuts(part.node, View(out.offset + out.axes[part.axis].stride * part.lo, tuple(axes)))


def _comparisons(node: Node) -> dict[int, set[int]]:
    """For each axis, where the outcome of a comparison of its coordinate with a constant changes."""
    found: dict[int, set[int]] = {axis: set() for axis in range(len(node.shape))}
    for instr in node.program:
        if instr.op not in (Op.ILT, Op.IEQ):
            continue
        left, right = (node.program[arg] for arg in instr.args)
        for index, constant, after in ((left, right, 0), (right, left, 1)):
            if index.op is Op.INDEX and constant.op is Op.CONST_I32:
                at = signed(constant.word)
                edges = (at, at + 1) if instr.op is Op.IEQ else (at + after,)
                found[index.a] |= {edge for edge in edges if 0 < edge < node.shape[index.a]}
    return found


def restricted(node: Node, axis: int, lo: int, hi: int) -> Node:
    """A map for coordinates [lo, hi) of one axis. Inputs that are not valid there are zeros in the program."""
    shape = (*node.shape[:axis], hi - lo, *node.shape[axis + 1 :])
    builder = ProgramBuilder(shape)
    inputs: dict[Input, int] = {}

    def read(number: int) -> Value:
        item = shifted(node.inputs[number], axis, lo, hi)
        if item.view.axes[axis].lo == item.view.axes[axis].hi:
            return builder.real(0.0) if item.dtype is DType.F32 else builder.whole(0)
        return builder.input(inputs.setdefault(item, len(inputs)), item.dtype)

    def index(d: int) -> Value:
        return builder.index(d) + lo if d == axis else builder.index(d)

    result = builder.repeat(node.program, read, index)
    return replace(node, shape=shape, inputs=tuple(inputs), program=builder.finish(result))


def shifted(item: Input, axis: int, lo: int, hi: int) -> Input:
    """The read of coordinates [lo, hi) of one axis, from 0."""
    own = item.view.axes[axis]
    first, last = (min(max(end - lo, 0), hi - lo) for end in (own.lo, own.hi))
    axes = (*item.view.axes[:axis], Axis(own.stride, first, last), *item.view.axes[axis + 1 :])
    return replace(item, view=View(item.view.offset + own.stride * lo, axes))
