"""Kernels that make each element from elements: maps, gathers, and the elements that exact totals make."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Final

import torch

from offchain.exec.cuda.kernel import TritonKernel, kernel
from offchain.exec.cuda.text import KernelText, power_above, reach
from offchain.exec.plan.planning import DTYPES
from offchain.ir.axes import coalesced
from offchain.ir.graph import Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType

BLOCK: Final = 1024  # elements of a program of the grid


class Elements(KernelText):
    """One thread for each element of a shape: `index`, the condition `live` under which there is one, `coords`."""

    def __init__(self, shape: tuple[int, ...], *numbers: int) -> None:
        count = prod(shape)
        super().__init__(count, *numbers)
        size = min(power_above(count), BLOCK)
        self.grid = (-(-count // size),)
        self.index = self.block(0, size)
        self.live = self.let(f"{self.index} < {count}")
        self.coords = self.split(self.index, shape)


def map_kernel(node: Node, out: View, length: int) -> TritonKernel:
    """Writes a map's elements through the view `out`, of a tensor of `length`. Tensors: output, inputs, step."""
    target = Input(Source.NODE, 0, node.dtype, length, out)
    node = coalesced(replace(node, inputs=(*node.inputs, target)))
    *inputs, target = node.inputs
    f = Elements(node.shape, *(reach(item.view, node.shape) for item in node.inputs))
    value = f.program(node, f.coords, f.index, f.live)
    if node.dtype is DType.F32:
        value = f"device.canonical({value})"
    address, _ = f.address(target.view, f.coords, node.shape, f.index)
    f.do(f"tl.store(out + {address}, {value}, mask={f.live})")
    types = {f"x{n}": DTYPES[item.dtype] for n, item in enumerate(inputs)}
    return kernel({"out": DTYPES[node.dtype], **types, "step": torch.int32}, f, f.grid)


def gather_kernel(node: Node) -> TritonKernel:
    """Rows by index. Tensors: output, table, index."""
    node = coalesced(node)
    table, index = node.inputs
    wide = (*node.shape, node.extent)
    f = Elements(node.shape, node.extent, reach(table.view, wide), reach(index.view, node.shape))
    row = f.let(f.widened(f.read(index, "x1", f.coords, node.shape, f.index, f.live)))
    address, inside = f.address(table.view, [*f.coords, row], wide, f.index)
    value = f.load("x0", address, f.live, f"({row} >= 0) & ({row} < {node.extent})", *inside)
    f.do(f"tl.store(out + {f.index}, {value}, mask={f.live})")
    dtype = DTYPES[node.dtype]
    return kernel({"out": dtype, "x0": dtype, "x1": torch.int32}, f, f.grid)


def round_kernel(
    shape: tuple[int, ...], total: Input, tops: Sequence[Input], bits: int, dtype: torch.dtype, weights: Sequence[int]
) -> TritonKernel:
    """The elements that exact totals make. Tensors: output, totals, greatest magnitudes of each operand.

    Totals are parts, one after the other in memory, which are added with their weights.
    """
    node = coalesced(Node(Kind.MAP, DType.F32, shape, (total, *tops)))
    first, *others = node.inputs
    f = Elements(node.shape, total.length * len(weights))
    value = f"({_whole(f, first, node.shape, weights)}).to(tl.float64)"
    for n, item in enumerate(others):
        value += f" * device.back({f.read(item, f'top{n}', f.coords, node.shape, f.index, f.live)}, {bits})"
    f.do(f"tl.store(out + {f.index}, device.canonical(({value}).to(tl.float32)), mask={f.live})")
    types = {f"top{n}": torch.int32 for n in range(len(others))}
    return kernel({"out": torch.float32, "total": dtype, **types}, f, f.grid)


def whole_kernel(
    shape: tuple[int, ...], total: Input, dtype: torch.dtype, weights: Sequence[int], out: torch.dtype
) -> TritonKernel:
    """Totals of parts as integers of type `out`, dense in `shape`. Tensors: totals, totals of parts."""
    f = Elements(shape, total.length * len(weights))
    value = f"({_whole(f, total, shape, weights)}).to(tl.{str(out).removeprefix('torch.')})"
    f.do(f"tl.store(out + {f.index}, {value}, mask={f.live})")
    return kernel({"out": out, "total": dtype}, f, f.grid)


def _whole(f: Elements, total: Input, shape: tuple[int, ...], weights: Sequence[int]) -> str:
    """The sum of parts with their weights, in int64: it may wrap on the way, as the whole fits."""
    address, _ = f.address(total.view, f.coords, shape, f.index)
    parts = [f.load("total", f"{address} + {n * total.length}", f.live) for n in range(len(weights))]
    terms = [f"{part}.to(tl.int64) * {weight}" for part, weight in zip(parts, weights, strict=True)]
    return f.let(" + ".join(terms))
