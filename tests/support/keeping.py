"""Committees of keepers in tests: verifiers who sit on one, and what they sign."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from offchain.bls.signing import sign
from offchain.chain import keepers
from offchain.chain.client import Receipt
from offchain.market.keeping import Attestation, Holding, Member, Signed, gathered
from tests.support.bls import key_of
from tests.support.tasks import ROOT
from tests.support.vouching import SECRET
from tests.support.world import World

SEATS: Final = 5
SHARE: Final = 1_000  # of the pay, for all seats
KEPT: Final = {"keepers": SEATS, "keeper_bps": SHARE}


@dataclass(frozen=True)
class Sitting:
    """A committee that sits. Its members are people of the world."""

    world: World
    task: int
    members: tuple[Member, ...]
    attempt: int = 0
    committee: int = 0

    @classmethod
    def of(cls, world: World, task: int, sender: str = "solver") -> Sitting:
        """Lets the running committee sit down."""
        keepers.seat(world.quick(sender), task)
        attempt = world.task(task)["attempt"]
        number = keepers.keeping(world.quick(sender), task, attempt).committee
        members = keepers.members(world.quick(sender), task, attempt, number)
        assert members is not None
        return cls(world, task, members, attempt, number)

    @property
    def seats(self) -> dict[str, int]:
        names = {self.world.address(name): name for name in SECRET}
        return {names[member.holder]: member.seats for member in self.members}

    def place(self, name: str) -> int:
        return list(self.seats).index(name)

    def holding(self, checkpoint: int, **changes: Any) -> Holding:
        deployment = self.world.deployment
        about = {"attempt": self.attempt, "committee": self.committee, "checkpoint": checkpoint, "root": ROOT}
        named = {"chain_id": deployment.chain_id, "market": deployment.market, "task_id": self.task}
        return Holding(**(named | about | changes))

    def signed(self, names: Iterable[str], checkpoint: int, **changes: Any) -> Attestation:
        """What these members sign, as one. `changes` are fields of Holding."""
        return gathered(answers({self.place(name): name for name in names}, self.holding(checkpoint, **changes)))

    def attesting(self, attestation: Attestation, checkpoint: int, attempt: int | None = None) -> Any:
        """The call."""
        sitting = [member.encoded() for member in self.members]
        functions = self.world.contract("keepers").functions
        number = self.attempt if attempt is None else attempt
        return functions.attest(self.task, number, checkpoint, sitting, attestation.encoded())

    def attest(self, names: Iterable[str], checkpoint: int, **changes: Any) -> Receipt:
        chain = self.world.quick("solver")
        signed = self.signed(names, checkpoint, **changes)
        return keepers.attest(chain, self.task, self.attempt, checkpoint, self.members, signed)

    def quorum(self) -> list[str]:
        """Members with the most seats, who are enough together."""
        chosen: list[str] = []
        for name in sorted(self.seats, key=lambda name: -self.seats[name]):
            if 2 * sum(self.seats[other] for other in chosen) <= sum(self.seats.values()):
                chosen.append(name)
        return chosen


def answers(names: Mapping[int, str], holding: Holding) -> dict[int, Signed]:
    """What members answer who are asked for a signature, by their places."""
    message = holding.message()
    return {place: Signed(key_of(SECRET[name]).twin, sign(SECRET[name], message)) for place, name in names.items()}


def sit(world: World, wanted: Callable[[dict[str, int]], bool] = bool, **changes: Any) -> Sitting:
    """A task in training whose committee suits: how many seats each member has is drawn anew until it does."""
    for _ in range(100):
        sitting = Sitting.of(world, world.award(**(KEPT | changes)))
        if wanted(sitting.seats):
            return sitting
    raise AssertionError("a hundred committees, and none that suits")


def several(seats: Mapping[str, int]) -> bool:
    """Whether nobody is a quorum alone, and all three sit."""
    return len(seats) == 3 and 2 * max(seats.values()) < sum(seats.values())
