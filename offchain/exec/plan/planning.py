"""The plan of a step: calls in order, over tensors whose places in memory are fixed ahead."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Final, Generic, TypeVar

import numpy as np
import torch

from offchain.exec.plan.shards import Joined, Share
from offchain.ir.graph import Graph, Input, Node, Source
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Op

K = TypeVar("K")
ALIGN: Final = 64  # bytes
BEYOND: Final = 1 << 62  # bytes: more than any machine has, and no sum of two leaves 64 bits
ONCE: Final = -(1 << 62)  # the number of the first call that is made once: all of them go before all others
ALWAYS: Final = 1 << 62  # the last call that reads what lasts from step to step
_STEADY: Final = frozenset({Kind.MAP, Kind.GATHER, Kind.SUM, Kind.MAX})  # kinds of nodes that keep an output alone
DTYPES: Final = {DType.F32: torch.float32, DType.I32: torch.int32}


@dataclass
class Buffer:
    """Memory that call `first` writes and call `last` is the last to read; `place` is its offset in the arena.

    Calls that are made once have numbers from ONCE on, those of a step from 0. Of what lasts from step to step `last`
    is ALWAYS.
    """

    bytes: int
    first: int
    last: int
    place: int = -1


@dataclass(frozen=True)
class Given:
    """A tensor outside the arena: of the state, a dataset, a constant, or (source NODE) a node's output that the next
    state holds."""

    source: Source
    index: int


@dataclass(frozen=True)
class Within:
    """A tensor that lies in a buffer with others."""

    buffer: Buffer
    offset: int


STEP: Final = Given(Source.CONST, -1)
ASIDE: Final = Given(Source.NODE, -1)  # an output that no step makes; it is written where whoever asks for it says
Tensor = Buffer | Within | Given


@dataclass(frozen=True)
class Call(Generic[K]):
    """One kernel over its tensors, each from so many bytes on; without `starts` from the beginning."""

    kernel: K
    tensors: tuple[Tensor, ...]
    starts: tuple[int, ...] = ()


@dataclass(frozen=True)
class Join:
    """A buffer whose numbers become the same in all processes: the greatest of each, or the sum."""

    buffer: Buffer
    dtype: torch.dtype
    greatest: bool


@dataclass(frozen=True)
class ArenaShare:
    """Bytes of the arena that a node takes: for its output, or else for operands and totals on the way to it."""

    bytes: int
    node: int
    output: bool


@dataclass
class Plan(Generic[K]):
    """Calls in order. Node n is done after the first `ends[n]` of them; its output lies in `outputs[n]`.

    A step does without the outputs of the nodes in `aside`; these calls, each of which writes its first tensor, make
    them once the calls before `ends[n]` are done.

    The calls `once` go before all others. What they write lasts: they read nothing but constants, slots that no step
    changes, and each other's outputs, and are run again only when one of these slots is another tensor.
    """

    calls: list[Call[K] | Join] = field(default_factory=list)
    aside: dict[int, list[Call[K]]] = field(default_factory=dict)
    once: list[Call[K]] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    arena: int = 0
    largest: ArenaShare = ArenaShare(0, 0, True)

    @property
    def kernels(self) -> list[K]:
        """Those of all calls."""
        calls = chain(self.once, self.calls, *self.aside.values())
        return [call.kernel for call in calls if isinstance(call, Call)]

    def needed(self, without: Collection[int]) -> frozenset[int]:
        """The numbers of the calls of a step that does not make these nodes, none of which is joined.

        An operand that several products read is packed by the first, also where that one is not made.
        """
        ends = [0, *self.ends]
        left = {call for n in without for call in range(ends[n], ends[n + 1])}
        outputs = {id(tensor) for tensor in self.outputs}
        for number in range(len(self.calls) - 1, -1, -1):
            call = self.calls[number]
            if number in left or isinstance(call, Join):
                continue
            read = (item for item in call.tensors if isinstance(item, Buffer) and id(item) not in outputs)
            left -= {buffer.first for buffer in read if buffer.last != ALWAYS}
        return frozenset(range(len(self.calls))) - left

    @property
    def frozen(self) -> list[int]:
        """The slots that the calls `once` read."""
        given = (item for call in self.once for item in call.tensors if isinstance(item, Given))
        return sorted({item.index for item in given if item.source is Source.STATE})


class Planner(ABC, Generic[K]):
    """Decides where outputs lie and how long buffers live. Subclasses plan the calls of each node.

    What depends on no step is made once, as far as it fits `prepared` bytes.
    """

    def __init__(self, share: Share, prepared: int = 0) -> None:
        self.graph: Graph = share.graph
        self.plan: Plan[K] = Plan()
        self.tops: dict[tuple[object, ...], Within] = {}  # joined magnitudes, by operand
        self.node = 0  # the one being planned
        self._joined = share.joined
        self._buffers: list[Buffer] = []
        self._kept = {slot.index for slot in self.graph.slots if slot.source is Source.NODE}
        self._prepared = prepared  # bytes that are left
        self._once = False  # whether what is planned now is made once

    def make(self) -> Plan[K]:
        numbers = range(len(self.graph.nodes))
        for bucket, these in groupby(numbers, lambda n: None if (how := self._joined[n]) is None else how.bucket):
            if bucket is not None:
                self.together({n: how for n in these if (how := self._joined[n])})
                continue
            for n in these:
                self.node = n
                with self.once(4 * self.graph.nodes[n].length, self._steady(n)):
                    self.alone(self.graph.nodes[n], self.output(n))
                self.plan.ends.append(len(self.plan.calls))
        self.plan.arena = place(self._buffers)
        return self.plan

    @abstractmethod
    def alone(self, node: Node, out: Tensor) -> None:
        """Plans a node that needs no other process."""

    @abstractmethod
    def together(self, joined: Mapping[int, Joined]) -> None:
        """Plans the nodes of one bucket, which the processes make together."""

    def output(self, n: int) -> Tensor:
        """Where the output of the next node, n, will lie."""
        size = 4 * self.graph.nodes[n].length
        self.plan.outputs.append(Given(Source.NODE, n) if n in self._kept else self.buffer(size, output=True))
        return self.plan.outputs[-1]

    def call(self, kernel: K, *tensors: Tensor, starts: tuple[int, ...] = ()) -> None:
        self._touch(*tensors)
        (self.plan.once if self._once else self.plan.calls).append(Call(kernel, tensors, starts))

    def join(self, buffer: Buffer, dtype: torch.dtype, greatest: bool) -> None:
        self._touch(buffer)
        self.plan.calls.append(Join(buffer, dtype, greatest))

    def source(self, item: Input) -> Tensor:
        return self.plan.outputs[item.index] if item.source is Source.NODE else Given(item.source, item.index)

    def buffer(self, size: int, output: bool = False) -> Buffer:
        """Memory of `size` bytes that lives from the next call to the last one that takes it.

        Of what is made once, outputs and what a step takes last; the rest is memory for steps.
        """
        now = self._now
        self._buffers.append(Buffer(0, now, ALWAYS if self._once and output else now))
        self.within(self._buffers[-1], size, output)
        return self._buffers[-1]

    def within(self, buffer: Buffer, size: int, output: bool = False) -> Within:
        """`size` more bytes in a buffer that has no place yet."""
        part = Within(buffer, buffer.bytes)
        buffer.bytes += aligned(size)
        if size > self.plan.largest.bytes:
            self.plan.largest = ArenaShare(size, self.node, output)
        return part

    @contextmanager
    def once(self, size: int, steady: bool) -> Iterator[None]:
        """What is planned in the block is made once, if it is `steady` and its `size` bytes may be kept."""
        before = self._once
        if not before and steady and self.has_room(size):
            self._once = True
            self._prepared -= aligned(size)
        try:
            yield
        finally:
            self._once = before

    def has_room(self, size: int) -> bool:
        """Whether so many bytes more may be kept from step to step."""
        return aligned(size) <= self._prepared

    def lasts(self, tensors: Iterable[Tensor]) -> bool:
        """Whether these are the same in all steps from a state: constants, slots that no step changes, and what is
        made of them once. Datasets may be large, and are read by rows that depend on the step."""
        return all(map(self._lasts, tensors))

    def _lasts(self, tensor: Tensor) -> bool:
        if isinstance(tensor, Given):
            slots, at = self.graph.slots, tensor.index
            frozen = tensor.source is Source.STATE and (slots[at].source, slots[at].index) == (Source.STATE, at)
            return frozen or (tensor.source is Source.CONST and tensor != STEP)
        return isinstance(tensor, Buffer) and tensor.last == ALWAYS

    def _steady(self, n: int) -> bool:
        """Whether a node's output is the same in all steps from a state, and nothing else on the way to it is kept."""
        node = self.graph.nodes[n]
        if node.kind not in _STEADY or n in self._kept or any(instr.op is Op.STEP for instr in node.program):
            return False
        return self.lasts(self.source(item) for item in node.inputs)

    @property
    def _now(self) -> int:
        """The number of the next call."""
        return ONCE + len(self.plan.once) if self._once else len(self.plan.calls)

    def _touch(self, *tensors: Tensor) -> None:
        now = self._now
        for tensor in tensors:
            held = tensor.buffer if isinstance(tensor, Within) else tensor
            if isinstance(held, Buffer):
                held.last = max(held.last, ALWAYS if held.first < 0 <= now else now)


def aligned(size: int) -> int:
    return -(-size // ALIGN) * ALIGN


def _in_a_row(buffers: Sequence[Buffer]) -> int:
    size = 0
    for buffer in buffers:
        buffer.place, size = size, size + buffer.bytes
    return size


def place(buffers: Sequence[Buffer]) -> int:
    """Places buffers so that those alive at the same time do not overlap. Returns the arena's size in bytes.

    The largest goes first, each to the lowest place that is free while it lives.
    """
    if sum(buffer.bytes for buffer in buffers) > BEYOND:  # whoever asks for it is refused, wherever they lie
        return _in_a_row(buffers)
    size = 0
    first, last, begin, end = np.zeros((4, len(buffers)), np.int64)  # of those that have a place
    for n, buffer in enumerate(sorted(buffers, key=lambda b: -b.bytes)):
        others = np.flatnonzero((first[:n] <= buffer.last) & (last[:n] >= buffer.first))
        others = others[np.argsort(begin[others])]
        free = np.maximum.accumulate(np.concatenate([[0], end[others]]))  # from where on, before each and after all
        fits = np.flatnonzero(free[:-1] + buffer.bytes <= begin[others])
        buffer.place = int(free[fits[0] if fits.size else -1])
        first[n], last[n], begin[n], end[n] = buffer.first, buffer.last, buffer.place, buffer.place + buffer.bytes
        size = max(size, buffer.place + buffer.bytes)
    return size
