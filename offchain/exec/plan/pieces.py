"""Splits a map that chooses by a coordinate into several maps without the choice.

A concatenation, for example, chooses the tensor that it reads by comparing a coordinate with constants. Between two of
these constants the choice is known, and the other tensors need not be read.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Final

from offchain.ir.graph import Axis, Input, Node, View
from offchain.ir.primitives import DType, Op
from offchain.ir.program import ProgramBuilder, Value, signed

MAX_PIECES: Final = 64  # of a map, over all axes together: each is a kernel


def cuts(node: Node, out: View, most: int = MAX_PIECES) -> Iterator[tuple[Node, View]]:
    """At most `most` maps that together write what the node writes through the view `out`, each with its own view.

    The node is cut along the axis whose coordinate its program compares with the most constants, as long as there are
    not too many pieces; each piece is then cut in the same way. The choices that are left are made element by element.
    """
    edges = {axis: sorted(found | {0, node.shape[axis]}) for axis, found in _comparisons(node).items()}
    axis, ends = max(((d, e) for d, e in edges.items() if 2 < len(e) <= most + 1), key=_by_count, default=(0, []))
    if not ends:
        yield node, out
    for lo, hi in pairwise(ends):
        axes = list(out.axes)
        axes[axis] = axes[axis]._replace(hi=hi - lo)
        view = View(out.offset + out.axes[axis].stride * lo, tuple(axes))
        yield from cuts(restricted(node, axis, lo, hi), view, most // (len(ends) - 1))


def _by_count(edges: tuple[int, list[int]]) -> tuple[int, int]:
    axis, ends = edges
    return len(ends), -axis


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
    """The map for coordinates [lo, hi) of one axis. Inputs that read nothing there are zeros in its program."""
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
    """The input as read at coordinates [lo, hi) of one axis, counted from 0."""
    own = item.view.axes[axis]
    first, last = (min(max(end - lo, 0), hi - lo) for end in (own.lo, own.hi))
    axes = (*item.view.axes[:axis], Axis(own.stride, first, last), *item.view.axes[axis + 1 :])
    return replace(item, view=View(item.view.offset + own.stride * lo, axes))
