"""Every cheat of the catalogue, against honest workers on the real contracts: it ends as it says, to the coin."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Final

import pytest

from offchain.chain import claims, keepers
from offchain.chain.abi import Event
from offchain.chain.deployment import COIN
from offchain.chain.reverts import Reverted
from offchain.demo.cheats.catalogue import CHEATS, Cheat
from offchain.demo.cheats.cheater import Cheater
from offchain.demo.cheats.endings import Ending, ending_of
from offchain.ir.kinds import Kind
from offchain.market.keeping import Member
from offchain.market.view import Status, Terms
from offchain.worker.making import executor_factory
from tests.support.bls import SECRETS
from tests.support.deployment import PARAMETERS
from tests.support.everything import everything
from tests.support.tasks import proof
from tests.support.town import Town
from tests.support.vouching import enter

SECRET: Final = {"challenger": SECRETS[0], "stranger": SECRETS[1]}
STAKES: Final = {"challenger": 5, "stranger": 5}
AUDITS: Final = {"audit_fee": COIN // 10, "audit_rate_bps": 2**16 - 1}
TERMS: Final = {"interval_time": 1_000}
KEEPERS: Final = {"keepers": 5, "keeper_bps": 300}
PARTS: Final = ("auction", "market", "log", "game", "auditor", "keepers")
WHO: Final = {"solver": "solver", "verifier": "stranger", "requester": "requester"}  # each cheat's account
QUICK: Final = ("dot", "idle", "groundless", "other-file")  # of each role one, and one that is silent
FAST: Final = executor_factory("torch")

Coins = dict[str, int]


@dataclass
class Story:
    """A task, honest people, and a cheat among them."""

    town: Town
    cheat: Cheat
    before: Coins = field(init=False)
    task: int = field(init=False)
    first: int = field(init=False)

    def __post_init__(self) -> None:
        if self.cheat.claims or self.cheat.keeps:
            enter(self.town, STAKES, SECRET)
        self.before = self.town.wealth()
        self.first = self.town.w3.eth.block_number + 1
        self.task = self.town.post(everything(), **TERMS, **self._drawn())
        if self.cheat.claims:
            self.town.grant(self.task, dict.fromkeys(STAKES, 1), SECRET)
        if self.cheat.file:
            self.cheat.file(everything(), self.town.folder / "task.file")
        self._gather()

    def _drawn(self) -> dict[str, int]:
        kept = KEEPERS | ({"keepers": 16} if self.cheat.friend else {})  # then both have seats
        return AUDITS if self.cheat.claims else kept if self.cheat.keeps else {}

    def _gather(self) -> None:
        town, cheat = self.town, self.cheat
        town.worker("requester", "requester", "requester", executors=FAST)
        if cheat.role != "solver":
            town.worker("solver", "solver", "solver", executors=FAST)
        if cheat.role == "solver" or cheat.claims or cheat.keeps:
            town.worker("verifier", "challenger", "verifier", executors=FAST, signing_key=SECRET["challenger"])
        if cheat.role != "requester":
            self._start(cheat, WHO[cheat.role])
        if cheat.friend:
            self._start(CHEATS[cheat.friend], "stranger")

    def _start(self, cheat: Cheat, person: str) -> None:
        key = SECRET.get(person) if cheat.claims or cheat.keeps else None
        make = partial(Cheater, cheat.part)
        self.town.worker(cheat.name, person, cheat.role, executors=FAST, make=make, signing_key=key)

    def played(self) -> list[Event]:
        """The events up to the end; what anybody may settle is settled by a stranger to it."""
        self.town.until(lambda: self.town.status(self.task) is not Status.BIDDING, idle=25)
        objects = self.cheat.keeps and self.cheat.friend  # late in the time for claims
        self.town.until(lambda: self.ended, seconds=120, idle=20 if objects else 200)
        anybody = self.town.quick("rival")
        for claim in claims.claims_of(anybody, self.task):
            if claim.fate.is_open:
                claims.settle(anybody, self.task, claim.attempt, claim.checkpoint, claim.verifier)
        with suppress(Reverted):  # nobody has objected, or its bond is back
            keepers.settle(anybody, self.task, 0)
        for n in range(len(self.members)):
            with suppress(Reverted):  # it has been paid, or has earned nothing
                keepers.reward(anybody, self.task, 0, 0, self.members, n)
        if any(anybody.sealed(self.task, 0, self.town.address("solver"))):
            anybody.settle_bid(self.task, 0, self.town.address("solver"))
        return self.events

    @property
    def ended(self) -> bool:
        """Whether the task is over, and so are all of its disputes."""
        if not self.town.status(self.task).ended:
            return False
        names = [event.name for event in self.events]
        return names.count("Opened") <= names.count("Resolved") + names.count("Dismissed")

    @property
    def events(self) -> list[Event]:
        return self.town.quick("rival").logs(PARTS, self.first, self.town.w3.eth.block_number)

    @property
    def members(self) -> tuple[Member, ...]:
        return keepers.members(self.town.quick("rival"), self.task, 0, 0, self.first) or ()

    @property
    def terms(self) -> Terms:
        return self.town.quick("rival").terms(self.task)

    def paid(self) -> int:
        return sum(e.args["amount"] for e in self.events if e.name == "Paid" and "index" in e.args)


def convicted(story: Story) -> Coins:
    stake, paid = story.terms.stake, story.paid()
    return {"solver": paid - stake, "challenger": proof(stake), "burned": stake - proof(stake), "requester": -paid}


def out_of_time(story: Story) -> Coins:
    stake, paid, bounty = story.terms.stake, story.paid(), COIN // 20
    challengers = ["challenger", *(["stranger"] if story.cheat.friend else [])]
    burned = stake - bounty * len(challengers)
    return {"solver": paid - stake, "burned": burned, "requester": -paid, **dict.fromkeys(challengers, bounty)}


def stalled(story: Story) -> Coins:
    burned, paid = -(-story.terms.stake // 10), story.paid()
    return {"solver": paid - burned, "burned": burned, "requester": -paid}


def acquitted(story: Story) -> Coins:
    bond, price = story.terms.bond, story.terms.max_price
    burned = -(-bond // 2)
    return {"stranger": -bond, "solver": price + bond - burned, "burned": burned, "requester": -price}


def claim_burned(story: Story) -> Coins:
    """For each checkpoint the honest verifier has a fee, and the cheat loses a bond."""
    price, points = story.terms.max_price, story.terms.intervals
    bonds, fees = points * PARAMETERS.audit_bond, points * story.terms.audit_fee
    return {"stranger": -bonds, "burned": bonds, "challenger": fees, "solver": price, "requester": -price - fees}


def bid_burned(story: Story) -> Coins:
    return {"solver": -PARAMETERS.bid_bond, "burned": PARAMETERS.bid_bond}


def unsold(story: Story) -> Coins:
    return {}


def paid(story: Story) -> Coins:
    """Keepers for what they have signed."""
    names = {story.town.address(name): name for name in STAKES}
    told = [e.args for e in story.events if e.name == "Rewarded"]
    rewards = {names[args["keeper"]]: args["amount"] for args in told}
    price = story.terms.max_price
    return {"solver": price, "requester": -price - sum(rewards.values()), **rewards}


COINS: Final[dict[Ending, Callable[[Story], Coins]]] = {
    Ending.CONVICTED: convicted,
    Ending.OUT_OF_TIME: out_of_time,
    Ending.STALLED: stalled,
    Ending.ACQUITTED: acquitted,
    Ending.CLAIM_BURNED: claim_burned,
    Ending.BID_BURNED: bid_burned,
    Ending.UNSOLD: unsold,
    Ending.PAID: paid,
}


@pytest.mark.parametrize("name", [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in CHEATS])
def test_it_ends_as_the_catalogue_says(town: Town, name: str) -> None:
    story = Story(town, CHEATS[name])
    assert ending_of(story.played()) is CHEATS[name].ends
    fee = PARAMETERS.post_fee  # every requester pays it
    expected = COINS[CHEATS[name].ends](story)
    expected["burned"] = expected.get("burned", 0) + fee
    expected["requester"] = expected.get("requester", 0) - fee
    assert town.gains(story.before) == {who: coins for who, coins in expected.items() if coins}


def test_the_catalogue_has_what_was_asked_for() -> None:
    assert len(CHEATS) >= 22
    assert {kind.name.lower().replace("_", "-") for kind in Kind} <= CHEATS.keys()
    assert {cheat.role for cheat in CHEATS.values()} == set(WHO)
    assert {cheat.ends for cheat in CHEATS.values()} == set(Ending)
    assert all(cheat.friend in CHEATS for cheat in CHEATS.values() if cheat.friend)
