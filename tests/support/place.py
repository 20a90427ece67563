"""A funded deployment through the clients of three people: what tests of the client itself use."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from offchain.chain.client import GraphHeader
from offchain.market.view import Terms
from tests.support import tasks
from tests.support.deployment import OWNER, Funded
from tests.support.runs import run
from tests.support.works import every_kind

WORK = every_kind(6, 3)
HEADER = GraphHeader.of(WORK.graph)


@dataclass
class Place(Funded):
    """The owner, a requester, a solver and a challenger, as clients that sign and send as workers do."""

    def __post_init__(self) -> None:
        names = (OWNER, "requester", "solver", "challenger")
        self.owner, self.requester, self.solver, self.challenger = map(self.chain, names)

    def terms(self, **changes: Any) -> Terms:
        return tasks.terms(self, WORK, **changes)

    def trained(self, checkpoints: int = 2, **changes: Any) -> int:
        """A task in training with so many right checkpoints."""
        return tasks.train(self, WORK, [run(WORK).checkpoint(k) for k in range(checkpoints)], **changes)
