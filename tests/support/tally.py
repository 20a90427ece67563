"""Counts the steps that a worker computes, in whichever of its processes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from offchain.dispute.replay import Ledger
from offchain.exec.base import UNLIMITED, Executor, Limits
from offchain.worker.making import executor_factory
from tests.support.counting import Counting


@dataclass(frozen=True)
class Tally:
    """Makes executors that note every step in a file, one line each."""

    path: Path

    def __call__(self, ledger: Ledger, limits: Limits = UNLIMITED) -> Executor[Any]:
        return Noting(executor_factory("reference")(ledger, limits), path=self.path)

    def steps(self) -> Counter[int]:
        """How often each step was computed so far: alone, or with the outputs of its nodes."""
        return Counter(map(int, self.path.read_text().split())) if self.path.exists() else Counter()


@dataclass
class Noting(Counting):
    """Notes in a file what it counts."""

    path: Path = Path()

    def step(self, state: Any, t: int) -> Any:
        self._note(t)
        return super().step(state, t)

    def outputs(self, state: Any, t: int) -> Iterator[Any]:
        self._note(t)
        return super().outputs(state, t)

    def _note(self, t: int) -> None:
        with self.path.open("a") as file:
            file.write(f"{t}\n")
