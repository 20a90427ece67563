"""An executor that counts what it is asked to compute."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph


@dataclass
class Counting:
    """The bits of another executor. Counts steps and passes over outputs, by the number of the step."""

    inner: Executor[Any]
    steps: Counter[int] = field(default_factory=Counter)
    passes: Counter[int] = field(default_factory=Counter)

    @property
    def graph(self) -> Graph:
        return self.inner.graph

    def load(self, state: Sequence[Array]) -> Any:
        return self.inner.load(state)

    def dump(self, state: Any) -> list[Array]:
        return self.inner.dump(state)

    def lend(self, state: Any, slots: Sequence[int]) -> list[Array]:
        return self.inner.lend(state, slots)

    def step(self, state: Any, t: int) -> Any:
        self.steps[t] += 1
        return self.inner.step(state, t)

    def outputs(self, state: Any, t: int) -> Iterator[Array]:
        self.passes[t] += 1
        return self.inner.outputs(state, t)
