"""Keepers who cheat, and solvers who serve nobody, against honest workers: each ends as docs/market.md says."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any, Final

import pytest

from offchain.chain import keepers
from offchain.chain.deployment import COIN
from offchain.chain.reverts import Reverted
from offchain.demo.cheats.catalogue import CHEATS
from offchain.demo.cheats.cheater import Cheater, Part, without
from offchain.demo.cheats.conduct import serve_nothing
from offchain.errors import NoRoom
from offchain.market.actions import Commit, Keep
from offchain.market.keeping import Member
from offchain.market.view import Status, TaskView
from offchain.worker.alarms import Lost
from offchain.worker.events import RevealSent
from offchain.worker.kept import (
    AcknowledgeSent,
    AttestSent,
    DenounceSent,
    FalseSignature,
    Keeps,
    ObjectionSent,
    RewardSent,
    ShowSent,
)
from offchain.worker.making import executor_factory
from offchain.worker.operate import register
from offchain.worker.runner import Worker
from tests.support.bls import SECRETS
from tests.support.deployment import PARAMETERS
from tests.support.town import POLICY, PRICE, Town
from tests.support.vouching import enter
from tests.support.works import every_kind

TASK: Final = every_kind(6, 3)
SECRET: Final = dict(zip(("challenger", "stranger", "rival"), SECRETS, strict=False))
SEATS, BPS = 3, 300
TERMS: Final = {"keepers": SEATS, "keeper_bps": BPS, "attempts": 1, "interval_time": 1_000}
IDLE: Final = replace(POLICY, audit_share=0.0)  # it replays nothing
FAST: Final = executor_factory("torch")
TRIES: Final = 60  # of awards, until a committee is as the story wants it
BLIND, REFUSING = CHEATS["blind-keeper"].part, CHEATS["refusing-keeper"].part
SILENT: Final = Part(acts={Commit: serve_nothing})

Seats = dict[str, int]


class Story:
    """A task of the market, and its keepers, each with a coin of stake, who are honest or have a false part."""

    def __init__(self, town: Town, parts: dict[str, Part | None], solver: Part | None = None) -> None:
        self.town, self.parts = town, parts
        self.before = town.wealth()
        enter(town, dict.fromkeys(parts, COIN), SECRET)
        self.task = town.post(TASK, **TERMS)
        self._start("solver", "solver", "solver", solver)

    def _start(self, name: str, person: str, role: str, part: Part | None, **more: Any) -> None:
        if part is not None:
            more["make"] = partial(Cheater, part)
        worker = self.town.worker(name, person, role, executors=FAST, **more)
        register(worker)

    def begin(self, fits: Callable[[Seats], bool]) -> Seats:
        """The award, in a block whose randomness draws a fitting committee; then the keepers start. Returns seats."""
        town, chain = self.town, self.town.quick("rival")
        town.until(lambda: town.told(RevealSent))
        town.clock.travel(chain.task(self.task, chain.terms(self.task)).reveal_ends - town.clock.now + 1)
        for _ in range(TRIES):
            kept = town.w3.provider.make_request("evm_snapshot", [])["result"]
            chain.award(self.task)
            seats = self.seats(keepers.drawn(chain, self.task))
            if fits(seats):
                break
            town.w3.provider.make_request("evm_revert", [kept])
            town.clock.travel(1)
        else:
            pytest.fail("no committee fits")
        for name, part in self.parts.items():
            self._start(name, name, "verifier", part, signing_key=SECRET[name], policy=IDLE)
        return seats

    def seats(self, members: tuple[Member, ...]) -> Seats:
        names = {self.town.address(name): name for name in self.parts}
        return {names[member.holder]: member.seats for member in members}

    def requester(self) -> None:
        self._start("requester", "requester", "requester", None)

    def ends(self, how: Status) -> None:
        self.town.until(lambda: self.town.status(self.task) is how, seconds=120, idle=20)

    def gains(self) -> dict[str, int]:
        """With the keepers' stakes counted as theirs, and without the requester's fee for posting."""
        town, fee = self.town, PARAMETERS.post_fee
        gains = town.gains(self.before)
        for name in self.parts:
            gains[name] = gains.get(name, 0) + int(town.quick(name).call("verifiers", "stakeOf", town.address(name)))
        gains["burned"], gains["requester"] = gains["burned"] - fee, gains["requester"] + fee
        return {name: gain for name, gain in gains.items() if gain}


def earned(seats: Seats, name: str, intervals: int = 2) -> int:
    return PRICE * BPS * seats.get(name, 0) * intervals // (10_000 * SEATS * 2)


def attested(town: Town) -> None:
    """All checkpoints are. The solver waits for who has not signed by a clock of its own, not by the chain's."""
    town.meanwhile(lambda: [sent.checkpoint for sent in town.told(AttestSent)][-1:] == [1], seconds=120)


def test_one_that_keeps_nothing_earns_nothing(town: Town) -> None:
    story = Story(town, {"challenger": None, "stranger": REFUSING})
    seats = story.begin(lambda seats: seats.get("challenger") == 2)
    attested(town)
    town.close_windows(story.task)
    story.ends(Status.COMPLETED)
    town.until(lambda: town.told(RewardSent))
    assert {name for name, event in town.events if isinstance(event, Keeps)} == {"challenger"}
    pay = earned(seats, "challenger")
    assert story.gains() == {"solver": PRICE, "challenger": pay, "requester": -PRICE - pay}


def test_a_false_signature_is_found_and_left_out(town: Town) -> None:
    story = Story(town, {"challenger": None, "stranger": CHEATS["lying-keeper"].part})
    seats = story.begin(lambda seats: seats.get("challenger") == 2)
    attested(town)
    assert town.told(FalseSignature) and {sent.members for sent in town.told(AttestSent)} == {1}
    town.close_windows(story.task)
    story.ends(Status.COMPLETED)
    town.until(lambda: town.told(RewardSent))
    pay = earned(seats, "challenger")
    assert story.gains() == {"solver": PRICE, "challenger": pay, "requester": -PRICE - pay}


def test_a_committee_that_keeps_nothing_is_replaced_by_the_requester_s_word(town: Town) -> None:
    story = Story(town, {"challenger": REFUSING, "stranger": REFUSING})
    story.begin(bool)
    story.requester()
    story.ends(Status.COMPLETED)
    assert town.told(AcknowledgeSent) and not town.told(AttestSent)
    assert story.gains() == {"solver": PRICE, "requester": -PRICE}


def test_where_everybody_is_silent_the_solver_has_stalled(town: Town) -> None:
    """Two committees keep nothing, and the requester is away until the end. Its money comes back."""
    story = Story(town, {"challenger": REFUSING, "stranger": REFUSING})
    story.begin(bool)
    chain = town.quick("rival")
    town.until(lambda: town.workers["solver"].reader.read().task(story.task).lost(town.clock.now), idle=20)
    chain.stall(story.task)
    stake = chain.terms(story.task).stake
    burned = -(-stake // 10)
    assert story.gains() == {"solver": -burned, "burned": burned}


def test_who_signed_what_it_cannot_show_loses_a_bond(town: Town) -> None:
    """A solver that serves nobody has two seats of three. The third one objects; the second committee has nothing."""
    story = Story(town, {"challenger": None, "stranger": BLIND}, SILENT)
    story.begin(lambda seats: seats.get("stranger") == 2)
    story.requester()
    attested(town)
    story.ends(Status.STALLED)
    assert len(town.told(ObjectionSent, "challenger")) == 1
    chain, bond = town.quick("rival"), PARAMETERS.audit_bond
    until = int(chain.call("keepers", "objectionOf", story.task, 0)["showableUntil"])
    town.clock.travel(until + 1 - town.clock.now)
    town.until(lambda: not town.workers["challenger"].reader.read().objections)
    town.until(lambda: town.told(DenounceSent, "challenger"))
    town.until(lambda: not town.workers["challenger"].reader.read().denials)
    town.until(lambda: town.told(Lost, "stranger"))
    assert [(lost.kind, lost.amount) for lost in town.told(Lost, "stranger")] == [("keeping", bond)]
    burned = -(-chain.terms(story.task).stake // 10)
    assert story.gains() == {"solver": -burned, "stranger": -bond, "burned": burned + bond}


def fill(worker: Worker, task: TaskView) -> None:
    """From now on its disk has no room. It tries to fetch the file of another task, and looks what may go."""
    blobs, limit = worker.materials.blobs, time.monotonic() + 60
    blobs.options = replace(blobs.options, reserve=1 << 60)
    worker._mirror._next = 0.0
    other = replace(task, id=1, terms=replace(task.terms, graph_root=bytes(32)))
    while time.monotonic() < limit:
        try:
            worker.materials.judge(other)
        except NoRoom:
            return
        time.sleep(0.01)
    pytest.fail("it had room")


@pytest.mark.parametrize("full", [False, True])
def test_who_holds_what_was_denied_shows_it_and_loses_nothing(town: Town, full: bool) -> None:
    """An honest keeper has signed, then falls silent; another one objects for no reason.

    `full`: strangers have filled its disk. It made room for their files, and what it had to show was gone.
    """
    story = Story(town, {"challenger": None, "stranger": Part(decide=without(Keep))})
    seats = story.begin(lambda seats: seats.get("challenger") == 2)
    attested(town)
    chain, stranger = town.quick("rival"), town.quick("stranger")
    sitting = keepers.members(chain, story.task, 0, 0)
    assert sitting is not None
    place = next(n for n, member in enumerate(sitting) if member.holder == town.address("stranger"))
    keepers.object_to(stranger, story.task, 1, sitting, place)
    town.workers["challenger"]._acts.table[Keep] = lambda view, action: None  # it falls silent
    view = town.workers["solver"].reader
    if full:
        fill(town.workers["challenger"], view.read().task(story.task))
    town.until(lambda: view.read().task(story.task).lost(town.clock.now), seconds=120, idle=20)
    chain.stall(story.task)
    if full:
        fill(town.workers["challenger"], view.read().task(story.task))
    town.until(lambda: town.told(ShowSent, "challenger"), idle=1)
    town.until(lambda: not town.workers["stranger"].reader.read().objections)
    town.clock.travel(2 * chain.terms(story.task).challenge_window)
    with pytest.raises(Reverted, match="AlreadySettled"):
        keepers.denounce(chain, story.task, 0, sitting, 1 - place)
    burned, pay = -(-chain.terms(story.task).stake // 10), earned(seats, "challenger", 1)
    paid = {"requester": -PRICE // 2 - pay, "solver": PRICE // 2 - burned, "challenger": pay}  # for the first interval
    assert story.gains() == {"burned": burned, **paid}
