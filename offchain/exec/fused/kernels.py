"""One native kernel per kind of work: what a map, a reduction or an operand of a product needs.

A kernel is text, so that equal work in equal shapes is one kernel however many nodes do it. It is called as
`kernel(args, lo, hi)`: `args` points to the addresses of its tensors, and [lo, hi) are the tasks to do, of `tasks`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from math import prod
from typing import Final

from offchain.exec.fused.ir import LLVM_TYPES, Coords, Function, Scale
from offchain.ir.graph import Input, Kind, Node, Source, View, row_major
from offchain.ir.primitives import DType
from offchain.lower.axes import coalesced

BLOCK: Final = 2048  # elements of an inner loop of a map
COLUMNS: Final = 64  # columns that a reduction down columns takes at once: their accumulators stay in the first cache
_SINGLE: Final = 24  # bits up to which binary32 holds a quantised operand


@dataclass(frozen=True)
class Kernel:
    """`name` is the hash of `text`, whose function has that name; `work` counts element operations."""

    name: str
    text: str
    tasks: int
    work: int


def _kernel(parameters: Sequence[str], body: Function, tasks: int, work: int) -> Kernel:
    """Wraps a body that takes its tensors as parameters (and so may trust that they do not overlap)."""
    call = ["define void @NAME(ptr %args, i64 %lo, i64 %hi) nounwind {"]
    for n, parameter in enumerate(parameters):
        call.append(f"  %a{n} = getelementptr ptr, ptr %args, i64 {n}")
        call.append(f"  {parameter} = load ptr, ptr %a{n}")
    given = ", ".join([*(f"ptr {parameter}" for parameter in parameters), "i64 %lo", "i64 %hi"])
    call += [f"  call void @NAME_body({given})", "  ret void", "}"]
    text = f"{body}\n" + "\n".join(call) + "\n"
    name = f"k{sha256(text.encode()).hexdigest()[:24]}"
    return Kernel(name, text.replace("NAME", name), tasks, work)


def _body(written: Sequence[str], read: Sequence[str]) -> Function:
    out = [("ptr noalias", name) for name in written]
    return Function(
        "NAME_body", [*out, *(("ptr noalias readonly", name) for name in read), ("i64", "%lo"), ("i64", "%hi")]
    )


# --- maps --------------------------------------------------------------------------------------------------------


def map_kernel(node: Node, out: View) -> Kernel:
    """Writes a map's elements through the view `out`. Tensors: output, inputs, step."""
    target = Input(Source.NODE, 0, node.dtype, 0, out)
    node = coalesced(replace(node, inputs=(*node.inputs, target)))
    *inputs, target = node.inputs
    names = [f"%x{n}" for n in range(len(inputs))]
    f = _body(["%out"], [*names, "%step"])
    *outer, inner = node.shape or (1,)
    blocks = -(-inner // BLOCK)
    t = f.load("i32", "%step")
    with f.loop("%lo", "%hi") as task:
        *coords, block = f.split(task, [*outer, blocks])
        start = f.times(block, BLOCK)
        with f.loop(start, inner if blocks == 1 else f.least(str(f.plus(start, BLOCK)), inner)) as i:
            point = [*coords, i][: len(node.shape)]
            values = [f.read(item, name, point, node.shape) for item, name in zip(inputs, names, strict=True)]
            value = f.program(node, values, point, t)
            if node.dtype is DType.F32:
                value = f.canonical(value)
            index, _ = f.address(target.view, point, node.shape)
            f.store(LLVM_TYPES[node.dtype], value, f.at("i32", "%out", index))
    work = node.length * (len(node.program) + 1)
    return _kernel(["%out", *names, "%step"], f, prod(outer) * blocks, work)


# --- reductions --------------------------------------------------------------------------------------------------


class Tile:
    """Some neighbouring results of a reduction, and the walk along k over what they read.

    Where k is the nearer axis in memory the tile is one result; else it is up to COLUMNS along the last axis, and
    the walk takes their row at one k after that at the one before.
    """

    def __init__(self, item: Input, shape: tuple[int, ...], extent: int) -> None:
        self.item, self.shape, self.extent = item, shape, extent
        *axes, k = item.view.axes
        last = axes[-1] if axes else None
        self.down = last is not None and shape[-1] > 1 and last.stride != 0 and abs(k.stride) > abs(last.stride)
        self.width = COLUMNS if self.down else 1
        self.grid = (*shape[:-1], -(-shape[-1] // COLUMNS)) if self.down else shape

    def begin(self, f: Function, task: str) -> None:
        """Coordinates of the task's tile."""
        self.f = f
        *coords, last = f.split(task, self.grid) or [0]
        self.outer = coords if self.down else [*coords, last][: len(self.shape)]
        self.start = f.times(last, COLUMNS)
        rest = self.shape[-1] if self.down else 1
        whole = not self.down or rest % COLUMNS == 0
        self.count = min(rest, COLUMNS) if whole else f.least(str(f.plus(rest, f.times(self.start, -1))), COLUMNS)

    @contextmanager
    def each(self) -> Iterator[tuple[str | int, Coords]]:
        """Every result: its number in the tile, and its coordinates."""
        if not self.down:
            yield 0, self.outer
            return
        with self.f.loop(0, self.count) as c:
            yield c, self.point(c)

    def point(self, c: str | int) -> Coords:
        """Coordinates of result `c` of the tile."""
        return [*self.outer, self.f.plus(self.start, c)] if self.down else self.outer

    @contextmanager
    def walk(self) -> Iterator[tuple[str, str | int, Coords, str]]:
        """Every term: k, the number of its result in the tile, that one's coordinates, and what is read."""
        with self.f.loop(0, self.extent) as k, self.each() as (c, point):
            yield k, c, point, self.f.read(self.item, "%x0", [*point, k], (*self.shape, self.extent))

    def fill(self, kind: str, value: str) -> str:
        """An accumulator for each result."""
        memory = self.f.local(kind, self.width)
        with self.each() as (c, _):
            self.f.store(kind, value, self.f.at(kind, memory, c))
        return memory

    def scales(self, bits: int, kind: str) -> _Scales:
        """One walk for the greatest magnitude of each result's terms, and the scales that follow from it."""
        f, top = self.f, self.fill("i32", "0")
        with self.walk() as (_, c, _, x):
            at = f.at("i32", top, c)
            f.store("i32", f.greatest(f.load("i32", at), f.magnitude(x)), at)
        kinds = [*[kind] * (2 if kind == "float" else 1), "double"]
        memory = [f.local(of, self.width) for of in kinds]
        with self.each() as (c, _):
            scale = f.scale(f.load("i32", f.at("i32", top, c)), bits, kind)
            for of, where, value in zip(kinds, memory, (*scale.factors, scale.back), strict=True):
                f.store(of, value, f.at(of, where, c))
        return _Scales(f, kinds, memory)


@dataclass(frozen=True)
class _Scales:
    f: Function
    kinds: list[str]
    memory: list[str]

    def of(self, c: str | int) -> Scale:
        *factors, back = (
            self.f.load(kind, self.f.at(kind, where, c)) for kind, where in zip(self.kinds, self.memory, strict=True)
        )
        return Scale(self.kinds[0], tuple(factors), back)


def sum_kernel(node: Node) -> Kernel:
    """A sum of one operand. Tensors: output, operand."""
    node = coalesced(node)
    tile = Tile(node.inputs[0], node.shape, node.extent)
    f = _body(["%out"], ["%x0"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        scales = tile.scales(node.bits, "double")
        totals = tile.fill("double", "0.0")
        with tile.walk() as (_, c, _, x):
            at = f.at("double", totals, c)
            q = f.quantised(x, scales.of(c), node.bits)
            # integers below 2^53: in any order the same, so that the loop may be vectorised
            f.store("double", f.do(f"fadd reassoc double {f.load('double', at)}, {q}"), at)
        with tile.each() as (c, point):
            value = f.rounded(f.load("double", f.at("double", totals, c)), scales.of(c).back)
            f.store("float", value, f.at("float", "%out", f.flat(point, row_major(node.shape))))
    return _kernel(["%out", "%x0"], f, prod(tile.grid), 8 * node.length * node.extent)


def max_kernel(node: Node) -> Kernel:
    """A maximum along k. Tensors: output, operand."""
    node = coalesced(node)
    tile = Tile(node.inputs[0], node.shape, node.extent)
    real = node.dtype is DType.F32
    f = _body(["%out"], ["%x0"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        top = tile.fill("i32", str(-(1 << 31)))
        with tile.walk() as (_, c, _, x):
            at = f.at("i32", top, c)
            f.store("i32", f.greatest(f.load("i32", at), f.order_key(x) if real else x), at)
        with tile.each() as (c, point):
            value = f.load("i32", f.at("i32", top, c))
            f.store("i32", f.swapped(value) if real else value, f.at("i32", "%out", f.flat(point, row_major(node.shape))))
    return _kernel(["%out", "%x0"], f, prod(tile.grid), 3 * node.length * node.extent)


# --- products ----------------------------------------------------------------------------------------------------


def pack_kernel(
    item: Input, shape: tuple[int, ...], extent: int, bits: int, kind: str, strides: tuple[int, ...]
) -> Kernel:
    """Quantises an operand over its own axes and k, which lie `strides` apart. Tensors: quantised, backs, operand.

    The operand is quantised in binary32 where that holds it, and stored as `kind`.
    """
    tile = Tile(item, shape, extent)
    f = _body(["%q", "%back"], ["%x0"])
    inside = "float" if bits <= _SINGLE else "double"
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        scales = tile.scales(bits, inside)
        with tile.walk() as (k, c, point, x):
            q = f.quantised(x, scales.of(c), bits)
            if inside != kind:
                q = f.do(f"fpext {inside} {q} to {kind}")
            f.store(kind, q, f.at(kind, "%q", f.flat([*point, k], strides)))
        with tile.each() as (c, point):
            f.store("double", scales.of(c).back, f.at("double", "%back", f.flat(point, row_major(shape))))
    return _kernel(["%q", "%back", "%x0"], f, prod(tile.grid), 8 * prod(shape) * extent)


def product_kernel(shape: tuple[int, ...], total: Input, backs: Sequence[Input], kind: str, slices: int) -> Kernel:
    """The elements that exact totals make. Tensors: output, totals (`slices` of them, one after the other), backs."""
    node = coalesced(Node(Kind.MAP, DType.F32, shape, (total, *backs)))
    names = [f"%b{n}" for n in range(len(backs))]
    f = _body(["%out"], ["%s", *names])
    *outer, inner = node.shape or (1,)
    with f.loop("%lo", "%hi") as task:
        coords = f.split(task, outer)
        with f.loop(0, inner) as i:
            point = [*coords, i][: len(node.shape)]
            index, _ = f.address(node.inputs[0].view, point, node.shape)
            value = "0.0"
            for n in range(slices):
                part = f.load(kind, f.at(kind, "%s", f.plus(index, n * total.length)))
                wide = part if kind == "double" else f.do(f"fpext float {part} to double")
                value = f.do(f"fadd double {value}, {wide}")
            scales = []
            for name, item in zip(names, node.inputs[1:], strict=True):
                at, _ = f.address(item.view, point, node.shape)
                scales.append(f.load("double", f.at("double", name, at)))
            f.store("float", f.rounded(value, *scales), f.at("float", "%out", f.flat(point, row_major(node.shape))))
    return _kernel(["%out", "%s", *names], f, prod(outer), (4 + slices) * prod(shape))


# --- rows by index -----------------------------------------------------------------------------------------------


def gather_kernel(node: Node) -> Kernel:
    """Rows by index. Tensors: output, table, index."""
    node = coalesced(node)
    table, index = node.inputs
    f = _body(["%out"], ["%x0", "%x1"])
    *outer, inner = node.shape or (1,)
    kind = LLVM_TYPES[node.dtype]
    with f.loop("%lo", "%hi") as task:
        coords = f.split(task, outer)
        with f.loop(0, inner) as i:
            point = [*coords, i][: len(node.shape)]
            k = f.do(f"sext i32 {f.read(index, '%x1', point, node.shape)} to i64")
            inside = f.do(f"icmp ult i64 {k}, {node.extent}")
            row = f.do(f"select i1 {inside}, i64 {k}, i64 0")
            value = f.read(table, "%x0", [*point, row], (*node.shape, node.extent), inside)
            f.store(kind, value, f.at(kind, "%out", f.flat(point, row_major(node.shape))))
    return _kernel(["%out", "%x0", "%x1"], f, prod(outer), 4 * node.length)


def scatter_kernel(node: Node) -> Kernel:
    """Adds the rows of X to the totals of the rows that I names. Tensors: totals, backs, operand, index.

    For operands that do not depend on the row and an index that depends on nothing but k (`scatters_rows`); totals
    are doubles in the node's shape, backs are one for each column.
    """
    rows, *columns = node.shape
    shape = tuple(columns)
    x, index = (replace(item, view=View(item.view.offset, item.view.axes[1:])) for item in node.inputs)
    tile = Tile(x, shape, node.extent)
    index = replace(index, view=View(index.view.offset, index.view.axes[-1:]))
    width, f = prod(shape), _body(["%total", "%back"], ["%x0", "%x1"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        with f.loop(0, rows) as v, tile.each() as (_, point):
            at = f.plus(f.times(v, width), f.flat(point, row_major(shape)))
            f.store("double", "0.0", f.at("double", "%total", at))
        scales = tile.scales(node.bits, "double")
        with f.loop(0, node.extent) as k:
            row = f.do(f"sext i32 {f.read(index, '%x1', [k], (node.extent,))} to i64")
            inside = f.do(f"icmp ult i64 {row}, {rows}")
            with f.loop(0, f.do(f"select i1 {inside}, i64 {tile.count}, i64 0")) as c:
                point = tile.point(c)
                q = f.quantised(f.read(x, "%x0", [*point, k], (*shape, node.extent)), scales.of(c), node.bits)
                at = f.at("double", "%total", f.plus(f.times(row, width), f.flat(point, row_major(shape))))
                f.store("double", f.do(f"fadd double {f.load('double', at)}, {q}"), at)
        with tile.each() as (c, point):
            f.store("double", scales.of(c).back, f.at("double", "%back", f.flat(point, row_major(shape))))
    return _kernel(["%total", "%back", "%x0", "%x1"], f, prod(tile.grid), 8 * prod(shape) * node.extent + node.length)


def mask_kernel(node: Node) -> Kernel:
    """Any scatter_add, element by element: the terms whose index names the element's row. Tensors: as a sum, index."""
    x, index = node.inputs
    tile = Tile(x, node.shape, node.extent)
    f = _body(["%out"], ["%x0", "%x1"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        scales = tile.scales(node.bits, "double")
        totals = tile.fill("double", "0.0")
        with tile.walk() as (k, c, point, value):
            at = f.at("double", totals, c)
            named = f.do(f"sext i32 {f.read(index, '%x1', [*point, k], (*node.shape, node.extent))} to i64")
            hit = f.do(f"icmp eq i64 {named}, {point[0]}")
            q = f.quantised(value, scales.of(c), node.bits)
            f.store("double", f.do(f"fadd reassoc double {f.load('double', at)}, {f.do(f'select i1 {hit}, double {q}, double 0.0')}"), at)
        with tile.each() as (c, point):
            value = f.rounded(f.load("double", f.at("double", totals, c)), scales.of(c).back)
            f.store("float", value, f.at("float", "%out", f.flat(point, row_major(node.shape))))
    return _kernel(["%out", "%x0", "%x1"], f, prod(tile.grid), 10 * node.length * node.extent)
