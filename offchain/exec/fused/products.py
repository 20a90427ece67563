"""Kernels of a dot: quantised operands, products by the BLAS, and the elements that exact totals make."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from offchain.exec.fused.blas import Blas
from offchain.exec.fused.kernel import body, kernel
from offchain.exec.fused.tile import Tile
from offchain.exec.plan.products import Product
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, row_major
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.native.kernel import NativeKernel

_INSIDE: Final = 24  # bits up to which binary32 holds a quantised operand
_BLOCK: Final = 2048  # totals that a task adds


def pack_kernel(
    item: Input, shape: tuple[int, ...], extent: int, bits: int, kind: str, strides: tuple[int, ...], part: bool = False
) -> NativeKernel:
    """Quantises an operand over its own axes and k, which lie `strides` apart. Tensors: quantised, backs, operand, and
    for a part of one magnitudes.

    The operand is quantised in binary32 where that holds it, and stored as `kind`.
    """
    tile = Tile(item, shape, extent)
    read = ["%x0", *(["%m"] if part else [])]
    f = body(["%q", "%back"], read)
    inside = "float" if bits <= _INSIDE else "double"
    with f.loop("%lo", "%hi") as task:
        tile.begin(f, task)
        scales = tile.scales(bits, inside, "%m" if part else None)
        with tile.walk() as (k, c, point, x):
            q = f.quantised(x, scales.of(c), bits)
            if inside != kind:
                q = f.do(f"fpext {inside} {q} to {kind}")
            f.store(kind, q, f.at(kind, "%q", f.flat([*point, k], strides)))
        with tile.each() as (c, point):
            f.store("double", scales.of(c).back, f.at("double", "%back", f.flat(point, row_major(shape))))
    return kernel(["%q", "%back", *read], f, prod(tile.grid), 8 * prod(shape) * extent)


def multiply_kernel(product: Product, blas: Blas) -> NativeKernel:
    """The totals of a product, by one call of the BLAS for each batch and slice. Tensors: totals, first, second.

    A task is a row of the totals. The BLAS stores matrices column by column, so it multiplies second times first.
    """
    first, second, extent = product.first, product.second, product.extent
    kind, integer, longest = product.kind, blas.integer, product.longest
    f = body(["%s"], ["%x0", "%x1"])

    def passed(of: str, value: str | int) -> str:
        at = f.local(of)
        f.store(of, str(value), at)
        return at

    turned = [passed("i8", ord("N" if side.down == turns else "T")) for side, turns in ((second, True), (first, False))]
    one, zero = passed(kind, "1.0"), passed(kind, "0.0")
    wide = [passed(integer, side.rows if side.down else extent) for side in (second, first)]
    columns = passed(integer, second.rows)
    from_batch, to_batch = (f.do(f"udiv i64 {end}, {first.rows}") for end in ("%lo", f.plus("%hi", first.rows - 1)))
    with f.loop(from_batch, to_batch) as b:
        before = f.times(f.times(b, first.rows), -1)
        low = f.do(f"call i64 @llvm.smax.i64(i64 {f.plus('%lo', before)}, i64 0)")
        high = f.least(str(f.plus("%hi", before)), first.rows)
        rows = f.do(f"sub i64 {high}, {low}")
        count = passed(integer, f.narrow(rows, integer))
        with f.loop(0, product.slices) as s:
            k = f.times(s, longest)
            span = passed(integer, f.narrow(f.least(str(f.plus(extent, f.times(k, -1))), longest), integer))
            here = f.flat([b, k], (second.rows * extent, second.rows if second.down else 1))
            there = f.flat([b, k, low], (first.rows * extent, *((first.rows, 1) if first.down else (1, extent))))
            to = f.flat([s, b, low], (product.size, first.rows * second.rows, second.rows))
            x1, x0, out = (f.at(kind, name, at) for name, at in (("%x1", here), ("%x0", there), ("%s", to)))
            # Some versions of OpenBLAS compute a vector as 0·C + A·B, which is NaN where C was: C must hold numbers.
            single = f.do(f"icmp eq i64 {rows}, 1") if second.rows > 1 else "true"
            with f.loop(0, f.do(f"select i1 {single}, i64 {f.times(rows, second.rows)}, i64 0")) as c:
                f.store(kind, "0.0", f.at(kind, out, c))
            pointers = [*turned, columns, count, span, one, x1, wide[0], x0, wide[1], zero, out, columns]
            f.call(f"{blas.name}_{'d' if kind == 'double' else 's'}gemm", pointers)
    tasks = product.batch * first.rows
    return kernel(["%s", "%x0", "%x1"], f, tasks, 2 * product.size * extent)


def total_kernel(product: Product, to: str) -> NativeKernel:
    """The totals of all slices as `to`, double or i32. Tensors: totals, totals of slices."""
    f = body(["%out"], ["%s"])
    blocks = -(-product.size // _BLOCK)
    with f.loop("%lo", "%hi") as task:
        start = f.times(task, _BLOCK)
        with f.loop(start, f.least(str(f.plus(start, _BLOCK)), product.size)) as i:
            value = f.total(product.kind, "%s", i, product.slices, product.size)
            value = value if to == "double" else f.do(f"fptosi double {value} to {to}")
            f.store(to, value, f.at(to, "%out", i))
    return kernel(["%out", "%s"], f, blocks, product.slices * product.size)


def product_kernel(
    shape: tuple[int, ...], total: Input, backs: Sequence[Input], kind: str, slices: int
) -> NativeKernel:
    """The elements that exact totals make. Tensors: output, totals (`slices` of them, one after the other), backs."""
    node = coalesced(Node(Kind.MAP, DType.F32, shape, (total, *backs)))
    names = [f"%b{n}" for n in range(len(backs))]
    f = body(["%out"], ["%s", *names])
    *outer, inner = node.shape or (1,)
    with f.loop("%lo", "%hi") as task:
        coords = f.split(task, outer)
        with f.loop(0, inner) as i:
            point = [*coords, i][: len(node.shape)]
            index, _ = f.address(node.inputs[0].view, point, node.shape)
            value = f.total(kind, "%s", index, slices, total.length)
            scales = []
            for name, item in zip(names, node.inputs[1:], strict=True):
                at, _ = f.address(item.view, point, node.shape)
                scales.append(f.load("double", f.at("double", name, at)))
            f.store("float", f.rounded(value, *scales), f.at("float", "%out", f.flat(point, row_major(node.shape))))
    return kernel(["%out", "%s", *names], f, prod(outer), (4 + slices) * prod(shape))
