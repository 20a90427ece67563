"""Calls that nodes made alone and nodes made by several processes have in common: operands, totals and rounding."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

import torch

from offchain.exec.cuda.elementwise import map_kernel, round_kernel
from offchain.exec.cuda.engines import Engine, engines
from offchain.exec.cuda.kernel import Fill, Launch
from offchain.exec.cuda.reductions import is_split, pack_kernel, top_kernel
from offchain.exec.cuda.tuning import Tuner
from offchain.exec.plan.planning import STEP, Buffer, Planner, Tensor, Within, aligned
from offchain.exec.plan.products import product_of
from offchain.exec.plan.shards import Share
from offchain.ir.graph import Input, Node, Source, View
from offchain.ir.primitives import DType

LOWEST: Final = -(1 << 31)
NOWHERE: Final = (Source.NODE, 0, DType.F32)
_SMALL: Final = 1 << 20  # bytes


class CudaCalls(Planner[Launch]):
    def __init__(self, share: Share, tuner: Tuner, prepared: int = 0) -> None:
        super().__init__(share, prepared)
        self.tuner = tuner
        self._zeros = self.buffer(0)  # of small tensors that start as zeros, set at once before all else
        self._packs: dict[tuple[object, ...], tuple[Tensor, Tensor]] = {}
        self.call(Fill(0, (torch.int32,)), self._zeros)

    def elements(self, node: Node, out: Tensor, words: Tensor) -> None:
        """A map of one input, which lies in `words`."""
        self.call(map_kernel(node, View.contiguous(node.shape), node.length), out, words, STEP)

    def engine(self, node: Node) -> Engine:
        return self.tuner.choose(engines(product_of(node), node.bits))

    def top(self, item: Input, shape: tuple[int, ...], extent: int) -> Tensor:
        top = self.zeroed(torch.int32, prod(shape))
        self.call(top_kernel(item, shape, extent), top, self.source(item))
        return top

    def packed(self, node: Node, side: int, engine: Engine, top: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A quantised operand and its tops; the same for all products that read the same in the same way, and made
        once where it is of something that lasts.

        With `top` it is part of one, scaled by these magnitudes.
        """
        product, packing, part = engine.product, engine.packings[side], top is not None
        operand, item = (product.first, product.second)[side], node.inputs[product.operands[side]]
        key = (operand, node.bits, node.extent, packing, part)
        if key not in self._packs:
            rows, split = prod(operand.shape), is_split(operand.item, operand.shape, packing.padded)
            source, size = self.source(item), packing.dtype.itemsize * packing.length
            tops = [] if top is None else [top]
            with self.once(aligned(size) + 4 * rows, self.lasts([source, *tops])):
                if top is None:
                    reads = (operand.item, operand.shape, node.extent)
                    top = self.top(*reads) if split else self.numbers(torch.int32, rows)
                q = self.buffer(size)
                self.call(pack_kernel(operand.item, operand.shape, node.bits, packing, part), q, top, source)
            self._packs[key] = q, top
        return self._packs[key]

    def round(
        self,
        node: Node,
        out: Tensor,
        total: Tensor,
        read: Input,
        tops: Sequence[tuple[Tensor, Input]],
        dtype: torch.dtype = torch.int64,
        weights: Sequence[int] = (1,),
    ) -> None:
        kernel = round_kernel(node.shape, read, [item for _, item in tops], node.bits, dtype, weights)
        self.call(kernel, out, total, *(top for top, _ in tops))

    def zeroed(self, dtype: torch.dtype, length: int) -> Buffer | Within:
        """Zeros. A large tensor takes a launch of its own and not memory for all of the step, and so does what is made
        once, before the step's zeros are set."""
        size = aligned(dtype.itemsize * length)
        if size > _SMALL or self._once:
            buffer = self.numbers(dtype, length)
            self.call(Fill(0, (dtype,)), buffer)
            return buffer
        self._zeros.bytes += size
        return Within(self._zeros, self._zeros.bytes - size)

    def numbers(self, dtype: torch.dtype, length: int) -> Buffer:
        return self.buffer(dtype.itemsize * length)


def dense(node: Node) -> Input:
    """A number for each element."""
    return Input(*NOWHERE, node.length, View.contiguous(node.shape))


def column_of(node: Node) -> Input:
    """A number for each column, which is all but the first axis."""
    whole = View.contiguous(node.shape)
    return Input(*NOWHERE, prod(node.shape[1:]), View(0, (whole.axes[0]._replace(stride=0), *whole.axes[1:])))
