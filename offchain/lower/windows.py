"""Windows that slide over a tensor: their geometry, and convolutions as products over them.

A dot has one axis k, so the elements of a window (channels and kernel) are copied once into one axis, from an
overlapping view; the forward pass and the weight's gradient read the same copy. Kernels of size 1 are read in place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import torch

from offchain.errors import Unsupported
from offchain.ir.encoding import MAX_RANK
from offchain.ir.program import ProgramBuilder, Value
from offchain.lower.builder import GraphBuilder
from offchain.lower.refs import Ref
from offchain.lower.registry import Context, lowers

aten = torch.ops.aten
Sizes = tuple[int, ...]


@dataclass(frozen=True)
class Windows:
    """`count` windows over the last axes of a tensor (of `size`); one number per axis in every field.

    Tensors of windows have two axes for each of these axes, window and coordinate in it: (…, y, ky, x, kx).
    """

    size: Sizes
    count: Sizes
    kernel: Sizes
    stride: Sizes
    padding: Sizes
    dilation: Sizes

    @classmethod
    def of(cls, size: Sizes, count: Sizes, *others: Sequence[int] | int) -> Windows:
        """`others`: kernel, stride, padding, dilation, as torch takes them: one number may stand for all axes."""
        wide = [(one,) if isinstance(one, int) else tuple(one) for one in others]
        return cls(size, count, *(one * len(size) if len(one) == 1 else one for one in wide))

    @property
    def shape(self) -> Sizes:
        """(y, ky, x, kx)."""
        return tuple(n for pair in zip(self.count, self.kernel, strict=True) for n in pair)

    @property
    def padded(self) -> bool:
        """Whether a window reads outside the tensor."""
        spans = zip(self.padding, self._spans(), self.size, strict=True)
        return any(before > 0 or span - before > size for before, span, size in spans)

    @property
    def tiled(self) -> bool:
        """Whether windows do not overlap: each lies in a tile of its own of `stride` coordinates."""
        axes = zip(self.kernel, self.stride, self.dilation, strict=True)
        return all(k == 1 or (k <= stride and d == 1) for k, stride, d in axes)

    def view(self, builder: GraphBuilder, x: Ref) -> Ref:
        """The elements of `x` in all windows, zeros outside `x`: (…, y, ky, x, kx). Copies only to pad."""
        lead = len(x.shape) - len(self.size)
        if x.uniform is not None:
            x = builder.copy(x)
        for a, (before, span) in enumerate(zip(self.padding, self._spans(), strict=True)):
            x = x.slice(lead + a, -before, span)
        overlap = [lead + a for a, (n, k) in enumerate(zip(self.count, self.kernel, strict=True)) if n > 1 and k > 1]
        if x.uniform is None and any((x.axes[d].lo, x.axes[d].hi) != (0, x.shape[d]) for d in overlap):
            x = builder.copy(x)
        for a in reversed(range(len(self.size))):
            x = x.windows(lead + a, self.count[a], self.kernel[a], self.stride[a], self.dilation[a])
        return x

    def places(self, builder: GraphBuilder) -> Ref:
        """Which element of the axes, flat, each coordinate of each window reads (−1: padding): (y, ky, x, kx)."""

        def program(p: ProgramBuilder) -> Value:
            at, inside = p.whole(0), p.whole(1)
            for a, size in enumerate(self.size):
                place = p.index(2 * a) * self.stride[a] + p.index(2 * a + 1) * self.dilation[a] - self.padding[a]
                at, inside = at * size + place, inside & place.ge(0) & place.lt(size)
            return inside.where(at, -1)

        return builder.generate(self.shape, program)

    def fold(self, builder: GraphBuilder, terms: Ref) -> Ref:
        """The adjoint of `view`: adds (…, y, ky, x, kx) to the elements that windows read. Exact even with overlaps."""
        lead = terms.shape[: -2 * len(self.size)]
        if not self.tiled:
            return fold(builder, terms, self.places(builder), self.size)
        if terms.uniform is not None:
            terms = builder.copy(terms)
        for a, stride in enumerate(self.stride):
            terms = terms.slice(len(lead) + 2 * a + 1, 0, stride)
        wide = tuple(count * stride for count, stride in zip(self.count, self.stride, strict=True))
        out = builder.reshape(terms, (*lead, *wide))
        for a, (before, size) in enumerate(zip(self.padding, self.size, strict=True)):
            out = out.slice(len(lead) + a, before, size)
        return out

    def _spans(self) -> list[int]:
        """Coordinates from the first to the last that a window reads."""
        axes = zip(self.count, self.kernel, self.stride, self.dilation, strict=True)
        return [(count - 1) * stride + (k - 1) * d + 1 for count, k, stride, d in axes]


def paired(outputs: Ref, shape: Sizes) -> Ref:
    """(…, y, x) repeated along the axes of `shape`, (y, ky, x, kx), that it lacks."""
    lead = outputs.shape[: len(outputs.shape) - len(shape) // 2]
    for a in range(len(shape) // 2):
        outputs = outputs.unsqueeze(len(lead) + 2 * a + 1)
    return outputs.expand((*lead, *shape))


def fold(builder: GraphBuilder, terms: Ref, places: Ref, size: Sizes) -> Ref:
    """out[…, v] = Σ terms[…, k] where places[k] = v, over the last axes of `terms`, which are those of `places`."""
    lead = terms.shape[: len(terms.shape) - len(places.shape)]
    flat = builder.reshape(terms, (*lead, prod(places.shape)))
    index = builder.reshape(places, (prod(places.shape),))
    summed = builder.scatter_add(prod(size), index, flat)
    return builder.reshape(summed.permute([*range(1, len(lead) + 1), 0]), (*lead, *size))


def summed(builder: GraphBuilder, read: Ref, axes: int) -> Ref:
    """(…, y, x): sums over each window of (…, y, ky, x, kx), whose windows have that many axes."""
    rank = len(read.shape)
    return builder.sum(read, range(rank - 2 * axes + 1, rank, 2))


# --- convolutions ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Convolution:
    """A convolution and its adjoints. x: (n, c, *size), w: (o, c/groups, *kernel), y: (n, o, *count)."""

    builder: GraphBuilder
    windows: Windows
    groups: int

    def forward(self, x: Ref, w: Ref) -> Ref:
        """y from x and w."""
        return self._product(self.windows, x, self._grouped(w))

    def to_weight(self, y: Ref, x: Ref) -> Ref:
        """Gradient of w: one sum over rows and windows."""
        columns = self._columns(self.windows, x)
        outputs, extent, rows = y.shape[1], columns.shape[-1], prod(columns.shape[1:-1])
        reads = self.builder.reshape(columns, (self.groups, rows, extent)).permute([0, 2, 1]).unsqueeze(1)
        flat = self.builder.reshape(y.permute([1, 0, *range(2, len(y.shape))]), (outputs, rows))
        grads = self.builder.reshape(flat, (self.groups, outputs // self.groups, 1, rows))
        shape = (outputs, x.shape[1] // self.groups, *self.windows.kernel)
        return self.builder.reshape(self.builder.dot(grads, reads), shape)

    def to_input(self, y: Ref, w: Ref) -> Ref:
        """Gradient of x, and the transposed convolution."""
        if self.windows.tiled and 4 + 2 * len(self.windows.size) <= MAX_RANK:
            return self._tiles(y, self._grouped(w))
        return (self._correlated if max(self.windows.stride) == 1 else self._folded)(y, self._grouped(w))

    def _folded(self, y: Ref, w: Ref) -> Ref:
        """One product gives what each window adds to its coordinates; where windows overlap, these are summed."""
        rows, own, n = y.shape[0], self.windows, len(self.windows.size)
        left = self.builder.reshape(y, (rows, *w.shape[:2], prod(own.count))).permute([0, 1, 3, 2])
        right = self.builder.reshape(w, (*w.shape[:3], prod(own.kernel))).permute([0, 2, 3, 1])
        terms = self.builder.dot(left.unsqueeze(2).unsqueeze(3), right.unsqueeze(3))
        places = own.places(self.builder).permute([*range(1, 2 * n, 2), *range(0, 2 * n, 2)])
        shape = (rows, self.groups * w.shape[2], *own.kernel, *own.count)
        return fold(self.builder, self.builder.reshape(terms, shape), places, own.size)

    def _tiles(self, y: Ref, w: Ref) -> Ref:
        """Where windows do not overlap, one product over the outputs gives the gradient of all elements."""
        rows, inputs, n = y.shape[0], w.shape[2], len(self.windows.size)
        left = self.builder.reshape(y, (rows, *w.shape[:2], *y.shape[2:]))
        left = left.permute([0, 1, *range(3, 3 + n), 2]).unsqueeze(2)
        right = w.permute([0, 2, *range(3, 3 + n), 1])
        for a in range(n):
            left, right = left.unsqueeze(4 + 2 * a), right.unsqueeze(2 + 2 * a)
        shape = (rows, self.groups * inputs, *self.windows.shape)
        return self.windows.fold(self.builder, self.builder.reshape(self.builder.dot(left, right), shape))

    def _correlated(self, y: Ref, w: Ref) -> Ref:
        """With stride 1: the product of y with the flipped kernel, which needs no sum over overlaps."""
        own = self.windows
        axes = zip(own.kernel, own.dilation, own.padding, strict=True)
        padding = tuple(d * (k - 1) - p for k, d, p in axes)
        for a, k in enumerate(own.kernel):
            w = w.slice(3 + a, k - 1, k, -1)
        windows = Windows(own.count, own.size, own.kernel, own.stride, padding, own.dilation)
        return self._product(windows, y, w.permute([0, 2, 1, *range(3, len(w.shape))]))

    def _grouped(self, w: Ref) -> Ref:
        """(groups, o/groups, c/groups, *kernel)."""
        return self.builder.reshape(w, (self.groups, w.shape[0] // self.groups, *w.shape[1:]))

    def _product(self, windows: Windows, x: Ref, w: Ref) -> Ref:
        """(n, groups·o, *count) from x: (n, groups·c, *size) and w: (groups, o, c, *kernel)."""
        columns = self._columns(windows, x)
        left = columns.permute([1, 0, *range(2, len(columns.shape))]).unsqueeze(2)
        right = self.builder.reshape(w, (*w.shape[:2], columns.shape[-1]))
        for _ in windows.count:
            right = right.unsqueeze(2)
        return self.builder.reshape(self.builder.dot(left, right), (x.shape[0], prod(w.shape[:2]), *windows.count))

    def _columns(self, windows: Windows, x: Ref) -> Ref:
        """(groups, n, *count, k): the elements of each window in the channels of its group, along one axis."""
        rows, channels = x.shape[:2]
        split = 1 < self.groups < channels
        if split:
            x = self.builder.reshape(x, (rows, self.groups, channels // self.groups, *x.shape[2:]))
        n, lead = len(windows.size), len(x.shape) - len(windows.size)
        if lead + 2 * n > MAX_RANK:
            raise Unsupported("a grouped convolution over three axes; use groups=1, or one channel a group")
        view = windows.view(self.builder, x)
        group = [1] if self.groups > 1 else []
        channel = [lead - 1] if split or self.groups == 1 else []
        places, kernel = range(lead, lead + 2 * n, 2), range(lead + 1, lead + 2 * n, 2)
        order = [*group, 0, *places, *channel, *kernel]
        extent = channels // self.groups * prod(windows.kernel)
        return self.builder.reshape(view.permute(order), (self.groups, rows, *windows.count, extent))


@lowers(aten.convolution.default)
def _convolution(
    c: Context, x: Ref, w: Ref, bias: Ref | None, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int,
) -> Ref:  # fmt: skip
    inner, outer = (c.shape, x.shape) if transposed else (x.shape, c.shape)
    windows = Windows.of(inner[2:], outer[2:], w.shape[2:], stride, padding, dilation)
    convolution = Convolution(c.builder, windows, groups)
    out = convolution.to_input(x, w) if transposed else convolution.forward(x, w)
    if bias is None:
        return out
    for _ in windows.size:
        bias = bias.unsqueeze(len(bias.shape))
    return c.elementwise(lambda v, b: v + b, out, bias)


@lowers(aten.convolution_backward.default)
def _convolution_backward(
    c: Context, grad: Ref, x: Ref, w: Ref, bias_sizes: Any, stride: Any, padding: Any, dilation: Any, transposed: bool,
    output_padding: Any, groups: int, output_mask: Sequence[bool],
) -> tuple[Ref | None, ...]:  # fmt: skip
    inner, outer = (grad, x) if transposed else (x, grad)
    windows = Windows.of(inner.shape[2:], outer.shape[2:], w.shape[2:], stride, padding, dilation)
    convolution = Convolution(c.builder, windows, groups)
    to_x = (convolution.forward if transposed else convolution.to_input)(grad, w) if output_mask[0] else None
    to_w = convolution.to_weight(outer, inner) if output_mask[1] else None
    others = [0, *range(2, len(grad.shape))]
    return to_x, to_w, c.builder.sum(grad, others) if output_mask[2] else None


# --- windows as a tensor of their own ----------------------------------------------------------------------------


def _blocks(size: Sequence[int], *geometry: Sequence[int]) -> Windows:
    """Windows of im2col, whose arguments are kernel, dilation, padding, stride."""
    kernel, dilation, padding, stride = geometry
    axes = zip(size, kernel, dilation, padding, stride, strict=True)
    count = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, d, p, s in axes)
    return Windows.of(tuple(size), count, kernel, stride, padding, dilation)


@lowers(aten.im2col.default)
def _im2col(c: Context, x: Ref, *geometry: Sequence[int]) -> Ref:
    lead = len(x.shape) - 2
    view = _blocks(x.shape[lead:], *geometry).view(c.builder, x)
    order = [*range(lead), lead + 1, lead + 3, lead, lead + 2]
    return c.builder.reshape(view.permute(order), c.shape)


@lowers(aten.col2im.default)
def _col2im(c: Context, x: Ref, size: Sequence[int], *geometry: Sequence[int]) -> Ref:
    windows = _blocks(size, *geometry)
    lead = c.shape[:-2]
    terms = c.builder.reshape(x, (*lead, *windows.kernel, *windows.count))
    at = len(lead)
    return windows.fold(c.builder, terms.permute([*range(at), at + 2, at, at + 3, at + 1]))
