"""Products by digits: one instruction multiplies sixteen pairs of 16-bit digits and adds pairs of those products.

With q = high·2^h + low the sum of q·q' is, as Karatsuba has it,
2^2h·Σ high·high' + 2^h·(Σ (high + low)·(high' + low') − Σ high·high' − Σ low·low') + Σ low·low':
three products of planes instead of four. Sums of 32 bits wrap, and all that is taken of them fits 32 bits again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from offchain.exec.fused.ir import Function
from offchain.exec.fused.kernel import body, kernel
from offchain.exec.fused.planes import COLUMNS, PAIRS, PANELS, ROWS, lying
from offchain.exec.fused.products import Product
from offchain.ir.graph import row_major
from offchain.native.kernel import Kernel

_TILE: Final = PANELS * ROWS
_SHARE: Final = PAIRS // PANELS  # of the next plane's pairs, fetched while a panel is multiplied
_LANES: Final = 8  # 32-bit sums in a vector
_VECTORS: Final = COLUMNS // _LANES
_VECTOR: Final = f"<{_LANES} x i32>"
_PAIRED: Final = f"<{2 * _LANES} x i16>"
_MADD: Final = "llvm.x86.avx2.pmadd.wd"
_DECLARED: Final = f"declare {_VECTOR} @{_MADD}({_PAIRED}, {_PAIRED})\n"


class _Multiplying:
    """Sums of a task: a tile of panels of the first operand by one panel of the second at a time."""

    def __init__(self, product: Product, bits: int, f: Function) -> None:
        self.product, self.f = product, f
        self.first, self.second = (lying(product, side, bits) for side in (0, 1))
        self.digits = self.first.digits
        self.sums = f.local("i32", self.digits.planes * _TILE * COLUMNS)
        self.parts = -(-self.first.blocks // self.digits.blocks)  # sums of so many blocks are added as doubles
        self.totals = f.local("double", _TILE * COLUMNS) if self.parts > 1 else ""

    def make(self, batch: str | int, tile: str | int, column: str | int) -> None:
        """The sums over all k, of which `total` makes totals."""
        f = self.f
        if self.parts == 1:
            self._blocks(batch, tile, column, 0, self.first.blocks)
            return
        with f.loop(0, _TILE * COLUMNS) as i:
            f.store("double", "0.0", f.at("double", self.totals, i))
        with f.loop(0, self.parts) as part:
            low = f.times(part, self.digits.blocks)
            high = f.least(str(f.plus(low, self.digits.blocks)), self.first.blocks)
            self._blocks(batch, tile, column, low, high)
            with f.loop(0, _TILE * COLUMNS) as i:
                to = f.at("double", self.totals, i)
                f.store("double", f.do(f"fadd double {f.load('double', to)}, {self._sum(i)}"), to)

    def total(self, i: str | int) -> str:
        """A total of the tile, as a double."""
        return self.f.load("double", self.f.at("double", self.totals, i)) if self.totals else self._sum(i)

    def _sum(self, i: str | int) -> str:
        f, size, low = self.f, _TILE * COLUMNS, self.digits.low
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
        f, first, second = self.f, self.first, self.second
        panels = f.least(str(f.plus(-(-first.rows // ROWS), f.times(tile, -PANELS))), PANELS)
        with f.loop(low, high) as block:
            pairs, begun = first.here(f, block), f.do(f"icmp sgt i64 {block}, {low}")
            with f.loop(0, self.digits.planes) as plane, f.loop(0, panels) as panel:
                word = f.plus(first.start(f, batch, tile, block), f.flat([plane, panel], (first.plane, first.panel)))
                of = f.at("i32", "%x0", word)
                by = f.at("i32", "%x1", f.plus(second.start(f, batch, column, block), f.times(plane, second.plane)))
                to = f.at("i32", self.sums, f.flat([plane, panel], (_TILE * COLUMNS, ROWS * COLUMNS)))
                with f.loop(0, _SHARE) as pair:
                    after = f.plus(second.plane, f.flat([panel, pair], (_SHARE * COLUMNS, COLUMNS)))
                    f.prefetch(f.at("i32", by, after))
                self._panel(of, by, to, pairs, begun)

    def _panel(self, a: str, b: str, to: str, pairs: str | int, begun: str) -> None:
        """ROWS by COLUMNS sums over the pairs of a block, which stay in registers; added to those before if `begun`."""
        f = self.f
        places = [f.at("i32", to, r * COLUMNS + v * _LANES) for r in range(ROWS) for v in range(_VECTORS)]
        sums = [f.local(_VECTOR) for _ in places]
        for memory, place in zip(sums, places, strict=True):
            before = f.do(f"select i1 {begun}, {_VECTOR} {f.load(_VECTOR, place)}, {_VECTOR} zeroinitializer")
            f.store(_VECTOR, before, memory)
        row, step = self.first.steps
        with f.loop(0, pairs) as k:
            at = f.times(k, COLUMNS)
            columns = [self._digits(f.load(_VECTOR, f.at("i32", b, f.plus(at, v * _LANES)))) for v in range(_VECTORS)]
            for r in range(ROWS):
                word = f.load("i32", f.at("i32", a, f.plus(f.times(k, step), r * row)))
                one = f.do(f"insertelement {_VECTOR} poison, i32 {word}, i64 0")
                same = f.do(f"shufflevector {_VECTOR} {one}, {_VECTOR} poison, {_VECTOR} zeroinitializer")
                for v, other in enumerate(columns):
                    made = f.do(f"call {_VECTOR} @{_MADD}({_PAIRED} {self._digits(same)}, {_PAIRED} {other})")
                    memory = sums[r * _VECTORS + v]
                    f.store(_VECTOR, f.do(f"add {_VECTOR} {f.load(_VECTOR, memory)}, {made}"), memory)
        for memory, place in zip(sums, places, strict=True):
            f.store(_VECTOR, f.load(_VECTOR, memory), place)

    def _digits(self, words: str) -> str:
        return self.f.do(f"bitcast {_VECTOR} {words} to {_PAIRED}")

    @contextmanager
    def each(self, tile: str | int, column: str | int) -> Iterator[tuple[str, str | int, str | int]]:
        """Elements of the task: number within it, row and column of the product."""
        f, product = self.f, self.product
        from_row, from_column = f.times(tile, _TILE), f.times(column, COLUMNS)
        rows = f.least(str(f.plus(product.first.rows, f.times(from_row, -1))), _TILE)
        columns: str | int = COLUMNS
        if product.second.rows % COLUMNS:
            columns = f.least(str(f.plus(product.second.rows, f.times(from_column, -1))), COLUMNS)
        with f.loop(0, rows) as r, f.loop(0, columns) as c:
            yield str(f.flat([r, c], (COLUMNS, 1))), f.plus(from_row, r), f.plus(from_column, c)


Put = Callable[[str, str | int, str | int, str | int], None]  # a total, and its batch, row and column


def _kernel(product: Product, bits: int, f: Function, tensors: Sequence[str], put: Put) -> Kernel:
    making = _Multiplying(product, bits, f)
    tiles = making.first.groups
    with f.loop("%lo", "%hi") as task:
        batch, tile = f.split(task, (product.batch, tiles))
        with f.loop(0, making.second.groups) as column:
            making.make(batch, tile, column)
            with making.each(tile, column) as (i, row, c):
                put(making.total(i), batch, row, c)
    work = 2 * product.size * product.extent
    return kernel(tensors, f, product.batch * tiles, work, _DECLARED)


def dot_kernel(product: Product, shape: tuple[int, ...], bits: int) -> Kernel:
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

    return _kernel(product, bits, f, ["%out", *read], put)


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


def totals_kernel(product: Product, bits: int, kind: str) -> Kernel:
    """Totals as (batch, rows of the first, rows of the second), double or i32. Tensors: totals, planes of both."""
    f = body(["%s"], ["%x0", "%x1"])

    def put(total: str, batch: str | int, row: str | int, column: str | int) -> None:
        rows, columns = product.first.rows, product.second.rows
        value = total if kind == "double" else f.do(f"fptosi double {total} to {kind}")
        f.store(kind, value, f.at(kind, "%s", f.flat([batch, row, column], (rows * columns, columns, 1))))

    return _kernel(product, bits, f, ["%s", "%x0", "%x1"], put)
