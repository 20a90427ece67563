"""Products of a vector and a matrix whose rows are read where they lie: depthwise convolutions and their gradients.

Digits are multiplied in panels of rows of both operands. Where one of them has a single row, as the kernel of a channel
has, most of a panel would be empty. So the other is quantised as it is read, and multiplied at once.

A dot has one axis k, so windows are copied into a tensor that repeats every element as often as windows read it. Where
all who read such a copy do it here, they read what it copies, and no step makes the copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from offchain.exec.fused.calls import started
from offchain.exec.fused.function import Function
from offchain.exec.fused.kernel import body, kernel
from offchain.exec.fused.planes import MAX_BITS
from offchain.exec.fused.tile import Scales, Tile
from offchain.exec.plan.products import Product
from offchain.ir.graph import Axis, Input, Node, View, row_major
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Op
from offchain.native.kernel import NativeKernel

OFTEN: Final = 4  # times that a copy repeats its elements, at least, where it is read through


@dataclass(frozen=True)
class Direct:
    """A product out[…] = Σ_k vector[batch, k] · matrix[…, k], over the axes of the matrix.

    item      the read of the matrix, over `shape` and then `extents`
    extents   sizes of the axes that k runs over, the last one fastest
    out       strides of the output along the axes of `shape`
    batch     strides of the number of the vector along them
    """

    item: Input
    shape: tuple[int, ...]
    extents: tuple[int, ...]
    out: tuple[int, ...]
    batch: tuple[int, ...]

    @property
    def down(self) -> bool:
        """Whether neighbouring results are neighbours in memory, and at least as many as terms are."""
        *axes, last = self.item.view.axes
        own = axes[len(self.shape) - 1]
        if not self.shape[-1] > 1 or own.stride == 0:
            return False
        return abs(own.stride) < abs(last.stride) or (own.stride == last.stride and self.shape[-1] >= self.extents[-1])


def direct(node: Node, product: Product, copy: Node | None = None) -> Direct | None:
    """How a dot is made directly, its matrix read from what `copy` copies if that is given; None where it is not."""
    matrix = product.second
    if node.bits > MAX_BITS or product.first.rows > 1 or matrix.rows == 1 or product.size != node.length:
        return None
    item, sizes = matrix.item, (*matrix.shape, product.extent)
    parts = [[(axis, size)] for axis, size in zip(item.view.axes, sizes, strict=True)]
    if copy is not None:
        found = _through(copy, item.view, sizes)
        if found is None:
            return None
        source = copy.inputs[0]
        parts, axes = found, tuple(axis for part in found for axis, _ in part)
        item = replace(source, view=View(source.view.offset, axes))
    *own, along = parts
    batches = tuple(node.shape[d] for d in product.axes[0])
    numbers = [*row_major(batches), *[0] * len(product.axes[2])]
    places = [row_major(node.shape)[d] for d in (*product.axes[0], *product.axes[2])]
    return Direct(
        started(item, 0)[0],
        tuple(size for part in own for _, size in part),
        tuple(size for _, size in along),
        _split(places, own),
        _split(numbers, own),
    )


def _split(strides: Sequence[int], parts: Sequence[Sequence[tuple[Axis, int]]]) -> tuple[int, ...]:
    """The strides of axes that were split into parts."""
    inner = (row_major(tuple(size for _, size in part)) for part in parts)
    return tuple(stride * n for stride, those in zip(strides, inner, strict=True) for n in those)


def _through(copy: Node, view: View, sizes: Sequence[int]) -> list[list[tuple[Axis, int]]] | None:
    """For each axis of a view of a copy, the axes of what it copies that are walked instead, and their sizes."""
    (source,) = copy.inputs
    left = {
        stride: d for d, (stride, size) in enumerate(zip(row_major(copy.shape), copy.shape, strict=True)) if size > 1
    }
    if view.offset or any((a.lo, a.hi) != (0, size) for a, size in zip(view.axes, sizes, strict=True)):
        return None
    found = []
    for axis, size in zip(view.axes, sizes, strict=True):
        part: list[tuple[Axis, int]] = []
        stride, rest = axis.stride, size
        while rest > 1 and stride:
            d = left.pop(stride, None)
            if d is None or rest % copy.shape[d]:
                return None
            part.insert(0, (source.view.axes[d], copy.shape[d]))
            stride, rest = stride * copy.shape[d], rest // copy.shape[d]
        found.append(part or [(Axis(0, 0, size), size)])
    return found


def repeats(node: Node) -> bool:
    """Whether a node is a copy that repeats its elements often, and pads nothing."""
    if node.kind is not Kind.MAP or [instr.op for instr in node.program] != [Op.INPUT]:
        return False
    (item,) = node.inputs
    full = all((axis.lo, axis.hi) == (0, size) for axis, size in zip(item.view.axes, node.shape, strict=True))
    return full and node.length >= OFTEN * item.length


def direct_kernel(at: Direct, bits: int) -> NativeKernel:
    """The elements of a dot. Tensors: output, matrix, quantised vectors as doubles, their backs."""
    extent, read = prod(at.extents), ["%x0", "%q", "%back"]
    tile = Tile(at.item, at.shape, *at.extents, down=at.down)
    f = body(["%out"], read)
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        batch = f.flat(tile.point(0), at.batch)
        scales, totals = tile.scales(bits, "float"), tile.fill("double", "0.0")
        with tile.walk() as (k, c, _, x):
            q = f.do(f"fpext float {f.quantised(x, scales.of(c), bits)} to double")
            other = f.load("double", f.at("double", "%q", f.plus(f.times(batch, extent), k)))
            to = f.at("double", totals, c)
            # integers below 2^53: in any order the same, so that the loop may be vectorised
            total = f.do(f"fadd reassoc double {f.load('double', to)}, {f.do(f'fmul double {q}, {other}')}")
            f.store("double", total, to)
        back = f.load("double", f.at("double", "%back", batch))
        _store(f, at, tile, scales, totals, back)
    return kernel(["%out", *read], f, prod(tile.grid), 10 * prod(at.shape) * extent)


def _store(f: Function, at: Direct, tile: Tile, scales: Scales, totals: str, back: str) -> None:
    with tile.each() as (c, point):
        element = f.rounded(f.load("double", f.at("double", totals, c)), back, scales.of(c).back)
        f.store("float", element, f.at("float", "%out", f.flat(point, at.out)))
