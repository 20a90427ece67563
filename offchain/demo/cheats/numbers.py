"""False numbers: one element of a node, a row of a dataset, a slot, and what is revealed of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import numpy as np

from offchain.commit.merkle import Tree
from offchain.commit.trace import Trace
from offchain.demo.cheats.cheater import Part
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.dispute.points import Slots
from offchain.dispute.replay import Ledger, Record, Replay
from offchain.errors import BadInput
from offchain.exec.base import Executor, Limits, state_after
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.worker.making import ExecutorFactory

T = TypeVar("T")
MANTISSA: Final = 0x00400000  # the top bit of a float's mantissa: large enough to be rounded away nowhere
TRIED: Final = 64  # elements of a node, of those that are not 0: no sum rounds to what their bits become
NEVER: Final = Falsehood(-1, 0, 0)


def step_of(graph: Graph) -> int:
    """The step that is lied about: the last one of the second interval, whose outputs no later step writes over."""
    return 2 * graph.slots[-1].spec.shape[0] - 1


@dataclass(frozen=True)
class About:
    """Makes executors that falsify one element of a node of that kind: the first that shows in the next state."""

    honest: ExecutorFactory
    kind: Kind
    xor: int
    raised: tuple[int, int]

    def __call__(self, ledger: Ledger, limits: Limits) -> Executor[Any]:
        lie = Falsehood(step_of(ledger.graph), 0, 0, self.xor, self.raised)
        return Choosing(self.honest(ledger, limits), ledger, lie, self.kind)


class Choosing(FalsifiedExecutor):
    """Chooses node and element when it first comes to the step."""

    def __init__(self, executor: Executor[Any], ledger: Ledger, lie: Falsehood, kind: Kind) -> None:
        super().__init__(executor, ledger, lie)
        self._kind, self._chosen = kind, False

    def outputs(self, state: Any, t: int) -> Iterator[Array]:
        if t == self.falsehood.step and not self._chosen:
            self._chosen = True
            self.falsehood = self._visible(state, t)
        return super().outputs(state, t)

    def _visible(self, state: Any, t: int) -> Falsehood:
        before, computed = self.dump(state), list(self._inner.outputs(state, t))
        right = state_after(self.graph, before, computed)
        for n, node in enumerate(self.graph.nodes):
            for element in np.flatnonzero(computed[n])[:TRIED] if node.kind is self._kind else ():
                self.falsehood = replace(self.falsehood, node=n, element=int(element))
                outputs = list(super().outputs(state, t))
                if self._kind is Kind.MAX and outputs[n][element] > computed[n][element]:
                    continue  # there is no input to show for it
                false = state_after(self.graph, before, outputs)
                if any(
                    not np.array_equal(a.view(np.uint32), b.view(np.uint32)) for a, b in zip(right, false, strict=True)
                ):
                    return self.falsehood
        raise BadInput(f"no {self._kind.name.lower()} of this task shows in its state: choose another cheat")


def number(kind: Kind, xor: int = MANTISSA, raised: tuple[int, int] = (0, 0)) -> Part:
    """A false element of a node of that kind; `raised`: what its sum's exponents are claimed to be, above the true."""
    return Part(lambda honest: About(honest, kind, xor, raised), FalsifiedReplay)


@dataclass(frozen=True)
class WrongRow:
    """Makes executors whose first dataset of floats has a row that is 1 too large."""

    honest: ExecutorFactory
    row: int = 3

    def __call__(self, ledger: Ledger, limits: Limits) -> Executor[Any]:
        specs, data = ledger.graph.datasets, list(ledger.arrays[Source.DATA])
        at = next((n for n, spec in enumerate(specs) if spec.dtype is DType.F32), None)
        if at is None:  # a graph that an executor is tried on
            return self.honest(ledger, limits)
        rows: Array = data[at].copy().reshape(specs[at].shape)
        rows[self.row] += 1
        data[at] = rows.reshape(data[at].shape)
        return self.honest(Ledger(ledger.graph, ledger.arrays[Source.CONST], data), limits)


class FalseSlots(FalsifiedExecutor):
    """True outputs of all nodes, and a next state that is not theirs in one step. Subclasses say which."""

    def __init__(self, executor: Executor[Any], ledger: Ledger) -> None:
        super().__init__(executor, ledger, NEVER)
        self.at = step_of(ledger.graph)

    def mixed(self, before: Sequence[T], after: Sequence[T]) -> list[T]:
        """What the next state claims to be, slot by slot."""
        raise NotImplementedError

    def step(self, state: Any, t: int) -> Any:
        after = self._inner.step(state, t)
        if t != self.at:
            return after
        return self._inner.load(self.mixed(self.dump(state), self.dump(after)))


class Skipped(FalseSlots):
    """The step was not taken: the state stays."""

    def mixed(self, before: Sequence[T], after: Sequence[T]) -> list[T]:
        return list(before)


class Swapped(FalseSlots):
    """Two slots of one form are exchanged."""

    def mixed(self, before: Sequence[T], after: Sequence[T]) -> list[T]:
        forms: dict[tuple[Any, ...], int] = {}
        mixed = list(after)
        for n, slot in enumerate(self.graph.slots[:-1]):
            if slot.source is not Source.NODE:
                continue
            other = forms.setdefault((slot.spec.dtype, slot.spec.length), n)
            if self.graph.slots[other].index != slot.index:
                mixed[n], mixed[other] = after[other], after[n]
                return mixed
        raise BadInput("no two slots of this task have one form: choose another cheat")


class SlotsReplay(Replay):
    """Reveals the trees of what `FalseSlots` claims."""

    def record(self, t: int, state: Slots, before: Tree, trace: Trace) -> Record:
        false = self.executor
        if isinstance(false, FalseSlots) and t == false.at:
            trace.slots = Tree(false.mixed(before.leaves, trace.slots.leaves))
        return super().record(t, state, before, trace)


def slots(kind: Callable[[Executor[Any], Ledger], FalseSlots]) -> Part:
    """A false next state, with true outputs."""
    return Part(lambda honest: lambda ledger, limits: kind(honest(ledger, limits), ledger), SlotsReplay)


class HonestTrace(Replay):
    """Reveals what is right about a step that it lied about."""

    def record(self, t: int, state: Slots, before: Tree, trace: Trace) -> Record:
        false = self.executor
        if isinstance(false, FalsifiedExecutor) and t == false.falsehood.step:
            right = false.honest_outputs(list(state), t)
            trace = Trace(right, state_after(self.ledger.graph, list(state), right))
        return super().record(t, state, before, trace)
