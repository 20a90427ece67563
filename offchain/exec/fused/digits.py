"""Products by digits: one instruction multiplies 16 or 32 pairs of 16-bit digits and adds pairs of those products.

With q = high·2^h + low the sum of q·q' is, as Karatsuba has it,
2^2h·Σ high·high' + 2^h·(Σ (high + low)·(high' + low') − Σ high·high' − Σ low·low') + Σ low·low':
three products of planes instead of four. Sums of 32 bits may wrap; every number that is taken from them fits 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from offchain.exec.fused.function import Function
from offchain.exec.fused.kernel import body, kernel
from offchain.exec.fused.planes import PAIRS, PANELS, ROWS, VECTORS, Digits, lying
from offchain.exec.plan.products import Product
from offchain.ir.graph import row_major
from offchain.native.kernel import NativeKernel

_TILE: Final = PANELS * ROWS
_SHARE: Final = PAIRS // PANELS  # of the next plane's pairs, fetched while a panel is multiplied
_MULTIPLY: Final = {8: "llvm.x86.avx2.pmadd.wd", 16: "llvm.x86.avx512.pmaddw.d.512"}  # by lanes
FEATURES: Final = {8: "avx2", 16: "avx512bw"}  # of the processors that have it


class _Multiplying:
    """Sums of a task: a tile of panels of the first operand by one panel of the second at a time."""

    def __init__(self, product: Product, digits: Digits, f: Function) -> None:
        self.product, self.digits, self.f = product, digits, f
        self.first, self.second = (lying(product, side, digits) for side in (0, 1))
        self.size = _TILE * digits.columns
        self.vector, self.paired = f"<{digits.lanes} x i32>", f"<{2 * digits.lanes} x i16>"
        self.sums = f.local("i32", digits.planes * self.size)
        self.both = f.local("i32", self.second.plane) if digits.planes == 3 else ""  # the second operand's third plane
        self.parts = -(
            -self.first.blocks // self.digits.blocks
        )  # each part's sums fit 32 bits; parts are added as doubles
        self.totals = f.local("double", self.size) if self.parts > 1 else ""

    def make(self, batch: str | int, tile: str | int, column: str | int) -> None:
        """The sums over all k, of which `total` makes totals."""
        f = self.f
        if self.parts == 1:
            self._blocks(batch, tile, column, 0, self.first.blocks)
            return
        with f.loop(0, self.size) as i:
            f.store("double", "0.0", f.at("double", self.totals, i))
        with f.loop(0, self.parts) as part:
            low = f.times(part, self.digits.blocks)
            high = f.least(str(f.plus(low, self.digits.blocks)), self.first.blocks)
            self._blocks(batch, tile, column, low, high)
            with f.loop(0, self.size) as i:
                to = f.at("double", self.totals, i)
                f.store("double", f.do(f"fadd double {f.load('double', to)}, {self._sum(i)}"), to)

    def total(self, i: str | int) -> str:
        """A total of the tile, as a double."""
        return self.f.load("double", self.f.at("double", self.totals, i)) if self.totals else self._sum(i)

    def _sum(self, i: str | int) -> str:
        f, size, low = self.f, self.size, self.digits.low
        high, *others = (f.load("i32", f.at("i32", self.sums, f.plus(i, n * size))) for n in range(self.digits.planes))
        if not others:
            return f.do(f"sitofp i32 {high} to double")
        least, both = others
        middle = f.do(f"sub i32 {f.do(f'sub i32 {both}, {high}')}, {least}")
        total = f.do(f"sitofp i32 {least} to double")
        for part, bits in ((middle, low), (high, 2 * low)):
            scaled = f.do(f"fmul double {f.do(f'sitofp i32 {part} to double')}, {float(1 << bits)}")
            total = f.do(f"fadd double {total}, {scaled}")
        return total

    def _blocks(self, batch: str | int, tile: str | int, column: str | int, low: str | int, high: str | int) -> None:
        f, first, second, columns = self.f, self.first, self.second, self.digits.columns
        panels = f.least(str(f.plus(-(-first.rows // ROWS), f.times(tile, -PANELS))), PANELS)
        with f.loop(low, high) as block:
            pairs, begun = first.here(f, block), f.do(f"icmp sgt i64 {block}, {low}")
            here = second.start(f, batch, column, block)
            if self.both:
                self._add(f.at("i32", "%x1", here), pairs)
            with f.loop(0, self.digits.planes) as plane, f.loop(0, panels) as panel:
                word = f.plus(first.start(f, batch, tile, block), f.flat([plane, panel], (first.plane, first.panel)))
                of = f.at("i32", "%x0", word)
                by = f.at("i32", "%x1", f.plus(here, f.times(plane, second.plane)))
                to = f.at("i32", self.sums, f.flat([plane, panel], (self.size, ROWS * columns)))
                with f.loop(0, _SHARE) as pair:
                    after = f.plus(second.plane, f.flat([panel, pair], (_SHARE * columns, columns)))
                    f.prefetch(f.at("i32", by, after))
                if self.both:
                    by = f.do(f"select i1 {f.do(f'icmp eq i64 {plane}, 2')}, ptr {self.both}, ptr {by}")
                self._panel(of, by, to, pairs, begun)

    def _add(self, digits: str, pairs: str | int) -> None:
        """The sums of high and low digits of a block of the second operand."""
        f, lanes = self.f, self.digits.lanes
        with f.loop(0, f.times(pairs, VECTORS)) as n:
            at = f.times(n, lanes)
            high, low = (f.load(self.paired, f.at("i32", digits, f.plus(at, p * self.second.plane))) for p in (0, 1))
            f.store(self.paired, f.do(f"add {self.paired} {high}, {low}"), f.at("i32", self.both, at))

    def _panel(self, a: str, b: str, to: str, pairs: str | int, begun: str) -> None:
        """ROWS by columns sums over the pairs of a block, which stay in registers; added to those before if `begun`."""
        f, vector, width, lanes = self.f, self.vector, self.digits.columns, self.digits.lanes
        places = [f.at("i32", to, r * width + v * lanes) for r in range(ROWS) for v in range(VECTORS)]
        sums = [f.local(vector) for _ in places]
        for memory, place in zip(sums, places, strict=True):
            before = f.do(f"select i1 {begun}, {vector} {f.load(vector, place)}, {vector} zeroinitializer")
            f.store(vector, before, memory)
        row, step = self.first.steps
        with f.loop(0, pairs) as k:
            at = f.times(k, width)
            columns = [f.load(vector, f.at("i32", b, f.plus(at, v * lanes))) for v in range(VECTORS)]
            for r in range(ROWS):
                word = f.load("i32", f.at("i32", a, f.plus(f.times(k, step), r * row)))
                one = f.do(f"insertelement {vector} poison, i32 {word}, i64 0")
                same = f.do(f"shufflevector {vector} {one}, {vector} poison, {vector} zeroinitializer")
                for v, other in enumerate(columns):
                    memory = sums[r * VECTORS + v]
                    total = f.do(f"add {vector} {f.load(vector, memory)}, {self._products(same, other)}")
                    f.store(vector, total, memory)
        for memory, place in zip(sums, places, strict=True):
            f.store(vector, f.load(vector, memory), place)

    def _products(self, a: str, b: str) -> str:
        """Of pairs of digits, those of each pair added."""
        f, paired = self.f, self.paired
        both = ", ".join(f"{paired} {f.do(f'bitcast {self.vector} {words} to {paired}')}" for words in (a, b))
        return f.do(f"call {self.vector} @{_MULTIPLY[self.digits.lanes]}({both})")

    @contextmanager
    def each(self, tile: str | int, column: str | int) -> Iterator[tuple[str, str | int, str | int]]:
        """Elements of the task: number within it, row and column of the product."""
        f, product, width = self.f, self.product, self.digits.columns
        from_row, from_column = f.times(tile, _TILE), f.times(column, width)
        rows = f.least(str(f.plus(product.first.rows, f.times(from_row, -1))), _TILE)
        columns: str | int = width
        if product.second.rows % width:
            columns = f.least(str(f.plus(product.second.rows, f.times(from_column, -1))), width)
        with f.loop(0, rows) as r, f.loop(0, columns) as c:
            yield str(f.flat([r, c], (width, 1))), f.plus(from_row, r), f.plus(from_column, c)


Put = Callable[[str, str | int, str | int, str | int], None]  # a total, and its batch, row and column


def _kernel(product: Product, digits: Digits, f: Function, tensors: Sequence[str], put: Put) -> NativeKernel:
    making = _Multiplying(product, digits, f)
    tiles = making.first.groups
    with f.loop("%lo", "%hi") as task:
        batch, tile = f.split(task, (product.batch, tiles))
        with f.loop(0, making.second.groups) as column:
            making.make(batch, tile, column)
            with making.each(tile, column) as (i, row, c):
                put(making.total(i), batch, row, c)
    work = 2 * product.size * product.extent
    declared = f"declare {making.vector} @{_MULTIPLY[digits.lanes]}({making.paired}, {making.paired})\n"
    return kernel(tensors, f, product.batch * tiles, work, declared)


def dot_kernel(product: Product, shape: tuple[int, ...], digits: Digits) -> NativeKernel:
    """The elements of a node of that shape. Tensors: output, planes of both operands, backs of both."""
    read = ["%x0", "%x1", "%b0", "%b1"]
    f = body(["%out"], read)

    def put(total: str, batch: str | int, row: str | int, column: str | int) -> None:
        backs = (
            f.load("double", f.at("double", name, f.flat([batch, own], (operand.rows, 1))))
            for name, operand, own in (("%b0", product.first, row), ("%b1", product.second, column))
        )
        to: str | int = 0
        for index, axes in zip((batch, row, column), product.axes, strict=True):
            to = f.plus(to, _offset(f, index, axes, shape))
        f.store("float", f.rounded(total, *backs), f.at("float", "%out", to))

    return _kernel(product, digits, f, ["%out", *read], put)


def _offset(f: Function, index: str | int, axes: Sequence[int], shape: tuple[int, ...]) -> str | int:
    """From a row-major index over some axes of a tensor to where that lies in it."""
    sizes, strides = [1], [0]
    for d in axes:
        stride = row_major(shape)[d]
        if strides[-1] == stride * shape[d]:
            sizes[-1], strides[-1] = sizes[-1] * shape[d], stride
        else:
            sizes, strides = [*sizes, shape[d]], [*strides, stride]
    return f.flat(f.split(str(index), sizes), strides)


def totals_kernel(product: Product, digits: Digits, kind: str) -> NativeKernel:
    """Totals as (batch, rows of the first, rows of the second), double or i32. Tensors: totals, planes of both."""
    f = body(["%s"], ["%x0", "%x1"])

    def put(total: str, batch: str | int, row: str | int, column: str | int) -> None:
        rows, columns = product.first.rows, product.second.rows
        value = total if kind == "double" else f.do(f"fptosi double {total} to {kind}")
        f.store(kind, value, f.at(kind, "%s", f.flat([batch, row, column], (rows * columns, columns, 1))))

    return _kernel(product, digits, f, ["%s", "%x0", "%x1"], put)
