"""What is done in a step, in order, over tensors whose places are fixed ahead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from offchain.exec.fused.kernel import Kernel
from offchain.ir.graph import Source

ALIGN: Final = 64
BYTES: Final = {"float": 4, "i32": 4, "double": 8}


@dataclass
class Buffer:
    """Memory between two calls of a step: `first` writes it, `last` is the last to read it. `place` is in the arena."""

    bytes: int
    first: int
    last: int
    place: int = -1


@dataclass(frozen=True)
class Given:
    """A tensor from outside the arena: of the state before, a dataset, a constant, or (source NODE) a node's output
    that the state after holds."""

    source: Source
    index: int


@dataclass(frozen=True)
class Within:
    """A tensor that lies in a buffer with others."""

    buffer: Buffer
    offset: int


STEP: Final = Given(Source.CONST, -1)
Tensor = Buffer | Within | Given


@dataclass(frozen=True)
class Call:
    """One kernel over its tensors."""

    kernel: Kernel
    tensors: tuple[Tensor, ...]


@dataclass(frozen=True)
class Join:
    """A buffer that all processes bring to the same: the greatest of each number (i32), or their sums (i32, double)."""

    buffer: Buffer
    kind: str
    greatest: bool


@dataclass
class Plan:
    """Calls in order; `ends[n]` is how many calls are done when node n is. `outputs[n]` is where its output lies."""

    calls: list[Call | Join] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    arena: int = 0


def place(buffers: Sequence[Buffer]) -> int:
    """Gives every buffer a place such that those alive at the same time do not overlap; the arena's size in bytes.

    The largest first, each at the lowest place that is free while it lives.
    """
    placed: list[Buffer] = []
    size = 0
    for buffer in sorted(buffers, key=lambda b: -b.bytes):
        at = 0
        for other in sorted(placed, key=lambda b: b.place):
            if other.last < buffer.first or buffer.last < other.first:
                continue
            if at + buffer.bytes <= other.place:
                break
            at = max(at, other.place + other.bytes)
        buffer.place = at
        placed.append(buffer)
        size = max(size, at + buffer.bytes)
    return size
