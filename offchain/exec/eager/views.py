"""Views as tensors: strided windows where the valid ranges allow it, padding with zeros where they do not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import torch
from torch.nn.functional import pad

from offchain.exec.plan.geometry import steps
from offchain.ir.graph import Node, View

Tensor = torch.Tensor


def read(source: Tensor, view: View, shape: Sequence[int], keep_last: bool = False) -> Tensor:
    """What a view reads, broadcastable to `shape`: of size 1 along axes of stride 0.

    With `keep_last` the last axis has its full size in any case. No copy where all that is read is valid and no
    stride is negative.
    """
    offset = view.offset
    sizes, strides, flipped, padding = [], [], [], []
    for d, (axis, full) in enumerate(zip(view.axes, shape, strict=True)):
        kept = keep_last and d == len(shape) - 1
        still = full > 1 and not steps(axis, full) and not kept
        size, lo, hi = (1, 0, 1) if still else (full, axis.lo, axis.hi)
        # torch has no negative strides, so start from the other end and flip
        offset += axis.stride * (hi - 1 if axis.stride < 0 else lo)
        if axis.stride < 0:
            flipped.append(d)
        sizes.append(hi - lo)
        strides.append(abs(axis.stride) if hi - lo > 1 else 1)
        padding.append((lo, size - hi))
    if 0 in sizes:
        zero = torch.zeros((), dtype=source.dtype, device=source.device)
        return zero.expand([lo + n + after for n, (lo, after) in zip(sizes, padding, strict=True)])
    window = source.as_strided(sizes, strides, source.storage_offset() + offset)
    if flipped:
        window = window.flip(flipped)
    if any(lo or after for lo, after in padding):
        window = pad(window, [end for ends in reversed(padding) for end in ends])
    return window


def read_rows(table: Tensor, node: Node, index: Tensor) -> Tensor:
    """Reads `table` through input 0 of a gather at k = `index` (in range, broadcastable to the shape)."""
    view = node.inputs[0].view
    moves = [steps(axis, size) for axis, size in zip(view.axes, node.shape, strict=False)]
    if any(move and size > 1 for move, size in zip(moves, index.shape, strict=True)):
        return _read_elements(table, node, index)
    # along each dimension only the index or only the table moves: pick rows and copy them whole
    whole = read(table, view, (*node.shape, node.extent), keep_last=True).movedim(-1, 0)
    picked = whole.index_select(0, index.reshape(-1)).reshape((*index.shape, *whole.shape[1:]))
    rank = len(node.shape)
    pairs = [axis for d in range(rank) for axis in (d, rank + d)]
    sizes = [max(a, b) for a, b in zip(index.shape, whole.shape[1:], strict=True)]
    return picked.permute(pairs).reshape(sizes)


def _read_elements(table: Tensor, node: Node, index: Tensor) -> Tensor:
    view, rank = node.inputs[0].view, len(node.shape)
    inside, address = torch.ones_like(index, dtype=torch.bool), torch.full_like(index, view.offset)
    coords = [
        torch.arange(size, device=index.device).reshape([-1 if d == at else 1 for at in range(rank)])
        for d, size in enumerate(node.shape)
    ]
    for axis, x in zip(view.axes, [*coords, index], strict=True):
        inside = inside & (x >= axis.lo) & (x < axis.hi)
        address = address + axis.stride * x
    found = table.take(torch.where(inside, address, 0))
    return torch.where(inside, found, torch.zeros((), dtype=table.dtype, device=table.device))


@dataclass(frozen=True)
class Plane:
    """A dot as a batch of matrix products.

    Sizes are those of the operands as read, without k: 1 on dimensions on which an operand stands still. Where both
    move is the batch, where one moves are that one's rows or columns; on the others the product repeats.
    """

    a_sizes: tuple[int, ...]
    b_sizes: tuple[int, ...]

    @property
    def batch(self) -> list[int]:
        return [d for d, (a, b) in enumerate(self._sizes()) if a > 1 and b > 1]

    def terms(self, extent: int) -> int:
        """Elements of the larger operand."""
        return extent * max(prod(self.a_sizes), prod(self.b_sizes))

    def product(self, a: Tensor, b: Tensor) -> Tensor:
        """Σ_k a·b, broadcastable to the node's shape, of operands whose last axis is k."""
        left, right = self._matrices(a, self.a_sizes), self._matrices(b, self.b_sizes).transpose(1, 2)
        one = left.shape[0] == 1
        out = torch.mm(left[0], right[0]) if one else torch.bmm(left, right)
        order = [*self.batch, *self._own(self.a_sizes), *self._own(self.b_sizes), *self._repeated()]
        sizes = [max(pair) for pair in self._sizes()]
        back = sorted(range(len(order)), key=order.__getitem__)
        return out.reshape([sizes[d] for d in order]).permute(back)

    def _matrices(self, operand: Tensor, sizes: tuple[int, ...]) -> Tensor:
        """(batch, own dimensions, k)."""
        batch, own, extent = self.batch, self._own(sizes), operand.shape[-1]
        rest = [d for d in range(len(sizes)) if d not in batch and d not in own]
        ordered = operand.permute([*batch, *own, *rest, len(sizes)])
        return ordered.reshape(prod(sizes[d] for d in batch), prod(sizes[d] for d in own), extent)

    def _sizes(self) -> list[tuple[int, int]]:
        return list(zip(self.a_sizes, self.b_sizes, strict=True))

    def _own(self, sizes: tuple[int, ...]) -> list[int]:
        batch = self.batch
        return [d for d, size in enumerate(sizes) if size > 1 and d not in batch]

    def _repeated(self) -> list[int]:
        return [d for d, (a, b) in enumerate(self._sizes()) if a == b == 1]
