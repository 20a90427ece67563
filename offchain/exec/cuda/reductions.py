"""Kernels that walk along k: greatest magnitudes, quantised operands, exact sums, maxima.

A program of the grid takes a tile of results and a stretch of k. Where there are few results k is cut, and atomic
operations on integers join what the programs found, in any order to the same bits.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import prod
from typing import Final

import torch

from offchain.exec.cuda.engines import Packing
from offchain.exec.cuda.kernel import TritonKernel, kernel
from offchain.exec.cuda.text import KernelText, power_above, reach
from offchain.exec.plan.geometry import goes_down, without
from offchain.exec.plan.planning import DTYPES
from offchain.ir.graph import Axis, Input, Node, View
from offchain.ir.primitives import DType

TILE: Final = 2048  # elements that a program reads at once
_COLUMNS: Final = 128  # results of a tile where k is the farther axis in memory
_PROGRAMS: Final = 512  # enough to keep a large device busy
_GRID: Final = 65_535  # of the second axis of a grid


@dataclass(frozen=True)
class Rows:
    """Where a view with the axis k starts for each result, the conditions under which it reads, and the axis k."""

    address: str
    inside: tuple[str, ...]
    axis: Axis


class Walk(KernelText):
    """Results of `shape`, each over k below `extent` of one operand: `index`, `live` and `coords` of results."""

    def __init__(self, item: Input, shape: tuple[int, ...], extent: int, *numbers: int) -> None:
        super().__init__(prod(shape), extent, reach(item.view, (*shape, extent)), *numbers)
        item = replace(item, view=item.view.settled())
        self.shape, self.extent = shape, extent
        down = goes_down(item, shape)
        results = power_above(prod(shape))
        longest = TILE if not down else max(TILE // min(results, _COLUMNS), 1)
        self._size = min(power_above(extent), longest)
        self.results = min(results, max(TILE // self._size, 1))
        tiles, blocks = -(-prod(shape) // self.results), -(-extent // self._size)
        wanted = min(blocks, max(_PROGRAMS // tiles, 1), _GRID)
        self._each = -(-blocks // wanted)
        self.grid = (tiles, -(-blocks // self._each))
        self.index = self.block(0, self.results)
        self.live = self.let(f"{self.index} < {prod(shape)}")
        self.coords = self.split(self.index, shape)
        self._rows = self.rows(item.view)

    @property
    def split_up(self) -> bool:
        """Whether several programs share a result."""
        return self.grid[1] > 1

    def rows(self, view: View) -> Rows:
        """The results' rows of a view that has the axis k."""
        view = view.settled()
        *outer, k = view.axes
        address, inside = self.address(View(view.offset, tuple(outer)), self.coords, self.shape, self.index)
        return Rows(address, (self.live, *inside), k)

    def tile(self, base: str, rows: Rows, k: str) -> str:
        """What a block of k reads, one row for each result."""
        valid = f"({k} >= {rows.axis.lo}) & ({k} < {rows.axis.hi})"
        inside = self.let(" & ".join(rows.inside), "m")
        place = f"({rows.address}[:, None] + ({k} * {rows.axis.stride})[None, :])"
        return self.load(base, place, f"{inside}[:, None]", f"({valid})[None, :]")

    @contextmanager
    def along(self) -> Iterator[tuple[str, str]]:
        """Every block of the program's stretch of k: k, and what is read, one row for each result."""
        with self.loop(self._each) as n:
            k = self.block(1, self._size, n, self._each)
            yield k, self.tile("x0", self._rows, k)

    def fill(self, value: int, dtype: str) -> str:
        """An accumulator for every element of a tile."""
        return self.let(f"tl.full([{self.results}, {self._size}], {value}, tl.{dtype})", "s")

    def top(self) -> str:
        """The greatest magnitude of each result, over the program's stretch of k."""
        best = self.fill(0, "int32")
        with self.along() as (_, x):
            self.do(f"{best} = tl.maximum({best}, device.magnitude({x}))")
        return self.let(f"tl.max({best}, 1)")

    def quantised(self, x: str, top: str, bits: int) -> str:
        return self.let(f"device.quantised({x}, {top}[:, None], {bits})", "q")

    def store(self, name: str, value: str) -> None:
        self.do(f"tl.store({name} + {self.index}, {value}, mask={self.live})")

    def join(self, operation: str, name: str, value: str) -> None:
        self.do(f"tl.atomic_{operation}({name} + {self.index}, {value}, mask={self.live}, sem='relaxed')")

    def known_top(self) -> str:
        """The greatest magnitudes that another kernel found."""
        return self.load("top", self.index, self.live)


def is_split(item: Input, shape: tuple[int, ...], extent: int) -> bool:
    """Whether a reduction's results are shared by programs, and so take kernels of their own for tops and totals."""
    return Walk(item, shape, extent).split_up


def top_kernel(item: Input, shape: tuple[int, ...], extent: int) -> TritonKernel:
    """Greatest magnitudes along k. Tensors: tops (zeros before), operand."""
    f = Walk(item, shape, extent)
    f.join("max", "top", f.top())
    return kernel({"top": torch.int32, "x0": torch.float32}, f, f.grid)


def pack_kernel(item: Input, shape: tuple[int, ...], bits: int, packing: Packing, part: bool = False) -> TritonKernel:
    """Quantises an operand over its own axes and k, and zeros behind k. Tensors: quantised, tops, operand.

    Tops are found here where every result is one program's; else, and for a part of an operand, they are known.
    """
    f = Walk(item, shape, packing.padded, packing.length)
    if f.split_up or part:
        top = f.known_top()
    else:
        top = f.top()
        f.store("top", top)
    row = f.let(" + ".join([f"{f.index} * 0", *(f"{x} * {s}" for x, s in zip(f.coords, packing.strides, strict=True))]))
    with f.along() as (k, x):
        q = f.quantised(x, top, bits)
        inside = f.let(f"{f.live}[:, None] & ({k} < {packing.padded})[None, :]", "m")
        place = f.let(f"{row}[:, None] + ({packing.place(k)})[None, :]", "a")
        for n in range(packing.digits):
            digit = q if n == packing.digits - 1 else f.let(f"(({q} + 128) & 255) - 128")
            value = f"{digit}.to(tl.{packing.kind})"
            f.do(f"tl.store(q + {place} + {packing.digit(n)}, {value}, mask={inside})")
            q = q if n == packing.digits - 1 else f.let(f"({q} - {digit}) >> 8", "q")
    return kernel({"q": packing.dtype, "top": torch.int32, "x0": torch.float32}, f, f.grid)


def sum_kernel(node: Node, masked: bool = False) -> TritonKernel:
    """A sum of which each result belongs to one program. Tensors: output, operand, and for a scatter_add the index."""
    f = _walk(node, masked)
    top = f.top()
    total = _total(f, node, top, masked)
    value = f"(({total}).to(tl.float64) * device.back({top}, {node.bits})).to(tl.float32)"
    f.store("out", f"device.canonical({value})")
    return kernel({"out": torch.float32, **_operands(masked)}, f, f.grid)


def total_kernel(node: Node, masked: bool = False) -> TritonKernel:
    """Exact totals of a sum. Tensors: totals (zeros before), tops, operand, and for a scatter_add the index."""
    f = _walk(node, masked)
    f.join("add", "total", _total(f, node, f.known_top(), masked))
    return kernel({"total": torch.int64, "top": torch.int32, **_operands(masked)}, f, f.grid)


def _walk(node: Node, masked: bool) -> Walk:
    index = [reach(item.view, (*node.shape, node.extent)) for item in node.inputs[1:]] if masked else []
    return Walk(node.inputs[0], node.shape, node.extent, *index)


def _operands(masked: bool) -> dict[str, torch.dtype]:
    return {"x0": torch.float32, **({"x1": torch.int32} if masked else {})}


def _total(f: Walk, node: Node, top: str, masked: bool) -> str:
    """With `masked` the terms are those whose index names the result's row."""
    total = f.fill(0, "int64")
    index = f.rows(node.inputs[1].view) if masked else None
    with f.along() as (k, x):
        q = f.quantised(x, top, node.bits)
        if index is not None:
            q = f"tl.where({f.tile('x1', index, k)} == {f.coords[0]}[:, None], {q}, 0)"
        f.do(f"{total} = {total} + ({q}).to(tl.int64)")
    return f.let(f"tl.sum({total}, 1)")


def scatter_kernel(node: Node) -> TritonKernel:
    """Adds the rows of X to the totals of the rows that I names. Tensors: totals (zeros before), tops, operand, index.

    For operands that do not depend on the row; totals are in the node's shape, tops are one for each column.
    """
    x, columns = column_operand(node)
    index = replace(node.inputs[1], view=without(node.inputs[1].view, range(len(node.shape))))
    f = Walk(x, columns, node.extent, node.length, reach(index.view, (node.extent,)))
    top, width = f.known_top(), prod(columns)
    with f.along() as (k, value):
        q = f.quantised(value, top, node.bits)
        row = f.let(f.widened(f.read(index, "x1", [k], (node.extent,), k, f"({k} < {node.extent})")))
        named = f.let(f"({k} < {node.extent}) & ({row} >= 0) & ({row} < {node.shape[0]})", "m")
        place = f"total + ({row} * {width})[None, :] + {f.index}[:, None]"
        mask = f"{f.live}[:, None] & {named}[None, :] & ({q} != 0)"
        f.do(f"tl.atomic_add({place}, {q}.to(tl.int64), mask={mask}, sem='relaxed')")
    return kernel({"total": torch.int64, "top": torch.int32, **_operands(True)}, f, f.grid)


def column_operand(node: Node) -> tuple[Input, tuple[int, ...]]:
    """The values of a scatter_add that do not depend on the row, and the shape of their columns."""
    return replace(node.inputs[0], view=without(node.inputs[0].view, [0])), node.shape[1:]


def max_kernel(node: Node, keys: bool = False) -> TritonKernel:
    """A maximum along k. Tensors: output, operand; or its order keys (-2^31 before), operand."""
    f = Walk(node.inputs[0], node.shape, node.extent)
    real = node.dtype is DType.F32
    best = f.fill(-(1 << 31), "int32")
    with f.along() as (k, x):
        key = f"device.order_key({x})" if real else x
        inside = f"({k} < {node.extent})[None, :]"
        f.do(f"{best} = tl.where({inside}, tl.maximum({best}, {key}), {best})")
    value = f.let(f"tl.max({best}, 1)")
    if keys:
        f.join("max", "out", value)
    else:
        f.store("out", f"device.real(device.swapped({value}))" if real else value)
    return kernel({"out": torch.int32 if keys else DTYPES[node.dtype], "x0": DTYPES[node.dtype]}, f, f.grid)
