"""Products of a vector and a matrix whose rows are read where they lie: depthwise convolutions and their gradients.

Digits are multiplied in panels of rows of both operands. Where one of them has a single row, as the kernel of a channel
has, most of a panel would be empty. So the other is quantised as it is read, and multiplied at once.

A dot has one axis k, so windows are copied into a tensor that repeats every element as often as windows read it. Where
all who read such a copy do it here, they read what it copies, and no step makes the copy.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Final

from offchain.exec.fused.calls import started
from offchain.exec.fused.function import Function
from offchain.exec.fused.kernel import body, kernel
from offchain.exec.fused.planes import MAX_BITS
from offchain.exec.fused.tile import Scales
from offchain.exec.plan.products import Product
from offchain.ir.graph import Axis, Input, Node, View, row_major
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Op
from offchain.native.builder import Coords
from offchain.native.kernel import NativeKernel

LANES: Final = 8  # of the narrowest vector of floats
MAX_LANES: Final = 64
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


class _Walk:
    """The walk of a task over its terms, a few of which are neighbours in memory and go through the lanes of a vector.

    Those are terms of neighbouring results, where the product goes `down`, or else of one result. The last lanes begin
    early enough to be whole.
    """

    def __init__(self, at: Direct, f: Function) -> None:
        self.at, self.f = at, f
        self.size = at.shape[-1] if at.down else at.extents[-1]
        self.lanes = lanes_of(self.size)
        self.blocks = -(-self.size // self.lanes)
        self.grid = (*at.shape[:-1], self.blocks) if at.down else at.shape

    def begin(self, task: str) -> None:
        *outer, last = self.f.split(task, self.grid)
        self.point: Coords = [*outer, self._first(last)] if self.at.down else [*outer, last]

    def result(self, lane: str | int) -> Coords:
        """The coordinates of the result in a lane."""
        *outer, last = self.point
        return [*outer, self.f.plus(last, lane)] if self.at.down else self.point

    @contextmanager
    def terms(self) -> Iterator[tuple[str, str | int, str, str | None]]:
        """Every term: its lane, k, what is read, and whether no lane had it before (None: always)."""
        f, at, fresh = self.f, self.at, None
        with ExitStack() as loops:
            along = [loops.enter_context(f.loop(0, extent)) for extent in at.extents[: None if at.down else -1]]
            block = 0 if at.down else loops.enter_context(f.loop(0, self.blocks))
            lane = loops.enter_context(f.loop(0, self.lanes))
            ks: list[str | int] = [*along]
            if not at.down:
                ks.append(f.plus(self._first(block), lane))
                if self.size % self.lanes:
                    fresh = f.do(f"icmp sge i64 {ks[-1]}, {f.times(block, self.lanes)}")
            x = f.read(at.item, "%x0", [*self.result(lane), *ks], (*at.shape, *at.extents))
            yield lane, f.flat(ks, row_major(at.extents)), x, fresh

    def fill(self, kind: str, value: str) -> str:
        """An accumulator for each lane."""
        memory = self.f.local(kind, self.lanes)
        with self.f.loop(0, self.lanes) as lane:
            self.f.store(kind, value, self.f.at(kind, memory, lane))
        return memory

    def _first(self, block: str | int) -> str | int:
        """What goes through the first lane."""
        start = self.f.times(block, self.lanes)
        return self.f.least(str(start), self.size - self.lanes) if self.size % self.lanes else start


def lanes_of(size: int) -> int:
    """Lanes for so many neighbours: whole vectors, with as little done twice as can be."""
    widths = range(LANES, min(size, MAX_LANES) + 1, LANES)
    return min(widths, key=lambda width: (-(-size // width) * width, -width), default=size)


def direct_kernel(at: Direct, bits: int) -> NativeKernel:
    """The elements of a dot. Tensors: output, matrix, quantised vectors as doubles, their backs."""
    extent, read = prod(at.extents), ["%x0", "%q", "%back"]
    f = body(["%out"], read)
    walk = _Walk(at, f)
    with f.loop("%lo", "%hi") as task:
        walk.begin(task)
        batch = f.flat(walk.result(0), at.batch)
        scales = _scales(f, walk, bits)
        totals = walk.fill("double", "0.0")
        with walk.terms() as (lane, k, x, fresh):
            q = f.do(f"fpext float {f.quantised(x, scales.of(lane if at.down else 0), bits)} to double")
            if fresh is not None:
                q = f.do(f"select i1 {fresh}, double {q}, double 0.0")
            other = f.load("double", f.at("double", "%q", f.plus(f.times(batch, extent), k)))
            _add(f, totals, lane, f.do(f"fmul double {q}, {other}"))
        back = f.load("double", f.at("double", "%back", batch))
        if not at.down:
            with f.loop(1, walk.lanes) as lane:
                _add(f, totals, 0, f.load("double", f.at("double", totals, lane)))
        with f.loop(0, walk.lanes if at.down else 1) as lane:
            element = f.rounded(f.load("double", f.at("double", totals, lane)), back, scales.of(lane).back)
            f.store("float", element, f.at("float", "%out", f.flat(walk.result(lane), at.out)))
    return kernel(["%out", *read], f, prod(walk.grid), 10 * prod(at.shape) * extent)


def _scales(f: Function, walk: _Walk, bits: int) -> Scales:
    """Of the result in each lane, or of the only one."""
    top = walk.fill("i32", "0")
    with walk.terms() as (lane, _, x, _):
        _raise(f, top, lane, f.magnitude(x))
    if not walk.at.down:
        with f.loop(1, walk.lanes) as lane:
            _raise(f, top, 0, f.load("i32", f.at("i32", top, lane)))
    count = walk.lanes if walk.at.down else 1
    kinds = ["float", "float", "double"]
    memory = [f.local(kind, count) for kind in kinds]
    with f.loop(0, count) as lane:
        scale = f.scale(f.load("i32", f.at("i32", top, lane)), bits, "float")
        for kind, where, value in zip(kinds, memory, (*scale.factors, scale.back), strict=True):
            f.store(kind, value, f.at(kind, where, lane))
    return Scales(f, kinds, memory)


def _raise(f: Function, top: str, lane: str | int, magnitude: str) -> None:
    at = f.at("i32", top, lane)
    f.store("i32", f.greatest(f.load("i32", at), magnitude), at)


def _add(f: Function, totals: str, lane: str | int, term: str) -> None:
    """Of integers below 2^53: in any order the same, so that a loop over them may be vectorised."""
    at = f.at("double", totals, lane)
    f.store("double", f.do(f"fadd reassoc double {f.load('double', at)}, {term}"), at)
