"""How nodes read their operands: along which axes, and in which order these lie in memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from offchain.ir.graph import Axis, Input, Node, View


def steps(axis: Axis, size: int) -> bool:
    """Whether what a view reads may differ along an axis."""
    return size > 1 and (axis.stride != 0 or axis.lo > 0 or axis.hi < size)


def without(view: View, dropped: Sequence[int]) -> View:
    """The view without axes along which it does not move. One that reads nothing because of such an axis reads
    nothing along k instead.
    """
    axes = [axis for d, axis in enumerate(view.axes) if d not in dropped]
    if any(view.axes[d].lo == view.axes[d].hi for d in dropped):
        axes[-1] = Axis(0, 0, 0)
    return View(view.offset, tuple(axes))


def from_start(view: View) -> tuple[View, int]:
    """The same read of a tensor that begins at the first element that it reads, and where that is.

    Of a view in its canonical form. Reads at other offsets of the same pattern are then equal.
    """
    low = sum(axis.stride * axis.lo for axis in view.axes)
    return View(-low, view.axes), view.offset + low


def goes_down(item: Input, shape: tuple[int, ...]) -> bool:
    """Whether a reduction of that shape walks down columns: k is farther apart in memory than its last axis."""
    *axes, k = item.view.axes
    last = axes[-1] if axes else None
    return last is not None and shape[-1] > 1 and last.stride != 0 and abs(k.stride) > abs(last.stride)


def scattered(node: Node) -> tuple[Input, Input]:
    """The operand and the index of a scatter_add without the axes along which they do not move."""
    x, index = node.inputs
    return (
        replace(x, view=without(x.view, [0])),
        replace(index, view=without(index.view, range(len(node.shape)))),
    )


def scatters_rows(node: Node) -> bool:
    """Whether a scatter_add adds whole rows: its operand is the same for all rows, its index depends on k alone."""
    x, index = (item.view.axes for item in node.inputs)
    moving = [steps(x[0], node.shape[0]), *map(steps, index[:-1], node.shape)]
    return not any(moving)
