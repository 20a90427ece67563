"""Many steps at once on the CPU: the plan of a span (`offchain.ir.spans`), and what runs it.

A node that is made for all steps at once is planned like any node, with one more axis. A loop is the calls of one step,
repeated for each step from where its rows begin. What only the loop itself reads is not kept for all steps.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import chain, groupby
from typing import Final

import numpy as np

from offchain.errors import BadInput, OutOfMemory
from offchain.exec.base import Limits, Setting, Tensors
from offchain.exec.fused.calls import WORD
from offchain.exec.fused.engines import Engines, known_good
from offchain.exec.fused.executor import After, FusedExecutor, row_of
from offchain.exec.fused.planner import FusedPlanner, pieces_of
from offchain.exec.plan.executor import State
from offchain.exec.plan.planning import STEP, Buffer, Given, Plan, Tensor, place
from offchain.exec.plan.shards import Share, whole
from offchain.ir.arrays import Array, numpy_dtype
from offchain.ir.graph import Graph, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Instr, Op
from offchain.ir.spans import Group, Span, moves, span_of, widened
from offchain.native.jit import CALL_WORDS
from offchain.native.kernel import NativeKernel

MEMORY: Final = 1 << 30  # bytes, at most, beside what a step takes
MOST_LOOPED: Final = 0.5  # of a step's work, beyond which little is gained
MOST_STEPS: Final = 256  # at once: what is shared by more is little
MOST_REPEATED: Final = 100_000  # times that nodes of loops are planned


@dataclass(frozen=True)
class Rows(Given):
    """What a node gives, or a known slot holds, in each step: step i has row (first + i) mod count of `within`, each of
    so many bytes."""

    within: Buffer | Given
    bytes: int
    first: int
    count: int

    def start(self, i: int) -> int:
        """The byte where the row of step i begins."""
        return (self.first + i) % self.count * self.bytes


class SpanPlanner(FusedPlanner):
    """The tensors of a span lie as the rows of all steps, one after the other. What a slot hands on has the row that it
    begins with before them.

    Beyond the datasets, given tensors are the rows of the known slots, and those that their nodes give.
    """

    def __init__(self, span: Span, engines: Engines) -> None:
        super().__init__(whole(span.graph), engines)
        self._through = frozenset()  # copies that nobody makes: a step's rows may all be read as one
        self._span, self._steps = span, span.steps
        self._rows: dict[int, Rows] = {}  # of the nodes
        self._readers, self._begins = span.readers(), span.begins()
        self.shown: dict[int, list[int]] = {}  # after how many calls the row of each step is there, by node of a slot
        self._looping = False
        self._body: list[tuple[NativeKernel, tuple[Tensor, ...], tuple[int, ...]]] = []

    def make(self) -> Plan[NativeKernel]:
        for group in self._span.groups:
            for n in group.nodes:
                self._rows[n] = self._room_for(n, group)
            if group.looped:
                done = self._repeat(group)
            else:
                (n,) = group.nodes
                self.node, node = n, self.graph.nodes[n]
                self.alone(widened(node, self._steps, [moves(self.graph, item) for item in node.inputs]), self._rows[n])
                done = [len(self.plan.calls)] * self._steps
            for n in self._kept.intersection(group.nodes):
                self.shown[n] = done
                self._touch(self._rows[n].within)  # it lasts until the row after the last step is copied
        self.plan.arena = place(self._buffers)
        return self.plan

    def source(self, item: Input) -> Tensor:
        if item.source is Source.NODE:
            return self._rows[item.index]
        if not moves(self.graph, item):
            return super().source(item)
        slot = self.graph.slots[item.index]
        if item.index in self._span.known:
            return self._known(item.index, 0)
        rows = self._rows[slot.index]  # of an earlier group, or of this one
        return replace(rows, first=rows.first - 1)

    def call(self, kernel: NativeKernel, *tensors: Tensor, starts: tuple[int, ...] = ()) -> None:
        self._body.append((kernel, tensors, starts or (0,) * len(tensors)))
        if not self._looping:
            self._emit(0)
            self._body.clear()

    def _emit(self, i: int) -> None:
        """The calls of the body, for step i of the span."""
        for kernel, tensors, starts in self._body:
            bases = [tensor.within if isinstance(tensor, Rows) else tensor for tensor in tensors]
            super().call(kernel, *bases, starts=tuple(map(int.__add__, starts, (_start(item, i) for item in tensors))))

    def _repeat(self, group: Group) -> list[int]:
        """A loop. What it packs is of one step at a time, so that nothing after it may read that.

        Returns how many calls the plan has at the end of each step.
        """
        packs, self._looping = dict(self._packs), True
        for n in group.nodes:
            self.node = n
            self.alone(self.graph.nodes[n], self._rows[n])
        done = []
        for i in range(self._steps):
            self._emit(i)
            done.append(len(self.plan.calls))
        self._packs, self._looping = packs, False
        self._body.clear()
        return done

    def row(self, n: int, i: int) -> tuple[Buffer | Given, int, int]:
        """Where what a node gives in step i lies once it is shown: in which tensor, from which byte on; its bytes."""
        rows = self._rows[n]
        return rows.within, rows.start(i), rows.bytes

    def _room_for(self, n: int, group: Group) -> Rows:
        """Rows for what a node gives, after what the slot that hands it on begins with, where a step reads that."""
        length, known = self.graph.nodes[n].length, self._span.known
        slot = self._begins.get(n)
        if slot in known:
            return self._known(slot, 1)
        ring, before = group.looped and self._readers[n] <= set(group.nodes), int(slot is not None)
        count = (1 if ring else self._steps) + before
        rows = Rows(Source.NODE, n, self.buffer(WORD * length * count, output=True), WORD * length, before, count)
        if slot is not None:
            self._copy(n, replace(rows, first=0), Given(Source.STATE, slot))
        return rows

    def _known(self, slot: int, given: int) -> Rows:
        """What a known slot holds before each step (0), or what its node gives (1)."""
        place = len(self.graph.datasets) + 2 * list(self._span.known).index(slot) + given
        size = WORD * self.graph.slots[slot].spec.length
        return Rows(Source.STATE, slot, Given(Source.DATA, place), size, 0, self._steps)

    def _copy(self, n: int, out: Tensor, source: Tensor) -> None:
        """Copies a row of a node's output."""
        node = self.graph.nodes[n]
        item = Input(Source.NODE, 0, node.dtype, node.length, View.contiguous((node.length,)))
        form = Node(Kind.MAP, node.dtype, (node.length,), (item,), program=(Instr(Op.INPUT, 0),))
        (piece,) = self.kept(pieces_of, form)
        self.call(piece.kernel, out, source, STEP)


def _start(tensor: Tensor, i: int) -> int:
    """The byte where a tensor's part for step i of the span begins."""
    if isinstance(tensor, Rows):
        return tensor.start(i)
    return WORD * i if tensor == STEP else 0


class FusedSpans(FusedExecutor):
    """Runs all steps of a span at once, over states of the executor whose tensors it shares.

    Raises, before it compiles anything, OutOfMemory or BadInput where these exceed the limits.

    Attributes:
        steps: that it runs at once.
    """

    def __init__(self, executor: FusedExecutor, span: Span, limits: Limits) -> None:
        self._span, self._of, self.steps, self.counted = span, executor, span.steps, span.steps
        self._known: dict[int, tuple[Array, Array]] = {}  # before each step, and what their nodes give
        for slot in span.known:
            spec = span.graph.slots[slot].spec
            before, found = np.zeros((2, span.steps, spec.length), numpy_dtype(spec.dtype))
            self._known[slot] = before, found
        super().__init__(span.graph, (), (), Setting(limits=replace(limits, prepared=0, whole=True)), executor.engines)

    def ahead(self, state: State, t: int, claimed: Mapping[int, Array]) -> tuple[State, int]:
        """See `offchain.exec.ahead`."""
        (after,), right = self.passing(state, t, claimed, [self.steps])
        return after, right

    def passing(
        self, state: State, t: int, claimed: Mapping[int, Array], counts: Sequence[int]
    ) -> tuple[list[State], int]:
        """See `offchain.exec.ahead`."""
        first, interval = t % self.graph.interval, self.graph.interval
        rows = {
            slot: claimed[output].reshape(interval, -1)[first : first + self.steps]
            for slot, output in self._span.known.items()
        }
        with self._lock:
            for slot, (before, _) in self._known.items():
                before[0] = state[slot].tensor.numpy()
                before[1:] = rows[slot][:-1]
            afters = [self._begin(state, t)[0] for _ in counts]
            self._run_past(dict(zip(counts, afters, strict=True)))
            right = min((_alike(rows[slot], found) for slot, (_, found) in self._known.items()), default=self.steps)
        return [self._followed(state, after) for after in afters], right

    def _followed(self, state: State, after: After) -> State:
        return [after[slot.index] if slot.source is Source.NODE else state[slot.index] for slot in self._slots]

    def _run_past(self, afters: Mapping[int, After]) -> None:
        """All steps, with what the states after so many of them hold."""
        due = sorted((self._shown[n][count - 1], n, count) for count in afters for n in self._shown)
        done = 0
        for calls, rows in groupby(due, lambda item: item[0]):
            self._launch(range(done, calls), {})
            done = calls
            for _, n, count in rows:
                within, start, size = self._row(n, count - 1)
                ctypes.memmove(afters[count][n].address, self._address(within) + start, size)
        self._launch(range(done, len(self._plan.calls)), {})

    def _launch(self, calls: Sequence[int], bound: After) -> None:
        """Consecutive calls, out of one row of all: there are many, and not twice the same."""
        every = range(len(self._plan.calls))
        if every not in self._rows:
            self._rows[every] = row_of(self._words_of(every))
        if calls:
            part = ctypes.c_int64 * (CALL_WORDS * len(calls))
            self._run_row(part.from_buffer(self._rows[every], 8 * CALL_WORDS * calls[0]))

    def _checked(self, graph: Graph, constants: Sequence[Array], datasets: Sequence[Array]) -> Tensors:
        return self._of._tensors

    def _planned(self, part: Share, prepared: int) -> Plan[NativeKernel]:
        planner = SpanPlanner(self._span, self.engines or known_good())
        plan = planner.make()
        self._shown, self._row = planner.shown, planner.row
        return plan

    def _batched(self) -> Iterable[range]:
        return ()

    def _lying(self) -> dict[Source, Sequence[Array]]:
        lying = super()._lying()
        return {**lying, Source.DATA: [*lying[Source.DATA], *chain.from_iterable(self._known.values())]}


def spans_of(executor: FusedExecutor, outputs: Sequence[int]) -> FusedSpans | None:
    """What runs as many steps of an interval at once as fit the memory; None where that is not worth while.

    Args:
        outputs: the slots that hold what steps output.
    """
    left, steps = executor.left, min(executor.graph.interval, MOST_STEPS)
    left = replace(left, memory=min(MEMORY, left.memory))
    while (span := span_of(executor.graph, steps, outputs)) is not None and span.known and span.looped < MOST_LOOPED:
        if span.repeated <= MOST_REPEATED:
            with suppress(OutOfMemory, BadInput):
                return FusedSpans(executor, span, left)
        steps //= 2
    return None


def _alike(claimed: Array, found: Array) -> int:
    """How many rows are the same, bit for bit, before the first that is not."""
    wrong = np.flatnonzero((claimed.view(np.int32) != found.view(np.int32)).any(axis=1))
    return int(wrong[0]) if wrong.size else len(found)
