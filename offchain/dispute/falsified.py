"""A cheat is an honest solver with one false part: its executor. For the demo, benchmarks and tests."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.commit.merkle import Tree
from offchain.commit.trace import Trace
from offchain.dispute.points import Slots
from offchain.dispute.replay import Ledger, Record, Replay
from offchain.exec import reference
from offchain.exec.base import Executor, state_after
from offchain.ir.arrays import Array, canonical
from offchain.ir.graph import Graph, Node, Source

LEAST: Final = -149  # exponent of zeros


@dataclass(frozen=True, slots=True)
class Falsehood:
    """Bits to flip in one element of one node's output in one step.

    For an element of a sum, `raised` is first added to the exponents of its operands: the element is then what these
    false exponents make of the true operands.
    """

    step: int
    node: int
    element: int
    xor: int = 1
    raised: tuple[int, int] = (0, 0)  # the second one is a dot's

    def apply(self, output: Array) -> Array:
        """The output with bits flipped."""
        words = output.reshape(-1).copy().view(np.uint32)
        words[self.element] ^= np.uint32(self.xor)
        return canonical(words.view(output.dtype))

    def rescale(self, node: Node, sources: Sequence[Array], output: Array) -> Array:
        """The output with the element that the false exponents give."""
        if not any(self.raised):
            return output
        words = output.reshape(-1).copy().view(np.uint32)
        claimed = self.exponents(reference.exponents(node, sources, self.element))
        total = int(reference.terms(node, sources, self.element, claimed).sum())
        words[self.element] = reference.rounded_word(node, claimed, total)
        return words.view(output.dtype)

    def exponents(self, true: tuple[int, ...]) -> tuple[int, ...]:
        """The claimed exponents, within what the contract takes."""
        raised = zip(true, self.raised, strict=False)
        return tuple(min(max(e + by, LEAST), reference.NO_NUMBER) for e, by in raised)


class FalsifiedExecutor:
    """The bits of another executor, except for one falsehood and everything computed from it."""

    def __init__(self, executor: Executor[Any], ledger: Ledger, falsehood: Falsehood) -> None:
        self.graph: Graph = executor.graph
        self._inner, self._ledger, self.falsehood = executor, ledger, falsehood

    def load(self, state: Sequence[Array]) -> Any:
        return self._inner.load(state)

    def dump(self, state: Any) -> list[Array]:
        return self._inner.dump(state)

    def lend(self, state: Any, slots: Sequence[int]) -> list[Array]:
        return self._inner.lend(state, slots)

    def honest_outputs(self, state: Sequence[Array], t: int) -> list[Array]:
        """What the nodes of a step compute from a state."""
        return [output.copy() for output in self._inner.outputs(self._inner.load(state), t)]

    def step(self, state: Any, t: int) -> Any:
        if t != self.falsehood.step:
            return self._inner.step(state, t)
        return self._inner.load(state_after(self.graph, self.dump(state), list(self.outputs(state, t))))

    def outputs(self, state: Any, t: int) -> Iterator[Array]:
        if t != self.falsehood.step:
            yield from self._inner.outputs(state, t)
            return
        before, done, changed = self.dump(state), list[Array](), {self.falsehood.node}
        constants, datasets = self._ledger.arrays[Source.CONST], self._ledger.arrays[Source.DATA]
        for n, (node, output) in enumerate(zip(self.graph.nodes, self._inner.outputs(state, t), strict=True)):
            sources = reference.sources_of(node, before, done, constants, datasets)
            if n == self.falsehood.node:
                output = self.falsehood.apply(self.falsehood.rescale(node, sources, output))
            elif any(item.source is Source.NODE and item.index in changed for item in node.inputs):
                output = reference.evaluate(node, sources, t)
                changed.add(n)
            done.append(output)
            yield output.copy()


@dataclass
class FalsifiedRecord(Record):
    """The terms of a falsified sum follow from the claimed exponents; one of them is changed if the claimed word is not
    their sum."""

    falsehood: Falsehood

    def exponents(self, node: int, element: int) -> tuple[int, ...]:
        exponents = super().exponents(node, element)
        return self.falsehood.exponents(exponents) if self._lies(node, element) else exponents

    def terms(self, node: int, element: int) -> npt.NDArray[np.int64]:
        if not self._lies(node, element):
            return super().terms(node, element)
        item, claimed = self.ledger.graph.nodes[node], self.exponents(node, element)
        terms = reference.terms(item, self.sources(item), element, claimed)
        word, total = self.trace.tensor(node).word(element), int(terms.sum())
        told = total if reference.rounded_word(item, claimed, total) == word else total_of(item, claimed, word)
        if told is not None:
            terms[len(terms) // 2] += told - total
        return terms

    def _lies(self, node: int, element: int) -> bool:
        return (self.t, node, element) == (self.falsehood.step, self.falsehood.node, self.falsehood.element)


class FalsifiedReplay(Replay):
    """The replay of a solver whose executor is a `FalsifiedExecutor`."""

    def record(self, t: int, state: Slots, before: Tree, trace: Trace) -> Record:
        falsehood = self.executor.falsehood if isinstance(self.executor, FalsifiedExecutor) else Falsehood(-1, 0, 0)
        return FalsifiedRecord(self.ledger, t, state, before, trace, falsehood)


def total_of(node: Node, exponents: tuple[int, ...], word: int) -> int | None:
    """An integer total that rounds to `word`; None where there is none."""
    value = np.array([word], np.uint32).view(np.float32)[0]
    if not np.isfinite(value):
        return None
    shift = sum(e - (node.bits - 1) for e in exponents)
    total = round(Fraction(float(value)) / Fraction(2) ** shift)
    fits = abs(total) < 1 << 62 and reference.rounded_word(node, exponents, total) == word
    return total if fits else None
