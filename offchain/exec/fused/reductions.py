"""Kernels of sum, max and scatter_add: a pass for exponents and one for exact sums, over what the caches hold."""

from __future__ import annotations

from math import prod
from typing import Final

from offchain.exec.fused.function import Function
from offchain.exec.fused.kernel import body, kernel
from offchain.exec.fused.products import product_kernel
from offchain.exec.fused.tile import Scales, Tile
from offchain.exec.plan.geometry import scattered
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, Source, View, row_major
from offchain.ir.primitives import DType
from offchain.native.kernel import NativeKernel

_WHOLE: Final = (["%out"], ["%x0"])  # tensors that a sum writes and reads
_PART: Final = (["%total", "%back"], ["%x0", "%m"])


def magnitude_kernel(item: Input, shape: tuple[int, ...], extent: int) -> NativeKernel:
    """The greatest magnitude along k. Tensors: magnitudes, operand."""
    tile = Tile(item, shape, extent)
    f = body(["%top"], ["%x0"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        top = tile.tops()
        with tile.each() as (c, point):
            f.store("i32", f.load("i32", f.at("i32", top, c)), f.at("i32", "%top", f.flat(point, row_major(shape))))
    return kernel(["%top", "%x0"], f, prod(tile.grid), 3 * prod(shape) * extent)


def sum_kernel(node: Node, part: bool = False) -> NativeKernel:
    """A sum of one operand. Tensors: output, operand; or for a part of one: totals, backs, operand, magnitudes."""
    node = coalesced(node)
    tile = Tile(node.inputs[0], node.shape, node.extent)
    written, read = _PART if part else _WHOLE
    f = body(written, read)
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        scales = tile.scales(node.bits, "double", "%m" if part else None)
        totals = tile.fill("double", "0.0")
        with tile.walk() as (_, c, _, x):
            at = f.at("double", totals, c)
            q = f.quantised(x, scales.of(c), node.bits)
            # integers below 2^53: in any order the same, so that the loop may be vectorised
            f.store("double", f.do(f"fadd reassoc double {f.load('double', at)}, {q}"), at)
        _store_sums(f, tile, scales, totals, part)
    return kernel([*written, *read], f, prod(tile.grid), 8 * node.length * node.extent)


def _store_sums(f: Function, tile: Tile, scales: Scales, totals: str, part: bool) -> None:
    """Rounded elements; or of a part the totals, and the backs that round them once they are whole."""
    with tile.each() as (c, point):
        index = f.flat(point, row_major(tile.shape))
        total, back = f.load("double", f.at("double", totals, c)), scales.of(c).back
        if part:
            f.store("double", total, f.at("double", "%total", index))
            f.store("double", back, f.at("double", "%back", index))
        else:
            f.store("float", f.rounded(total, back), f.at("float", "%out", index))


def max_kernel(node: Node, keys: bool = False) -> NativeKernel:
    """A maximum along k. Tensors: output, or the order keys of its elements; operand."""
    node = coalesced(node)
    tile = Tile(node.inputs[0], node.shape, node.extent)
    real = node.dtype is DType.F32
    f = body(["%out"], ["%x0"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        top = tile.fill("i32", str(-(1 << 31)))
        with tile.walk() as (_, c, _, x):
            at = f.at("i32", top, c)
            f.store("i32", f.greatest(f.load("i32", at), f.order_key(x) if real else x), at)
        with tile.each() as (c, point):
            value = f.load("i32", f.at("i32", top, c))
            value = f.swapped(value) if real and not keys else value
            f.store("i32", value, f.at("i32", "%out", f.flat(point, row_major(node.shape))))
    return kernel(["%out", "%x0"], f, prod(tile.grid), 3 * node.length * node.extent)


def scatter_kernel(node: Node, part: bool = False) -> NativeKernel:
    """Adds the rows of X to the totals of the rows that I names. Tensors: totals, backs, operand, index, and for a part
    of one magnitudes.

    For operands that do not depend on the row and an index that depends on nothing but k (`scatters_rows`); totals
    are doubles in the node's shape, backs are one for each column.
    """
    rows, *columns = node.shape
    shape = tuple(columns)
    x, index = scattered(node)
    tile = Tile(x, shape, node.extent)
    read = ["%x0", "%x1", *(["%m"] if part else [])]
    width, f = prod(shape), body(["%total", "%back"], read)
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        with f.loop(0, rows) as v, tile.each() as (_, point):
            at = f.plus(f.times(v, width), f.flat(point, row_major(shape)))
            f.store("double", "0.0", f.at("double", "%total", at))
        scales = tile.scales(node.bits, "double", "%m" if part else None)
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
    return kernel(["%total", "%back", *read], f, prod(tile.grid), 8 * prod(shape) * node.extent + node.length)


def rows_kernel(node: Node) -> NativeKernel:
    """Elements from what `scatter_kernel` makes. Tensors: output, totals, backs."""
    whole = View.contiguous(node.shape)
    column = View(0, (whole.axes[0]._replace(stride=0), *whole.axes[1:]))
    lengths = (node.length, prod(node.shape[1:]))
    total, back = (Input(Source.NODE, 0, node.dtype, n, v) for n, v in zip(lengths, (whole, column), strict=True))
    return product_kernel(node.shape, total, [back], "double", 1)


def mask_kernel(node: Node, part: bool = False) -> NativeKernel:
    """Any scatter_add, element by element: the terms whose index names the element's row. Tensors: as a sum, index."""
    x, index = node.inputs
    tile = Tile(x, node.shape, node.extent)
    written, read = _PART if part else _WHOLE
    f = body(written, [*read, "%x1"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        scales = tile.scales(node.bits, "double", "%m" if part else None)
        totals = tile.fill("double", "0.0")
        with tile.walk() as (k, c, point, value):
            at = f.at("double", totals, c)
            named = f.do(f"sext i32 {f.read(index, '%x1', [*point, k], (*node.shape, node.extent))} to i64")
            hit = f.do(f"icmp eq i64 {named}, {point[0]}")
            q = f.quantised(value, scales.of(c), node.bits)
            f.store(
                "double",
                f.do(f"fadd reassoc double {f.load('double', at)}, {f.do(f'select i1 {hit}, double {q}, double 0.0')}"),
                at,
            )
        _store_sums(f, tile, scales, totals, part)
    return kernel([*written, *read, "%x1"], f, prod(tile.grid), 10 * node.length * node.extent)
