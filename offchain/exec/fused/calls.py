"""Calls that nodes made alone and nodes made by several processes have in common: operands and totals of products."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, Final, TypeVar

from offchain.exec.fused.digits import totals_kernel
from offchain.exec.fused.engines import Engines
from offchain.exec.fused.kernel import TYPES
from offchain.exec.fused.planes import Digits, lying, planes_kernel
from offchain.exec.fused.products import multiply_kernel, pack_kernel, total_kernel
from offchain.exec.plan.geometry import from_start
from offchain.exec.plan.planning import Buffer, Planner, Tensor, aligned
from offchain.exec.plan.products import Product
from offchain.exec.plan.shards import Share
from offchain.ir.graph import Input, Node, Source
from offchain.native.kernel import NativeKernel

T = TypeVar("T")
WORD: Final = 4  # bytes of an element
MANY: Final = 1024  # rows beside which an operand is prepared in each step: 3 % of the product, and then in the cache


class FusedCalls(Planner[NativeKernel]):
    def __init__(self, share: Share, engines: Engines, prepared: int) -> None:
        super().__init__(share, prepared)
        self.engines = engines
        self._made: dict[tuple[Any, tuple[Any, ...]], Any] = {}
        self._packs: dict[tuple[object, ...], tuple[Buffer, Buffer]] = {}

    def kept(self, make: Callable[..., T], *arguments: Any) -> T:
        """What `make` gives for these arguments, made once."""
        key = make, arguments
        if key not in self._made:
            self._made[key] = make(*arguments)
        found: T = self._made[key]
        return found

    def reading(self, make: Callable[[Node], NativeKernel], node: Node, *written: Tensor) -> None:
        """Calls the kernel of a node: it writes these tensors and reads the node's inputs."""
        form, starts = form_of(node)
        sources = (self.source(item) for item in node.inputs)
        self.call(self.kept(make, form), *written, *sources, starts=(*[0] * len(written), *starts))

    def totals(self, node: Node, product: Product, kind: str, to: Tensor, q0: Buffer, q1: Buffer) -> None:
        """The product's totals as `kind`, double or i32."""
        digits = self.engines.digits(node.bits)
        if digits:
            self.call(self.kept(totals_kernel, product, digits, kind), to, q0, q1)
            return
        direct = product.kind == kind and product.slices == 1
        made = to if direct else self.buffer(TYPES[product.kind].itemsize * product.size * product.slices)
        self.call(self.kept(multiply_kernel, product, self.engines.blas), made, q0, q1)
        if not direct:
            self.call(total_kernel(product, kind), to, made)

    def packed(
        self, node: Node, side: int, product: Product, digits: Digits | None, top: Tensor | None = None
    ) -> tuple[Buffer, Buffer]:
        """A quantised operand and its backs; the same for all products that read the same in the same way, and made
        once where it is of something that lasts.

        As planes of these digits, else as numbers of the product's kind. With `top` it is part of one, scaled by these
        magnitudes.
        """
        sides = product.first, product.second
        operand, other, read = sides[side], sides[1 - side], node.inputs[product.operands[side]]
        item, _ = started(operand.item, 0)
        operand = replace(operand, item=item)
        _, start = started(read, 0)  # not the operand's, which may be `started` already
        planes = lying(product, side, digits) if digits else None
        key = (read.source, read.index, start, operand, node.bits, node.extent, product.kind, planes, top is None)
        if key not in self._packs:
            rows, part = prod(operand.shape), top is not None
            if planes:
                size, kernel = 4 * planes.words, self.kept(planes_kernel, operand, planes, part)
            else:
                size, shape, strides = TYPES[product.kind].itemsize * rows * node.extent, operand.shape, operand.strides
                kernel = self.kept(pack_kernel, item, shape, node.extent, node.bits, product.kind, strides, part)
            source, tops = self.source(read), [] if top is None else [top]
            with self.once(aligned(size) + 8 * rows, other.rows <= MANY and self.lasts([source, *tops])):
                q, back = self.buffer(size), self.buffer(8 * rows)
                self.call(kernel, q, back, source, *tops, starts=(0, 0, start, *[0] * len(tops)))
            self._packs[key] = q, back
        return self._packs[key]


def started(item: Input, number: int) -> tuple[Input, int]:
    """The input as read from its first element, of a tensor of that number; and where that is, in bytes.

    So nodes that differ by where they read alone, as the time steps of a recurrence do, are one kernel.
    """
    view, start = from_start(item.view.settled())
    return Input(Source.NODE, number, item.dtype, 0, view), WORD * start


def form_of(node: Node) -> tuple[Node, tuple[int, ...]]:
    """The node with its inputs `started`, and their starts. Inputs that start at the same element have one number."""
    numbers: dict[tuple[Source, int, int], int] = {}
    inputs: list[Input] = []
    starts: list[int] = []
    for item in node.inputs:
        view, start = from_start(item.view)
        number = numbers.setdefault((item.source, item.index, start), len(inputs))
        inputs.append(Input(Source.NODE, number, item.dtype, 0, view))
        starts.append(WORD * start)
    return replace(node, inputs=tuple(inputs)), tuple(starts)
