"""The step graph: nodes over views, and the slots that carry state from one step to the next.

A graph is data, made once by the requester (`offchain.lower`), checked by everybody (`offchain.ir.legality`)
and executed by workers (`offchain.exec`). All tensors are flat; shapes matter only to views.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import Final, NamedTuple

from offchain.ir.kinds import Kind, has_k, traits
from offchain.ir.primitives import DType, Program

CHUNK: Final = 1024  # elements of a Merkle leaf
LOG_SLOT: Final = "log"


class Source(IntEnum):
    """Where an input's tensor lives, as encoded."""

    NODE = 1
    STATE = 2
    DATA = 3
    CONST = 4


class Axis(NamedTuple):  # for speed, as Instr
    """One axis of a view: coordinates in [lo, hi) are read at `stride` apart, others read 0."""

    stride: int
    lo: int
    hi: int


@dataclass(frozen=True, slots=True)
class View:
    """A strided window onto a flat tensor, one axis per output dimension (and one for k where the kind has it).

    Only views in their canonical form are legal: those that `settled` leaves as they are.
    """

    offset: int
    axes: tuple[Axis, ...]

    @classmethod
    def contiguous(cls, shape: tuple[int, ...]) -> View:
        """The row-major view of a whole tensor."""
        return cls.strided(shape, row_major(shape))

    @classmethod
    def strided(cls, shape: tuple[int, ...], strides: tuple[int, ...], offset: int = 0) -> View:
        """A view whose every coordinate is valid, in its canonical form."""
        return cls(offset, tuple(Axis(stride, 0, size) for stride, size in zip(strides, shape, strict=True))).settled()

    @property
    def reads(self) -> bool:
        """Whether any coordinate is valid."""
        return all(axis.lo < axis.hi for axis in self.axes)

    def settled(self) -> View:
        """The canonical form: an axis with one valid coordinate has stride 0, what it adds is in the offset, and a view
        that reads nothing is all zeros. Strides that are left are shorter than the source.
        """
        if not self.reads:
            return View(0, (Axis(0, 0, 0),) * len(self.axes))
        one = [axis.hi - axis.lo == 1 for axis in self.axes]
        offset = self.offset + sum(a.stride * a.lo for a, single in zip(self.axes, one, strict=True) if single)
        axes = (Axis(0, a.lo, a.hi) if single else a for a, single in zip(self.axes, one, strict=True))
        return View(offset, tuple(axes))

    def reach(self, shape: Sequence[int]) -> int:
        """A bound on every number on the way to an address, at valid coordinates or not."""
        far = sum(abs(axis.stride) * (size - 1) for axis, size in zip(self.axes, shape, strict=True))
        return abs(self.offset) + far


@dataclass(frozen=True, slots=True)
class Input:
    """A tensor that a node reads, and how. `length` repeats the source's number of elements."""

    source: Source
    index: int
    dtype: DType
    length: int
    view: View


@dataclass(frozen=True, slots=True)
class Node:
    """One operation with one output tensor of `shape`.

    `extent` is K for kinds that have the axis k (0 for map), `bits` is p for dot, sum, scatter_add (else 0).
    """

    kind: Kind
    dtype: DType
    shape: tuple[int, ...]
    inputs: tuple[Input, ...]
    extent: int = 0
    bits: int = 0
    program: Program = ()

    @property
    def length(self) -> int:
        """Number of output elements."""
        return prod(self.shape)

    def view_shape(self, position: int) -> tuple[int, ...]:
        """Iteration space of the view of input `position`: the output's, with K where that input has the axis k."""
        return (*self.shape, self.extent) if has_k(self.kind, position) else self.shape


def readers_of(nodes: Sequence[Node]) -> list[set[int]]:
    """For each node, the nodes that read its output."""
    readers: list[set[int]] = [set() for _ in nodes]
    for n, node in enumerate(nodes):
        for item in node.inputs:
            if item.source is Source.NODE:
                readers[item.index].add(n)
    return readers


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Name, type and shape of a tensor that the graph does not compute."""

    name: str
    dtype: DType
    shape: tuple[int, ...]

    @property
    def length(self) -> int:
        return prod(self.shape)


@dataclass(frozen=True, slots=True)
class Slot:
    """A named tensor of the state, and what it holds after a step: a node's output, or what a slot held before."""

    spec: TensorSpec
    source: Source
    index: int


@dataclass(frozen=True, slots=True)
class Graph:
    """A step: `state[t+1] = F(state[t], t)`.

    `constants` and `datasets` are described here; their roots (32 bytes each) bind their content.
    The last slot is `log`, of shape (interval, len(metrics)).
    """

    nodes: tuple[Node, ...]
    slots: tuple[Slot, ...]
    constants: tuple[TensorSpec, ...]
    constant_roots: tuple[bytes, ...]
    datasets: tuple[TensorSpec, ...]
    dataset_roots: tuple[bytes, ...]
    metrics: tuple[str, ...]

    @property
    def interval(self) -> int:
        """c, the steps between two checkpoints."""
        return self.slots[-1].spec.shape[0]

    def spec_of(self, source: Source, index: int) -> tuple[DType, int]:
        """dtype and length of a tensor that a node may read."""
        if source is Source.NODE:
            return self.nodes[index].dtype, self.nodes[index].length
        spec = {
            Source.STATE: [slot.spec for slot in self.slots],
            Source.DATA: self.datasets,
            Source.CONST: self.constants,
        }[source][index]
        return spec.dtype, spec.length


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Strides of a contiguous tensor of that shape."""
    strides, step = [], 1
    for size in reversed(shape):
        strides.append(step)
        step *= size
    return tuple(reversed(strides))


def coordinates(element: int, shape: tuple[int, ...]) -> tuple[int, ...]:
    """Row-major coordinates of a flat index."""
    out = []
    for size in reversed(shape):
        element, rest = divmod(element, size)
        out.append(rest)
    return tuple(reversed(out))


def address(view: View, coords: tuple[int, ...]) -> int | None:
    """Flat index that a view reads at these coordinates; None where it reads 0."""
    if any(not axis.lo <= x < axis.hi for axis, x in zip(view.axes, coords, strict=True)):
        return None
    return view.offset + sum(axis.stride * x for axis, x in zip(view.axes, coords, strict=True))


def work_units(graph: Graph) -> int:
    """Cost of one step: multiply-accumulates and element operations, from the tables."""
    return sum(traits(node.kind).cost(node.shape, node.extent, node.program) for node in graph.nodes)
