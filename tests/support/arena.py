"""Where disputes are played: a task in training whose first checkpoint is right, and people with money."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from offchain.chain.client import GraphHeader
from offchain.market.view import Status, Terms
from tests.support import tasks
from tests.support.deployment import PEOPLE, Funded
from tests.support.players import Mind, Played, Player, Strategy, play
from tests.support.tasks import PRICE
from tests.support.works import Work


@dataclass
class Arena(Funded):
    """`solver` trains `work`. Checkpoint 0 is committed and right; the test commits checkpoint 1.

    Each of PEOPLE is a Player, and an attribute: `arena.challenger`.
    """

    work: Work
    price: int = PRICE
    changes: Mapping[str, Any] = field(default_factory=dict)  # of terms
    honest: Mind = field(init=False)  # who computes `work` as it is
    terms: Terms = field(init=False)
    task: int = field(init=False)
    players: Mapping[str, Player] = field(init=False)

    def __post_init__(self) -> None:
        self.players = {name: Player(self.quick(name)) for name in PEOPLE}
        self.honest = Mind(self.work)
        roots = [self.honest.root(0)]
        terms = {"max_price": self.price, "challenge_window": 100_000, **self.changes}
        stake = tasks.terms(self, self.work, **terms).stake + 1_001  # shares of it must be rounded
        terms["stake"] = stake
        self.task = tasks.train(self, self.work, roots, **terms)
        self.terms = self.quick("requester").terms(self.task)

    def __getattr__(self, name: str) -> Player:
        if name not in PEOPLE:
            raise AttributeError(name)
        return self.players[name]

    def careful(self, name: str) -> Player:
        """A second player for the same account, who looks and sends as workers do."""
        return Player(self.chain(name), careful=True)

    def commit(self, root: bytes) -> None:
        """The solver commits checkpoint 1."""
        self.solver.chain.commit(self.task, 1, root, tasks.URI)

    def open(self, challenger: Player, checkpoint: int = 1) -> int:
        """Challenges a checkpoint; returns the dispute's id."""
        return challenger.chain.open(self.task, checkpoint, GraphHeader.of(self.work.graph))

    def play(self, dispute_id: int, strategies: tuple[Strategy, Strategy], challenger: Player | None = None) -> Played:
        """Plays a dispute to its end with the strategies of solver and challenger."""
        return play(dispute_id, (self.solver, challenger or self.challenger), strategies, self.clock.travel)

    def status(self, task: int | None = None) -> Status:
        return super().status(self.task if task is None else task)

    def holds(self, task: int | None = None, checkpoint: int = 1) -> int:
        return super().holds(self.task if task is None else task, checkpoint)
