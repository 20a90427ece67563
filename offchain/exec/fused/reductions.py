"""Kernels of sum, max and scatter_add: exponents and exact sums in one pass each over what lies in the caches."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from offchain.exec.fused.kernel import Kernel, body, kernel
from offchain.exec.fused.tile import Tile, without
from offchain.ir.graph import Node, row_major
from offchain.ir.primitives import DType
from offchain.ir.axes import coalesced


def sum_kernel(node: Node) -> Kernel:
    """A sum of one operand. Tensors: output, operand."""
    node = coalesced(node)
    tile = Tile(node.inputs[0], node.shape, node.extent)
    f = body(["%out"], ["%x0"])
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
    return kernel(["%out", "%x0"], f, prod(tile.grid), 8 * node.length * node.extent)


def max_kernel(node: Node) -> Kernel:
    """A maximum along k. Tensors: output, operand."""
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
            f.store(
                "i32", f.swapped(value) if real else value, f.at("i32", "%out", f.flat(point, row_major(node.shape)))
            )
    return kernel(["%out", "%x0"], f, prod(tile.grid), 3 * node.length * node.extent)


def scatter_kernel(node: Node) -> Kernel:
    """Adds the rows of X to the totals of the rows that I names. Tensors: totals, backs, operand, index.

    For operands that do not depend on the row and an index that depends on nothing but k (`scatters_rows`); totals
    are doubles in the node's shape, backs are one for each column.
    """
    rows, *columns = node.shape
    shape = tuple(columns)
    x = replace(node.inputs[0], view=without(node.inputs[0].view, [0]))
    index = replace(node.inputs[1], view=without(node.inputs[1].view, range(len(node.shape))))
    tile = Tile(x, shape, node.extent)
    width, f = prod(shape), body(["%total", "%back"], ["%x0", "%x1"])
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
    return kernel(["%total", "%back", "%x0", "%x1"], f, prod(tile.grid), 8 * prod(shape) * node.extent + node.length)


def mask_kernel(node: Node) -> Kernel:
    """Any scatter_add, element by element: the terms whose index names the element's row. Tensors: as a sum, index."""
    x, index = node.inputs
    tile = Tile(x, node.shape, node.extent)
    f = body(["%out"], ["%x0", "%x1"])
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        scales = tile.scales(node.bits, "double")
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
        with tile.each() as (c, point):
            value = f.rounded(f.load("double", f.at("double", totals, c)), scales.of(c).back)
            f.store("float", value, f.at("float", "%out", f.flat(point, row_major(node.shape))))
    return kernel(["%out", "%x0", "%x1"], f, prod(tile.grid), 10 * node.length * node.extent)
