"""States within an interval, as they follow from those at its ends (`offchain.ir.recall`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final, Self

import numpy as np

from offchain.exec.reference import Bools, Ints, evaluate, program_value, sources_of
from offchain.ir.arrays import Array
from offchain.ir.graph import Node, Source
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Op
from offchain.ir.recall import Lasting, Recall

LONG: Final = 1 << 27  # instructions for single elements: which steps write to them is known within a second


@dataclass(frozen=True, slots=True)
class Ends:
    """The steps of one interval, `first` up to but not including `goal`, and the states before and after them, flat
    arrays in slot order. That after them is only claimed."""

    first: int
    goal: int
    begun: Sequence[Array]
    claimed: Sequence[Array]


@dataclass(frozen=True, slots=True)
class _Times:
    """The first and the last step that writes to each element of a slot; `goal` and `first` - 1 where none does."""

    earliest: Ints
    latest: Ints


class Recalled:
    """What must have been within the interval, if the state that is claimed at its end is right."""

    def __init__(
        self,
        recall: Recall,
        constants: Sequence[Array],
        datasets: Sequence[Array],
        ends: Ends,
        times: dict[int, _Times],
    ) -> None:
        self._recall, self._ends, self._times = recall, ends, times
        self._constants, self._datasets = constants, datasets

    @classmethod
    def of(cls, recall: Recall, constants: Sequence[Array], datasets: Sequence[Array], ends: Ends) -> Self | None:
        """None where it would take long to find out when what is written."""
        slots = {*recall.sound, *(recall.needed & recall.lasting.keys())}
        written = {slot: recall.lasting[slot] for slot in slots}
        looks = sum(prod(_short(each)) * len(each.writes) for each in {*written.values()}) * (ends.goal - ends.first)
        if looks > LONG:
            return None
        found = {each: _times(each, ends) for each in {*written.values()}}
        return cls(recall, constants, datasets, ends, {slot: found[each] for slot, each in written.items()})

    def before(self, t: int) -> list[Array] | None:
        """The state before step t, as far as that step's `sound` slots depend on it; None where it can't be known."""
        state, followed = list(self._ends.begun), self._followed(t)
        for slot in self._recall.needed:
            if slot in self._recall.lasting:
                kept = self._kept(slot, t)
                if kept is None:
                    return None
                state[slot] = kept
            elif slot in followed:
                state[slot] = followed[slot]
        return state

    def contradicts(self, after: Sequence[Array], t: int) -> bool:
        """Whether what step t makes of the state before it is not what is claimed, at some element that no later step
        writes over. Then what is claimed is wrong. `after`: the `sound` slots after the step."""
        return any(
            (_differ(made, self._ends.claimed[slot]) & (self._times[slot].latest == t)).any()
            for slot, made in zip(self._recall.sound, after, strict=True)
        )

    def suspect(self, other: Sequence[Array], before: int) -> int | None:
        """The earliest step at which what is claimed comes to differ from another state, of which only counts what is
        not written from step `before` on."""
        found = []
        for slot in self._recall.sound:
            latest = self._times[slot].latest[_differ(other[slot], self._ends.claimed[slot])]
            found.append(latest[(latest >= self._ends.first) & (latest < before)])
        steps = np.concatenate(found)
        return int(steps.min()) if steps.size else None

    def _kept(self, slot: int, t: int) -> Array | None:
        times, ends = self._times[slot], self._ends
        written = times.earliest < t
        if (written & (times.latest >= t)).any():
            return None
        begun = 0 if self._recall.lasting[slot].carried and t > ends.first else ends.begun[slot]
        return np.where(written, ends.claimed[slot], begun).astype(ends.begun[slot].dtype, copy=False)

    def _followed(self, t: int) -> dict[int, Array]:
        """The slots that neither last nor stay: from rows that are shown, and what little work makes of those."""
        graph, ends, shown = self._recall.graph, self._ends, self._recall.shown
        rows = {node: ends.claimed[slot].reshape(graph.interval, -1) for node, slot in shown.items()}
        others = {n: graph.slots[n] for n in self._recall.needed - self._recall.lasting.keys()}
        makers = {n: slot.index for n, slot in others.items() if slot.source is Source.NODE}
        state, outputs = list(ends.begun), [np.zeros(0, np.int32)] * len(graph.nodes)  # type: list[Array], list[Array]
        for step in range(ends.first, t):
            for node, claimed in rows.items():
                outputs[node] = claimed[step % graph.interval]
            for number in self._recall.made:
                sources = sources_of(graph.nodes[number], state, outputs, self._constants, self._datasets)
                outputs[number] = evaluate(graph.nodes[number], sources, step)
            for n, maker in makers.items():
                state[n] = outputs[maker]
        return {n: state[n] for n in makers}


def _short(lasting: Lasting) -> tuple[int, ...]:
    """The shape, with 1 for axes of which it does not depend what is written."""
    named = {instr.a for instr in lasting.writes if instr.op is Op.INDEX}
    return tuple(size if axis in named else 1 for axis, size in enumerate(lasting.shape))


def _times(lasting: Lasting, ends: Ends) -> _Times:
    short = _short(lasting)
    node = Node(Kind.MAP, DType.I32, short, (), program=lasting.writes)
    places = list(np.indices(short, np.int64, sparse=True))
    earliest, latest = np.full(short, ends.goal), np.full(short, ends.first - 1)
    for t in range(ends.first, ends.goal):
        here = np.broadcast_to(program_value(node, (), places, t) != 0, short)
        latest[here] = t
        earliest[here] = np.minimum(earliest[here], t)
    return _Times(*(np.broadcast_to(each, lasting.shape).reshape(-1) for each in (earliest, latest)))


def _differ(one: Array, other: Array) -> Bools:
    """Where, as words: a NaN equals itself."""
    apart: Bools = one.view(np.int32) != other.view(np.int32)
    return apart
