"""Quantised operands as planes of 16-bit digits, laid out as products by digits read them.

An operand of more than SINGLE bits is q = high·2^h + low; its planes are high, low and their sum. One of fewer bits is
a single plane. The second operand's sum is not kept but added up when a block is multiplied, once for all panels of the
first: what lasts from step to step is nearly always a second operand, and so takes two thirds of the memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from offchain.exec.fused.function import Function
from offchain.exec.fused.kernel import body, kernel
from offchain.exec.fused.tile import Tile
from offchain.exec.plan.products import Operand, Product
from offchain.ir.graph import row_major
from offchain.native.builder import Coords
from offchain.native.kernel import NativeKernel

MAX_BITS: Final = 24  # binary32 holds a quantised operand, and sums of BLOCK products fit
SINGLE: Final = 13  # up to here one plane holds an operand, and sums of BLOCK products fit
PAIRS: Final = 64  # pairs of k that are multiplied before the next: planes of them stay in the first cache
BLOCK: Final = 2 * PAIRS
ROWS: Final = 6  # of the first operand in a panel
PANELS: Final = 8  # of the first operand in a group
VECTORS: Final = 2  # of sums in a row of a panel
_LINE: Final = 16  # words of a cache line
_WIDE: Final = 192  # rows that are packed at once: whole panels of either operand


@dataclass(frozen=True)
class Digits:
    """How operands of `bits` bits are held, for vectors of `lanes` 32-bit sums."""

    bits: int
    lanes: int

    @property
    def planes(self) -> int:
        """Planes that are multiplied."""
        return 1 if self.bits <= SINGLE else 3

    @property
    def columns(self) -> int:
        """Rows of the second operand in a panel, which are columns of the product."""
        return VECTORS * self.lanes

    @property
    def low(self) -> int:
        """Bits of the low digit, h."""
        return self.bits // 2

    @property
    def blocks(self) -> int:
        """Blocks of k whose sums fit 32 bits."""
        if self.planes == 1:
            largest = ((1 << (self.bits - 1)) - 1) ** 2
        else:  # of a product of high digits, and of what the middle sum gains with each k
            largest = max(1 << 2 * (self.bits - 1 - self.low), 1 << (self.bits - 1))
        return ((1 << 31) - 1) // largest // BLOCK


@dataclass(frozen=True)
class Lying:
    """Where the planes of an operand lie, in words of two digits: of an even k, and of the next.

    (batch, groups of panels, blocks of k, planes, panels, ...), of which a panel is (pair of k, row), or where k is the
    nearer axis in memory and the operand the first (row, pair of k).
    """

    digits: Digits
    batch: int
    rows: int
    extent: int
    lane: int  # rows of a panel
    group: int  # panels that are multiplied together
    along: bool  # whether pairs of k are neighbours
    planes: int  # that are kept

    @property
    def pairs(self) -> int:
        return -(-self.extent // 2)

    @property
    def deep(self) -> int:
        """Pairs of a block."""
        return min(PAIRS, self.pairs)

    @property
    def blocks(self) -> int:
        return -(-self.pairs // self.deep)

    @property
    def panel(self) -> int:
        """Words of a panel in a plane."""
        return self.lane * self.deep

    @property
    def plane(self) -> int:
        """Words of a plane of a group's block."""
        return self.group * self.panel

    @property
    def whole(self) -> int:
        """Words of a group. Neighbours begin a line more than a round number apart, or they would share cache sets."""
        return self.blocks * self.planes * self.plane + _LINE

    @property
    def groups(self) -> int:
        return -(-self.rows // (self.group * self.lane))

    @property
    def words(self) -> int:
        return self.batch * self.groups * self.whole

    @property
    def steps(self) -> tuple[int, int]:
        """From one row of a panel to the next, and from one pair to the next."""
        return (self.deep, 1) if self.along else (1, self.lane)

    def start(self, f: Function, batch: str | int, group: str | int, block: str | int) -> str | int:
        """The first word of a group's block."""
        return f.flat([batch, group, block], (self.groups * self.whole, self.whole, self.planes * self.plane))

    def here(self, f: Function, block: str | int) -> str | int:
        """Pairs of that block."""
        if self.pairs % self.deep == 0:
            return self.deep
        return f.least(str(f.plus(self.pairs, f.times(block, -self.deep))), self.deep)


def lying(product: Product, side: int, digits: Digits) -> Lying:
    operand = (product.first, product.second)[side]
    tile = Tile(operand.item, operand.shape, product.extent, _WIDE)
    lane, group = ((ROWS, PANELS), (digits.columns, 1))[side]
    along, planes = side == 0 and not tile.down, digits.planes if side == 0 else min(digits.planes, 2)
    return Lying(digits, product.batch, operand.rows, product.extent, lane, group, along, planes)


class _Packing:
    """Quantises an operand in tiles of rows."""

    def __init__(self, operand: Operand, at: Lying, f: Function) -> None:
        self.operand, self.at, self.f = operand, at, f
        self.tile = Tile(operand.item, operand.shape, at.extent, _WIDE)
        *outer, last = operand.shape[len(operand.shape) - operand.axes :] or (1,)
        self.whole = operand.axes > 0 and (prod(outer) == 1 or last % at.lane == 0)  # tiles begin where panels do

    def digits(self, x: str, c: str | int) -> list[str]:
        """The digits of a term as i32: one, or high and low, and their sum where that is kept."""
        f, bits, low = self.f, self.at.digits.bits, self.at.digits.low
        q = f.do(f"fptosi float {f.quantised(x, self.scales.of(c), bits)} to i32")
        if self.at.digits.planes == 1:
            return [q]
        high = f.do(f"ashr i32 {f.do(f'add i32 {q}, {1 << (low - 1)}')}, {low}")
        rest = f.do(f"sub i32 {q}, {f.do(f'shl i32 {high}, {low}')}")
        return [high, rest, *([f.do(f"add i32 {high}, {rest}")] if self.at.planes == 3 else [])]

    def term(self, point: Coords, k: str | int) -> str:
        """What is read at k, and 0 beyond the last."""
        item, f, extent = self.operand.item, self.f, self.at.extent
        inside = f.do(f"icmp slt i64 {k}, {extent}") if extent % 2 else None
        return f.read(item, "%x0", [*point, k], (*self.operand.shape, extent), inside)

    def row(self, point: Coords) -> tuple[str | int, str | int]:
        """Batch and row of a point."""
        f, shape, own = self.f, self.operand.shape, len(self.operand.shape) - self.operand.axes
        return f.flat(point[:own], row_major(shape[:own])), f.flat(point[own:], row_major(shape[own:]))

    def start(self, batch: str | int, row: str | int, block: str | int) -> str | int:
        """The first word of a row in a block."""
        f, at = self.f, self.at
        group, panel, lane = f.split(str(row), (at.groups, at.group, at.lane))
        return f.plus(at.start(f, batch, group, block), f.flat([panel, lane], (at.panel, at.steps[0])))

    def begin(self, task: str, part: str | None) -> None:
        self.tile.begin(self.f, task)
        self.scales = self.tile.scales(self.at.digits.bits, "float", part)

    def down(self) -> None:
        """Pair by pair, a word for each row of the tile; then those words into their panels."""
        f, at = self.f, self.at
        made = [f.local("i32", _WIDE) for _ in range(at.planes)]
        with f.loop(0, at.blocks) as block, f.loop(0, at.here(f, block)) as pair:
            k = f.flat([block, pair], (2 * at.deep, 2))
            with self.tile.each() as (c, point):
                even, odd = (self.digits(self.term(point, f.plus(k, n)), c) for n in (0, 1))
                for memory, a, b in zip(made, even, odd, strict=True):
                    word = f.do(f"or i32 {f.do(f'and i32 {a}, 65535')}, {f.do(f'shl i32 {b}, 16')}")
                    f.store("i32", word, f.at("i32", memory, c))
            if self.whole:
                self._panels(block, pair, made)
                return
            with self.tile.each() as (c, point):
                self._words(made, c, f.plus(self.start(*self.row(point), block), f.times(pair, at.steps[1])))

    def _panels(self, block: str, pair: str, made: Sequence[str]) -> None:
        f, at = self.f, self.at
        batch, row = self.row(self.tile.point(0))
        panels = f.do(f"udiv i64 {f.plus(self.tile.count, at.lane - 1)}, {at.lane}")
        with f.loop(0, panels) as panel:
            first = self.start(batch, f.plus(row, f.times(panel, at.lane)), block)
            with f.loop(0, at.lane) as lane:
                to = f.plus(first, f.flat([pair, lane], (at.lane, 1)))
                self._words(made, f.flat([panel, lane], (at.lane, 1)), to)

    def _words(self, made: Sequence[str], c: str | int, to: str | int) -> None:
        f = self.f
        for n, memory in enumerate(made):
            word = f.load("i32", f.at("i32", memory, c))
            f.store("i32", word, f.at("i32", "%q", f.plus(to, n * self.at.plane)))

    def across(self) -> None:
        """One row, whose digits lie as k does; the second operand's are then dealt to the lanes of panels."""
        f, at = self.f, self.at
        with f.loop(0, at.blocks) as block:
            here, first = at.here(f, block), self.start(*self.row(self.tile.outer), block)
            if at.along:
                made = [f.at("i32", "%q", f.plus(first, n * at.plane)) for n in range(at.planes)]
            else:
                made = [f.local("i32", at.deep) for _ in range(at.planes)]
            with f.loop(0, f.times(here, 2)) as i:
                k = f.plus(f.times(block, 2 * at.deep), i)
                for memory, digit in zip(made, self.digits(self.term(self.tile.outer, k), 0), strict=True):
                    f.store("i16", f.do(f"trunc i32 {digit} to i16"), f.at("i16", memory, i))
            if not at.along:
                with f.loop(0, here) as pair:
                    self._words(made, pair, f.plus(first, f.times(pair, at.lane)))


def planes_kernel(operand: Operand, at: Lying, part: bool = False) -> NativeKernel:
    """Quantises an operand over its own axes and k. Tensors: planes, backs, operand, for a part of one magnitudes."""
    read = ["%x0", *(["%m"] if part else [])]
    f = body(["%q", "%back"], read)
    packing = _Packing(operand, at, f)
    tile = packing.tile
    with f.loop("%lo", "%hi") as task:
        packing.begin(task, "%m" if part else None)
        if tile.down:
            packing.down()
        else:
            packing.across()
        with tile.each() as (c, point):
            to = f.at("double", "%back", f.flat(point, row_major(operand.shape)))
            f.store("double", packing.scales.of(c).back, to)
    return kernel(["%q", "%back", *read], f, prod(tile.grid), 8 * prod(operand.shape) * at.extent)
