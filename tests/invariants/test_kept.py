"""Any sequence of keepers' verbs on the real contracts, by members of whom one is honest.

1. A call is refused with a typed error, or does what it says. In the end every task ends, and nothing stays in a pot.
2. A member that signs only for what it holds, and shows it when it is denied, never has less than it began with,
   whatever the others sign, deny and keep silent about.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from web3 import Web3

from offchain.bls.signing import sign
from offchain.chain import keepers
from offchain.chain.ganache import Ganache
from offchain.commit.shown import ShownChunk
from offchain.market.keeping import Member, Signed, gathered
from offchain.market.view import Status
from tests.support.bls import key_of
from tests.support.deployment import PARAMETERS
from tests.support.draws import examples
from tests.support.keeping import KEPT
from tests.support.reverts import typed_error
from tests.support.vouching import SECRET, STAKES, Ended, enter
from tests.support.world import World

HONEST: Final = "stranger"
STATE: Final = Ended.of(5, slots=3)  # after every interval
WINDOW: Final = PARAMETERS.challenge_window
NAMES: Final = st.sampled_from(list(STAKES))
PLACES: Final = st.integers(0, 2)
INTERVAL: Final = 10_000
ATTEMPTS: Final = 2


class Kept(RuleBasedStateMachine):
    """One task at a time, with a committee of three verifiers in each attempt."""

    world: World

    @initialize()
    def begin(self) -> None:
        self.undo = self.world.clock.undone()
        self.undo.__enter__()
        times = {"interval_time": INTERVAL, "handover_time": INTERVAL}
        self.task = self.world.award(**KEPT, **times, attempts=ATTEMPTS)
        self.began = self.worth()

    def teardown(self) -> None:
        try:
            if hasattr(self, "task"):
                self.finish()
        finally:
            if hasattr(self, "undo"):
                self.undo.__exit__(None, None, None)

    # --- laws --------------------------------------------------------------------------------------------------------

    def worth(self) -> int:
        """What the honest member has free and at stake; it bids for nothing."""
        account = self.world.address(HONEST)
        pot = int(account, 16).to_bytes(32)
        staked = self.world.vault.functions.potOf(self.world.deployment.verifiers, pot).call()
        return self.world.free(HONEST) + int(staked)

    @invariant()
    def who_is_honest_loses_nothing(self) -> None:
        if not hasattr(self, "task"):
            return
        bond = PARAMETERS.audit_bond if self.is_open(HONEST) else 0
        assert self.worth() + bond >= self.began

    def is_open(self, name: str) -> bool:
        found = (self.objection(attempt) for attempt in range(ATTEMPTS))
        return any(each["keeper"] == self.world.address(name) and not each["returned"] for each in found)

    def finish(self) -> None:
        """Everybody does what helps itself, until nothing is left to do."""
        for _ in range(24):
            if self.status.ended:
                break
            for attempt in range(ATTEMPTS):
                for index in range(3):
                    self.attempt(self.world.log.functions.unhold(self.task, index, attempt), self.world.referee)
            for verb in (self.collect, self.recall, self.seat, self.stall):
                verb()
            self.attempt(self.world.market.functions.cancel(self.task), self.world.requester)
            self.travel(INTERVAL)
        assert self.status.ended
        self.travel(WINDOW + 1)
        for attempt in range(ATTEMPTS):
            self.attempt(self.functions.settle(self.task, attempt), self.world.rival)
            for committee in range(2):
                for place in range(3):
                    self.reward(attempt, committee, place)
                    self.denounce(attempt, place)
        self.who_is_honest_loses_nothing()
        pot = self.world.market.functions.escrowPot(self.task).call()
        for part in ("keepers", "market"):
            assert self.world.vault.functions.potOf(getattr(self.world.deployment, part), pot).call() == 0

    # --- moves -------------------------------------------------------------------------------------------------------

    @property
    def functions(self) -> Any:
        return self.world.contract("keepers").functions

    @property
    def status(self) -> Status:
        return Status(self.world.task(self.task)["status"])

    def objection(self, attempt: int) -> dict[str, Any]:
        found: dict[str, Any] = self.world.quick("requester").call("keepers", "objectionOf", self.task, attempt)
        return found

    def members(self, attempt: int, committee: int) -> tuple[Member, ...]:
        return keepers.members(self.world.quick("requester"), self.task, attempt, committee) or ()

    def attempt(self, call: Any, sender: str) -> bool:
        """Send it, unless it is refused, which must be with a typed error."""
        try:
            self.world.ask(call, sender)
        except Exception as error:
            data = str(getattr(error, "data", error))
            parts = map(self.world.contract, ("keepers", "verifiers", "market", "log", "vault", "auction"))
            names = {typed_error(part, data)[0] for part in parts}
            assert any(not name.startswith("0x") for name in names), data
            return False
        self.world.send(call, sender)
        return True

    @rule()
    def commit(self) -> None:
        task = self.world.task(self.task)
        index = self.world.log.functions.count(self.task).call()
        self.attempt(self.world.log.functions.commit(self.task, index, STATE.root, ""), task["solver"])

    @rule()
    def seat(self) -> None:
        with suppress(Exception):  # there may be no committee to be drawn
            keepers.seat(self.world.quick("requester"), self.task)

    @rule(names=st.sets(NAMES, min_size=1), index=PLACES)
    def attest(self, names: set[str], index: int) -> None:
        attempt = self.world.task(self.task)["attempt"]
        committee = keepers.keeping(self.world.quick("requester"), self.task, attempt).committee
        members = self.members(attempt, committee)
        about = keepers.holding(self.world.quick("requester"), self.task, attempt, committee, index, STATE.root)
        places = {member.holder: place for place, member in enumerate(members)}
        chosen = {places[self.world.address(name)]: name for name in names if self.world.address(name) in places}
        if not chosen:
            return
        message = about.message()
        signed = {n: Signed(key_of(SECRET[name]).twin, sign(SECRET[name], message)) for n, name in chosen.items()}
        encoded = [member.encoded() for member in members]
        call = self.functions.attest(self.task, attempt, index, encoded, gathered(signed).encoded())
        self.attempt(call, self.world.solver)

    @rule(index=PLACES)
    def acknowledge(self, index: int) -> None:
        attempt = self.world.task(self.task)["attempt"]
        self.attempt(self.functions.acknowledge(self.task, attempt, index), self.world.requester)

    @rule(name=NAMES, index=PLACES)
    def object(self, name: str, index: int) -> None:
        members = self.members(self.world.task(self.task)["attempt"], 0)
        holders = [member.holder for member in members]
        if self.world.address(name) in holders:
            place = holders.index(self.world.address(name))
            encoded = [member.encoded() for member in members]
            self.attempt(self.functions.object(self.task, index, encoded, place), self.world.address(name))

    @rule()
    def recall(self) -> None:
        self.attempt(self.functions.recall(self.task), self.world.rival)

    @rule()
    def collect(self) -> None:
        self.attempt(self.world.market.functions.collect(self.task), self.world.solver)

    @rule()
    def stall(self) -> None:
        self.attempt(self.world.market.functions.stall(self.task), self.world.challenger)

    @rule()
    def lose(self) -> None:
        """The longest time passes for what was called for, and somebody ends the attempt."""
        self.recall()
        self.travel(5 * WINDOW)
        self.stall()

    @rule()
    def take_over(self) -> None:
        self.attempt(self.world.market.functions.takeOver(self.task), self.world.rival)

    @rule(index=PLACES)
    def hold(self, index: int) -> None:
        self.attempt(self.world.log.functions.hold(self.task, index), self.world.referee)

    @rule(attempt=st.integers(0, 1), place=PLACES)
    def denounce(self, attempt: int, place: int) -> None:
        encoded = [member.encoded() for member in self.members(attempt, 0)]
        self.attempt(self.functions.denounce(self.task, attempt, encoded, place), self.world.challenger)

    @rule(attempt=st.integers(0, 1), committee=st.integers(0, 2), place=PLACES)
    def reward(self, attempt: int, committee: int, place: int) -> None:
        encoded = [member.encoded() for member in self.members(attempt, committee)]
        call = self.functions.reward(self.task, attempt, committee, encoded, place)
        if self.attempt(call, self.world.requester):
            assert not self.attempt(call, self.world.requester)

    @rule(attempt=st.integers(0, 1))
    def settle(self, attempt: int) -> None:
        self.attempt(self.functions.settle(self.task, attempt), self.world.challenger)

    @rule(seconds=st.sampled_from([1, WINDOW // 4, WINDOW // 2, WINDOW + 1]))
    def travel(self, seconds: int) -> None:
        """Who is honest shows what it holds before its time is over."""
        for attempt in range(ATTEMPTS):
            if self.objection(attempt)["showableUntil"] > self.world.clock.now:
                self.show(attempt)
        self.world.clock.travel(seconds)

    def show(self, attempt: int) -> None:
        members = self.members(attempt, 0)
        holders = [member.holder for member in members]
        if self.world.address(HONEST) not in holders:
            return
        drawn = keepers.draw_of(self.world.quick("requester"), self.task, attempt)
        shown = ShownChunk.of(STATE.tensors, STATE.tree, drawn).encoded()
        encoded, place = [member.encoded() for member in members], holders.index(self.world.address(HONEST))
        self.attempt(self.functions.show(self.task, attempt, encoded, place, shown), self.world.address(HONEST))


@pytest.mark.slow
def test_kept(ganache: Ganache, w3: Web3, artifacts: dict[str, Any], snapshot: None) -> None:
    referee = w3.eth.accounts[9]
    world = World.raw(ganache, {"game": referee, "verifier": referee})
    enter(world)
    machine = type("Kept", (Kept,), {"world": world})
    limits = settings(
        max_examples=examples(10),
        stateful_step_count=30,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    with world.clock.stopped():
        run_state_machine_as_test(machine, settings=limits)
