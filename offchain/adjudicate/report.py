"""The result of an adjudication: counts by node kind, and every wrong judgement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from offchain.ir.kinds import Kind


@dataclass(slots=True)
class Tally:
    """How many claims were judged, and how many of them rightly.

    `claims` are true ones, `forged` are openings whose input word was changed.
    """

    claims: int = 0
    upheld: int = 0
    falsified: int = 0
    convicted: int = 0
    forged: int = 0
    refused: int = 0

    @property
    def right(self) -> bool:
        return (self.claims, self.falsified, self.forged) == (self.upheld, self.convicted, self.refused)

    @classmethod
    def total(cls, tallies: Iterable[Tally]) -> Tally:
        rows = [tuple(asdict(tally).values()) for tally in tallies]
        return cls(*map(sum, zip(*rows, strict=True)))


@dataclass(frozen=True, slots=True)
class Fault:
    """A claim that was judged wrongly: a true one that fell, or a false one that stood."""

    node: int
    kind: Kind
    element: int
    what: str

    def __str__(self) -> str:
        return f"node {self.node} ({self.kind.name.lower()}), element {self.element}: {self.what}"


@dataclass(frozen=True, slots=True)
class Trial:
    """A whole dispute on the chain about one falsified element. It has no moves if the falsehood changed no checkpoint.

    `ending` is the event that judged it, or the typed error with which the contract refused a move of the cheat.
    """

    node: int
    kind: Kind
    element: int
    ending: str = ""
    convicted: bool = False
    moves: int = 0
    gas: int = 0
    largest: int = 0  # gas of the largest move

    @property
    def right(self) -> bool:
        return self.convicted or not self.moves

    def __str__(self) -> str:
        name = self.kind.name.lower()
        return f"node {self.node} ({name}), element {self.element}: the dispute ended with {self.ending or 'nothing'}"


@dataclass(slots=True)
class Report:
    """`gas` is an estimate for one judgement of a kind, at its node that has the most to open and execute."""

    step: int
    samples: int
    seed: int
    by_kind: dict[Kind, Tally] = field(default_factory=dict)
    gas: dict[Kind, int] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    trials: list[Trial] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total(self) -> Tally:
        return Tally.total(self.by_kind.values())

    @property
    def wrong(self) -> list[str]:
        """One line for each wrong judgement."""
        return [*map(str, self.faults), *(str(trial) for trial in self.trials if not trial.right)]

    @property
    def right(self) -> bool:
        """Whether every true claim stood and every falsified one fell."""
        return not self.wrong and self.total.right and self.total.claims > 0

    def facts(self) -> dict[str, Any]:
        """The report as JSON values."""
        kinds = sorted(self.by_kind)
        return {
            "step": self.step,
            "samples": self.samples,
            "seed": self.seed,
            **asdict(self.total),
            "by_node_kind": {kind.name.lower(): asdict(self.by_kind[kind]) for kind in kinds},
            "gas": {kind.name.lower(): self.gas[kind] for kind in kinds if kind in self.gas},
            "faults": [asdict(fault) | {"kind": fault.kind.name.lower()} for fault in self.faults],
            "disputes": [asdict(trial) | {"kind": trial.kind.name.lower()} for trial in self.trials],
            "seconds": round(self.seconds, 1),
        }
