"""Kernels of maps and gathers: an element of the output for elements of the inputs."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Final

from offchain.exec.fused.function import LLVM_TYPES
from offchain.exec.fused.kernel import body, kernel
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, Source, View, row_major
from offchain.ir.primitives import DType
from offchain.native.kernel import NativeKernel

BLOCK: Final = 2048  # elements of an inner loop


def map_kernel(node: Node, out: View) -> NativeKernel:
    """Writes a map's elements through the view `out`. Tensors: output, inputs, step."""
    target = Input(Source.NODE, 0, node.dtype, 0, out)
    node = coalesced(replace(node, inputs=(*node.inputs, target)))
    *inputs, target = node.inputs
    names = [f"%x{n}" for n in range(len(inputs))]
    f = body(["%out"], [*names, "%step"])
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
    return kernel(["%out", *names, "%step"], f, prod(outer) * blocks, work)


def gather_kernel(node: Node) -> NativeKernel:
    """Rows by index. Tensors: output, table, index."""
    node = coalesced(node)
    table, index = node.inputs
    f = body(["%out"], ["%x0", "%x1"])
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
    return kernel(["%out", "%x0", "%x1"], f, prod(outer), 4 * node.length)
