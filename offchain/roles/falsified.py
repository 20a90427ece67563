"""A cheat: the honest solver with one false part. For the demo and the protocol tests; no command offers it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from offchain.commit.merkle import Tree
from offchain.commit.trace import Trace
from offchain.exec import reference
from offchain.exec.base import Executor, state_after
from offchain.ir.arrays import Array, canonical
from offchain.ir.graph import Graph, Node, Source
from offchain.roles.replay import Ledger, Record, Replay


@dataclass(frozen=True, slots=True)
class Falsehood:
    """Bits to flip in one element of one node's output in one step."""

    step: int
    node: int
    element: int
    xor: int = 1

    def apply(self, output: Array) -> Array:
        words = output.reshape(-1).copy().view(np.uint32)
        words[self.element] ^= np.uint32(self.xor)
        return canonical(words.view(output.dtype))


class FalsifiedExecutor:
    """Another executor's bits, but for one falsehood and what honestly follows from it."""

    def __init__(self, executor: Executor[Any], ledger: Ledger, falsehood: Falsehood) -> None:
        self.graph: Graph = executor.graph
        self._inner, self._ledger, self.falsehood = executor, ledger, falsehood

    def load(self, state: Sequence[Array]) -> Any:
        return self._inner.load(state)

    def dump(self, state: Any) -> list[Array]:
        return self._inner.dump(state)

    def step(self, state: Any, t: int) -> Any:
        if t != self.falsehood.step:
            return self._inner.step(state, t)
        return self._inner.load(state_after(self.graph, self.dump(state), self.trace(state, t)))

    def outputs(self, state: Any, t: int) -> Iterator[Array]:
        if t != self.falsehood.step:
            yield from self._inner.outputs(state, t)
            return
        before, done, changed = self.dump(state), list[Array](), {self.falsehood.node}
        constants, datasets = self._ledger.arrays[Source.CONST], self._ledger.arrays[Source.DATA]
        for n, (node, output) in enumerate(zip(self.graph.nodes, self._inner.outputs(state, t), strict=True)):
            if n == self.falsehood.node:
                output = self.falsehood.apply(output)
            elif any(item.source is Source.NODE and item.index in changed for item in node.inputs):
                output = reference.evaluate(node, reference.sources_of(node, before, done, constants, datasets), t)
                changed.add(n)
            done.append(output)
            yield output

    def trace(self, state: Any, t: int) -> list[Array]:
        return list(self.outputs(state, t))


@dataclass
class FalsifiedRecord(Record):
    """Where a sum was falsified, one term is bent so that the partial sums add up to the lie."""

    falsehood: Falsehood

    def terms(self, node: int, element: int) -> npt.NDArray[np.int64]:
        terms = super().terms(node, element)
        if (self.t, node, element) != (self.falsehood.step, self.falsehood.node, self.falsehood.element):
            return terms
        item = self.ledger.graph.nodes[node]
        total = total_of(
            item, reference.exponents(item, self.sources(item), element), self.trace.tensor(node).word(element)
        )
        if total is not None:
            terms[len(terms) // 2] += total - int(terms.sum())
        return terms


class FalsifiedReplay(Replay):
    """The replay of a solver whose executor is a `FalsifiedExecutor`."""

    def record(self, t: int, state: list[Array], before: Tree, trace: Trace) -> Record:
        falsehood = self.executor.falsehood if isinstance(self.executor, FalsifiedExecutor) else Falsehood(-1, 0, 0)
        return FalsifiedRecord(self.ledger, t, state, before, trace, falsehood)


def total_of(node: Node, exponents: tuple[int, ...], word: int) -> int | None:
    """An integer total that rounds to `word`, where there is one."""
    value = np.array([word], np.uint32).view(np.float32)[0]
    if not np.isfinite(value):
        return None
    shift = sum(e - (node.bits - 1) for e in exponents)
    total = round(Fraction(float(value)) / Fraction(2) ** shift)
    fits = abs(total) < 1 << 62 and reference.rounded_word(node, exponents, total) == word
    return total if fits else None
