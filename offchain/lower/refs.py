"""Lazy tensors: a source read through a view. View operations of torch rearrange axes and make no node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

from offchain.errors import Unsupported
from offchain.ir.encoding import MAX_RANK
from offchain.ir.graph import Axis, Input, Source, View
from offchain.ir.primitives import DType, Instr, Op
from offchain.ir.program import FULL, Bounds, literal


@dataclass(frozen=True, slots=True)
class Ref:
    """A tensor of `shape` that is never copied until a node needs it.

    Either a window on a source tensor, or (`uniform`) one constant, or the step number, repeated.
    Invariant: every axis of a window has at least one valid coordinate.
    """

    dtype: DType
    shape: tuple[int, ...]
    uniform: Instr | None = None
    source: Source = Source.NODE
    index: int = -1
    length: int = 0
    offset: int = 0
    axes: tuple[Axis, ...] = ()
    bounds: Bounds = FULL

    @classmethod
    def whole(cls, source: Source, index: int, dtype: DType, shape: tuple[int, ...], bounds: Bounds = FULL) -> Ref:
        """All of a source, row-major."""
        axes = tuple(
            Axis(0, 0, 1) if axis.hi == 1 else axis for axis in View.contiguous(shape).axes
        )  # in the form of with_axes
        return cls(dtype, shape, None, source, index, prod(shape), 0, axes, bounds)

    @classmethod
    def constant(cls, dtype: DType, value: int | float, shape: tuple[int, ...] = ()) -> Ref:
        """One number, repeated."""
        instr = literal(dtype, value)
        bounds = (int(value), int(value)) if dtype is DType.I32 and FULL[0] <= int(value) <= FULL[1] else FULL
        return cls(dtype, shape, instr, bounds=bounds)

    @property
    def input(self) -> Input:
        """How a node reads this tensor."""
        return Input(self.source, self.index, self.dtype, self.length, View(self.offset, self.axes).settled())

    @property
    def is_whole(self) -> bool:
        """Whether this is all of its source, row-major."""
        flat = Ref.whole(self.source, self.index, self.dtype, self.shape)
        return self.uniform is None and (flat.length, flat.axes, 0) == (self.length, self.axes, self.offset)

    def with_axes(self, shape: tuple[int, ...], axes: Sequence[Axis], offset: int | None = None) -> Ref:
        """The same source through other axes. If an axis has no valid coordinate, everything reads 0."""
        if len(shape) > MAX_RANK:
            raise Unsupported(f"a tensor of {len(shape)} dimensions; at most {MAX_RANK} are supported")
        if any(axis.lo >= axis.hi for axis in axes):
            return Ref.constant(self.dtype, 0, shape)
        padded = any((axis.lo, axis.hi) != (0, size) for axis, size in zip(axes, shape, strict=True))
        bounds = (min(self.bounds[0], 0), max(self.bounds[1], 0)) if padded else self.bounds
        # The stride of a single coordinate means nothing; setting it to 0 keeps equal views equal.
        plain = [Axis(0, 0, 1) if size == 1 else axis for axis, size in zip(axes, shape, strict=True)]
        at = self.offset if offset is None else offset
        return replace(self, shape=shape, axes=tuple(plain), offset=at, bounds=bounds)

    def permute(self, order: Sequence[int]) -> Ref:
        shape = tuple(self.shape[i] for i in order)
        if self.uniform is not None:
            return replace(self, shape=shape)
        return self.with_axes(shape, [self.axes[i] for i in order])

    def expand(self, shape: tuple[int, ...]) -> Ref:
        """Broadcast to `shape` by torch's rules."""
        if self.uniform is not None:
            return replace(self, shape=shape)
        lead = len(shape) - len(self.shape)
        axes = [Axis(0, 0, size) for size in shape[:lead]]
        for size, own, axis in zip(shape[lead:], self.shape, self.axes, strict=True):
            axes.append(axis if own == size else Axis(0, 0, size))
        return self.with_axes(shape, axes)

    def slice(self, dim: int, start: int, count: int, step: int = 1) -> Ref:
        """Coordinates start, start+step, … of one axis (step may be negative)."""
        shape = (*self.shape[:dim], count, *self.shape[dim + 1 :])
        if self.uniform is not None:
            return replace(self, shape=shape)
        axis = self.axes[dim]
        inside = [x for x in range(count) if axis.lo <= start + x * step < axis.hi]
        lo, hi = (inside[0], inside[-1] + 1) if inside else (0, 0)
        axes = [*self.axes[:dim], Axis(axis.stride * step, lo, hi), *self.axes[dim + 1 :]]
        return self.with_axes(shape, axes, self.offset + axis.stride * start)

    def pad(self, dim: int, before: int, after: int) -> Ref:
        """Zeros before and after along one axis. Of repeated numbers only 0 can be padded."""
        shape = (*self.shape[:dim], self.shape[dim] + before + after, *self.shape[dim + 1 :])
        if self.uniform is not None:
            if self.uniform.op is Op.STEP or self.uniform.word:
                raise AssertionError("a repeated number must be copied before it is padded")
            return replace(self, shape=shape)
        axis = self.axes[dim]
        wide = Axis(axis.stride, axis.lo + before, axis.hi + before)
        axes = [*self.axes[:dim], wide, *self.axes[dim + 1 :]]
        return self.with_axes(shape, axes, self.offset - before * axis.stride)

    def windows(self, dim: int, count: int, size: int, step: int, dilation: int = 1) -> Ref:
        """One axis as two: `count` windows, `step` apart, of `size` coordinates, `dilation` apart; they may overlap.

        The axis may only be padded where one of the two has size 1: a range on either cannot say what both read.
        """
        if size == 1:
            return self.slice(dim, 0, count, step).unsqueeze(dim + 1)
        if count == 1:
            return self.slice(dim, 0, size, dilation).unsqueeze(dim)
        shape = (*self.shape[:dim], count, size, *self.shape[dim + 1 :])
        if self.uniform is not None:
            return replace(self, shape=shape)
        stride = self.axes[dim].stride
        pair = Axis(stride * step, 0, count), Axis(stride * dilation, 0, size)
        return self.with_axes(shape, [*self.axes[:dim], *pair, *self.axes[dim + 1 :]])

    def squeeze(self, dims: Sequence[int]) -> Ref:
        """Without the named axes, which have size 1."""
        keep = [i for i in range(len(self.shape)) if i not in dims]
        shape = tuple(self.shape[i] for i in keep)
        if self.uniform is not None:
            return replace(self, shape=shape)
        return self.with_axes(shape, [self.axes[i] for i in keep])

    def unsqueeze(self, dim: int) -> Ref:
        shape = (*self.shape[:dim], 1, *self.shape[dim:])
        if self.uniform is not None:
            return replace(self, shape=shape)
        return self.with_axes(shape, [*self.axes[:dim], Axis(0, 0, 1), *self.axes[dim:]])

    def reshape(self, shape: tuple[int, ...]) -> Ref | None:
        """The row-major elements in another shape, or None where strides don't allow it without a copy."""
        if self.uniform is not None:
            return replace(self, shape=shape)
        runs = self._runs()
        axes: list[Axis] = []
        run, rest, stride = None, 1, 0
        for size in reversed(shape):
            if size == 1:
                axes.append(Axis(0, 0, 1))
                continue
            if rest == 1:
                run = runs.pop()
                rest, stride = run.size, run.axis.stride
            if run is not None and run.padded:
                if (size, rest) != (run.size, run.size):
                    return None
                axes.append(run.axis)
                rest = 1
                continue
            if rest % size:
                return None
            axes.append(Axis(stride, 0, size))
            rest, stride = rest // size, stride * size
        return self.with_axes(shape, axes[::-1])

    def _runs(self) -> list[_Run]:
        """Maximal groups of neighbouring axes that are one strided run; axes with padding stand alone."""
        out: list[_Run] = []
        for size, axis in zip(self.shape, self.axes, strict=True):
            if size == 1:
                continue
            last = out[-1] if out else None
            padded = (axis.lo, axis.hi) != (0, size)
            if last and not padded and not last.padded and last.axis.stride == axis.stride * size:
                out[-1] = _Run(last.size * size, Axis(axis.stride, 0, last.size * size), False)
            else:
                out.append(_Run(size, axis, padded))
        return out


@dataclass(frozen=True, slots=True)
class Complex:
    """A complex tensor: two real ones of one shape."""

    real: Ref
    imag: Ref

    @property
    def shape(self) -> tuple[int, ...]:
        return self.real.shape

    @classmethod
    def of(cls, value: Complex | Ref | complex) -> Complex:
        """A complex tensor, a real one, or a number."""
        if isinstance(value, Complex):
            return value
        if isinstance(value, Ref):
            return cls(value, Ref.constant(DType.F32, 0.0, value.shape))
        parts = complex(value)
        return cls(Ref.constant(DType.F32, parts.real), Ref.constant(DType.F32, parts.imag))


@dataclass(frozen=True, slots=True)
class _Run:
    size: int
    axis: Axis
    padded: bool


def broadcast(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The common shape by torch's rules; torch has checked that there is one."""
    rank = max(map(len, shapes), default=0)
    wide = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    return tuple(max(sizes) for sizes in zip(*wide, strict=True))
