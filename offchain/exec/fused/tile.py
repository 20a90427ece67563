"""The walk of a reduction over its terms, in the order in which they lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final

from offchain.exec.fused.function import Function, Scale
from offchain.exec.plan.geometry import goes_down
from offchain.ir.graph import Input, row_major
from offchain.native.builder import Coords

COLUMNS: Final = 64  # columns that a reduction down columns takes at once: their accumulators stay in the first cache


class Tile:
    """Some neighbouring results of a reduction, and the walk along k over what they read.

    Where k is the nearer axis in memory the tile is one result. Otherwise it is up to `columns` results along the last
    axis, and the walk reads a row of them for each k.
    """

    def __init__(self, item: Input, shape: tuple[int, ...], extent: int, columns: int = COLUMNS) -> None:
        self.item, self.shape, self.extent, self.columns = item, shape, extent, columns
        self.down = goes_down(item, shape)
        self.width = self.columns if self.down else 1
        self.grid = (*shape[:-1], -(-shape[-1] // self.columns)) if self.down else shape

    def begin(self, f: Function, task: str) -> None:
        """Coordinates of the task's tile."""
        self.f = f
        *coords, last = f.split(task, self.grid) or [0]
        self.outer = coords if self.down else [*coords, last][: len(self.shape)]
        self.start = f.times(last, self.columns)
        rest = self.shape[-1] if self.down else 1
        whole = not self.down or rest % self.columns == 0
        self.count = (
            min(rest, self.columns) if whole else f.least(str(f.plus(rest, f.times(self.start, -1))), self.columns)
        )

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

    def tops(self, given: str | None = None) -> str:
        """The greatest magnitude of each result's terms, by a walk, or loaded from those given for every result."""
        f, top = self.f, self.fill("i32", "0")
        if given is not None:
            with self.each() as (c, point):
                value = f.load("i32", f.at("i32", given, f.flat(point, row_major(self.shape))))
                f.store("i32", value, f.at("i32", top, c))
            return top
        with self.walk() as (_, c, _, x):
            at = f.at("i32", top, c)
            f.store("i32", f.greatest(f.load("i32", at), f.magnitude(x)), at)
        return top

    def scales(self, bits: int, kind: str, given: str | None = None) -> Scales:
        """The scales that follow from `tops`."""
        f, top = self.f, self.tops(given)
        kinds = [*[kind] * (2 if kind == "float" else 1), "double"]
        memory = [f.local(of, self.width) for of in kinds]
        with self.each() as (c, _):
            scale = f.scale(f.load("i32", f.at("i32", top, c)), bits, kind)
            for of, where, value in zip(kinds, memory, (*scale.factors, scale.back), strict=True):
                f.store(of, value, f.at(of, where, c))
        return Scales(f, kinds, memory)


@dataclass(frozen=True)
class Scales:
    f: Function
    kinds: list[str]
    memory: list[str]

    def of(self, c: str | int) -> Scale:
        *factors, back = (
            self.f.load(kind, self.f.at(kind, where, c)) for kind, where in zip(self.kinds, self.memory, strict=True)
        )
        return Scale(self.kinds[0], tuple(factors), back)
