"""Who wishes the crew ill: each kind of story has one of these beside it, or nobody."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

from offchain.chain import keepers
from offchain.chain.client import GraphHeader
from offchain.chain.deployment import COIN
from offchain.dispute.falsified import Falsehood
from offchain.errors import ChainError
from offchain.market.view import NOBODY, ChainView, Status, TaskView
from offchain.task import Task
from offchain.worker.kept import Keeps
from tests.faults.island import KEEPERS, SLEEPER, STAKE, Island
from tests.support.works import NEW

LIE: Final = Falsehood(step=7, node=NEW, element=5, xor=0x00400000)
CHEAT: Final = "cheat"  # who solves, and cheats
ACCUSER: Final = "solver-c"
MOST: Final = 2 * len(KEEPERS) * STAKE  # two thirds of all stakes

Objection = tuple[int, dict[str, Any]]  # attempt, and what the contract knows of it


@dataclass
class Stranger:
    """What somebody does to one task, `work`, beside the crew. Here: nothing.

    Attributes:
        served: whether whoever solves the task serves its checkpoints.
        terms: of the task, where they are other than usual.
    """

    served: ClassVar[bool] = True
    terms: ClassVar[dict[str, int]] = {}

    island: Island
    work: Task
    moved: bool = field(default=False, init=False)

    def begin(self) -> None:
        """Before the task is posted."""

    def act(self, view: ChainView, task: TaskView) -> None:
        """At each look. Raises ChainUnavailable."""

    def waits(self, task: TaskView) -> tuple[int, ...]:
        """Timestamps from which on the crew is to do something about what it has done, and has not yet."""
        return ()

    def earns(self, task: TaskView) -> bool:
        """Whether it has done right in the end, and is paid for that."""
        return False

    def wrong(self, task: TaskView, gained: dict[str, int]) -> Iterator[str]:
        """What has not become of it as it should have."""
        yield from ()

    def end(self) -> None:
        """When all is settled."""


class Liar(Stranger):
    """A solver that computes one number wrong."""

    def begin(self) -> None:
        self.island.start_stranger(CHEAT, LIE)

    def end(self) -> None:
        self.island.stop(CHEAT)


class Accuser(Stranger):
    """It disputes a right checkpoint, and then says nothing."""

    def act(self, view: ChainView, task: TaskView) -> None:
        chain = self.island.chains[ACCUSER]
        for k, point in enumerate(task.checkpoints if not self.moved else ()):
            if task.status is Status.TRAINING and task.challengeable(k, view.now):
                with suppress(ChainError):  # it was reorganised away
                    chain.open(task.id, k, GraphHeader.of(self.work.graph), point.root)
                    self.moved = True
                return


class Denier(Stranger):
    """A keeper that has signed nothing says that a checkpoint which everybody has cannot be had."""

    def act(self, view: ChainView, task: TaskView) -> None:
        chain, members = self.island.chains[SLEEPER], view.members(task)
        if not self.moved and members and task.checkpoints and task.keeping and not task.keeping.called_at:
            place = next((n for n, member in enumerate(members) if member.holder == chain.address), None)
            self.moved = place is None  # it was not drawn
            if place is not None and task.challengeable(0, view.now):
                with suppress(ChainError):
                    keepers.object_to(chain, task.id, 0, members, place)
                    self.moved = True
        for attempt, objection in objections(self.island, task):
            if not objection["returned"] and (task.available(0) or not view.runs(task.id, attempt)):
                with suppress(ChainError):
                    keepers.settle(chain, task.id, attempt)

    def wrong(self, task: TaskView, gained: dict[str, int]) -> Iterator[str]:
        if gained[SLEEPER]:
            yield f"who objected for no reason gained {gained[SLEEPER]}"


class Hider(Stranger):
    """A solver that serves nobody, and a keeper with two thirds of the stakes that signs all the same.

    Who replays a checkpoint has it, and serves it, so that nothing is lost. Here hardly anybody does.
    """

    served = False
    terms: ClassVar[dict[str, int]] = {"max_price": 20 * COIN, "audit_rate_bps": 500}

    def begin(self) -> None:
        self.island.rest(True)
        self.island.stake({SLEEPER: MOST})
        self.island.start_stranger(SLEEPER, "blind-keeper")
        self.island.start_stranger(CHEAT, "unserved")

    def waits(self, task: TaskView) -> tuple[int, ...]:
        """Who has objected takes a bond of who signed for what was lost, and did not show it."""
        window, found = task.terms.challenge_window, list[int]()
        for _, objection in objections(self.island, task):
            over, now = objection["showableUntil"], self.island.now()
            if over and not objection["settled"] and now <= over + window:
                found.append(over)
        return tuple(found)

    def earns(self, task: TaskView) -> bool:
        """Somebody of the crew was drawn, has replayed it all, and serves it."""
        kept = [e for name in KEEPERS for e in self.island.said(name, Keeps, task.id) if e["attempt"] == task.attempt]
        last = task.terms.intervals - 1
        return self.island.name_of(task.solver) == CHEAT and any(e["checkpoint"] == last for e in kept)

    def wrong(self, task: TaskView, gained: dict[str, int]) -> Iterator[str]:
        chain = self.island.chains[SLEEPER]
        denied = [objection for _, objection in objections(self.island, task) if objection["showableUntil"]]
        events = chain.logs(("keepers",), chain.deployment.block, chain.head().number)
        fines = [e.args["amount"] for e in events if e.name == "Denounced" and e.args["taskId"] == task.id]
        if fines != [int(chain.call("auditor", "auditBond"))] * len(denied):
            yield f"of who signed unseen, and was denied {len(denied)} times, {fines} were burned"

    def end(self) -> None:
        self.island.stop(CHEAT)
        self.island.stop(SLEEPER)
        self.island.stake({SLEEPER: STAKE})
        self.island.rest(False)


STRANGERS: Final[dict[str, type[Stranger]]] = {
    "honest": Stranger,
    "cheat": Liar,
    "accused": Accuser,
    "denied": Denier,
    "lost": Hider,
}


def objections(island: Island, task: TaskView) -> list[Objection]:
    """Of each attempt in which a keeper has said that a checkpoint cannot be had."""
    chain = island.chains[SLEEPER]
    found = [(attempt, chain.call("keepers", "objectionOf", task.id, attempt)) for attempt in range(task.attempt + 1)]
    return [(attempt, objection) for attempt, objection in found if objection["keeper"] != NOBODY]
