"""Any sequence of moves on the real contracts, with the game in the hands of the test, against rules in plain Python.

1. The vault's balance is what is free, pending and in pots, and no token appears or disappears but by burning.
2. Everybody has free what the rules say, to the unit; scores and prices are those of the auction's twin.
3. A solver who reveals its bids, is on time, comes when it stands by and is never convicted loses no bond and no stake.
4. Nor does a verifier who vouches for what is right, and shows that it looked. The game proves only checkpoints with an
   odd number false.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from web3 import Web3

from offchain.chain.ganache import Ganache
from offchain.market.view import VERIFIER, Status, Terms
from tests.conftest import Deploy
from tests.invariants.books import CHEAT, DILIGENT, FEES, HONEST, STATE, VERIFIERS, Books
from tests.invariants.money_task import require
from tests.support.deployment import PARAMETERS, PEOPLE, WEALTH
from tests.support.draws import examples
from tests.support.tasks import terms
from tests.support.vouching import EVERYBODY, enter
from tests.support.world import SHORT, World

ACTORS = st.sampled_from([*PEOPLE, "game"])
BIDDERS = st.sampled_from(["rival", "rival", "solver", "stranger", "requester"])
REFEREES = st.sampled_from(["game"] * 6 + ["rival", "requester"])
TASKS = st.integers(0, 5)
PLACES = st.integers(0, 2)
PROMISES = st.sampled_from([1, 7, 30, 60, 60, 61])
SHARES = st.sampled_from([(0, 0), (4_000, 1_000), (0, 5_000), (3_333, 1), (4_000, 1_001)])  # in 1/10,000 of a stake
FEE = PARAMETERS.post_fee
INTERVAL_TIME = 60  # seconds; most moves fit in before a deadline
WINDOW = 150  # so that a deadline can pass while a commitment is open to disputes


class Money(Books):
    """Every verb, by anybody, at any time."""

    # --- moves -------------------------------------------------------------------------------------------------------

    @initialize(prices=st.lists(st.tuples(st.integers(0, 900), st.integers(0, 900)), min_size=4, max_size=4))
    def tasks_in_training(self, prices: list[tuple[int, int]]) -> None:
        for number, of in enumerate(prices):
            self.post("requester", 900, 3, 3, 0, 500, 7)
            for name, price in zip((HONEST, CHEAT), of, strict=True):
                if number < 3 or name == CHEAT:  # the cheat is alone for the last one
                    self.seal(name, number, price, INTERVAL_TIME)
        self.pass_time(self.now + PARAMETERS.bidding_time)
        for number in range(4):
            for name in (HONEST, CHEAT):
                if (0, name) in self.model.tasks[number].sealed:
                    self.reveal(name, number)
        self.pass_time(self.now + PARAMETERS.bidding_time)
        for number in range(4):
            self.move(self.market.award(number), "stranger", lambda n=number: self.model.award(n, self.now))

    @rule(actor=st.sampled_from(PEOPLE), amount=st.sampled_from([1, 1_000, WEALTH]), verb=st.integers(0, 2))
    def use_vault(self, actor: str, amount: int, verb: int) -> None:
        (self.deposit, self.request_withdrawal, self.withdraw)[verb](actor, amount)

    def deposit(self, actor: str, amount: int) -> None:
        amount = min(amount, 1_000)  # beyond the wallet, the token's own error would come
        self.move(self.vault.deposit(amount), actor, lambda: None)
        self.wallets[actor] -= amount
        self.model.free[actor] += amount

    def request_withdrawal(self, actor: str, amount: int) -> None:
        def apply() -> None:
            self.model.require_free(actor, amount)
            self.model.free[actor] -= amount
            self.pending[actor] = (self.pending[actor][0] + amount, self.now + PARAMETERS.withdrawal_delay)

        self.move(self.vault.requestWithdrawal(amount), actor, apply)

    def withdraw(self, actor: str, _: int) -> None:
        def apply() -> None:
            amount, ready_at = self.pending[actor]
            require(amount > 0, "NothingToWithdraw")
            require(self.now >= ready_at, "WithdrawalNotReady")
            self.pending[actor] = (0, ready_at)
            self.wallets[actor] += amount

        self.move(self.vault.withdraw(), actor, apply)

    @rule(actor=ACTORS)
    def sweep(self, actor: str) -> None:
        def apply() -> None:
            require(self.model.burned > self.swept, "NothingToSweep")
            self.swept = self.model.burned

        self.move(self.vault.sweep(), actor, apply)

    @precondition(lambda self: len(self.model.tasks) < 6)
    @rule(
        actor=ACTORS,
        price=st.sampled_from([0, 1, 7, 900, WEALTH]),
        intervals=st.integers(1, 3),
        attempts=st.integers(1, 3),
        urgency=st.sampled_from([0, 1, 5]),
        risk=st.sampled_from([0, 500, 10_000]),
        fee=st.sampled_from([0, 7]),
    )
    def post(self, actor: str, price: int, intervals: int, attempts: int, urgency: int, risk: int, fee: int) -> None:
        more = {"attempts": attempts, "urgency": urgency, "risk_bps": risk}
        more |= {"audit_fee": fee, "audit_rate_bps": EVERYBODY}
        times = {"interval_time": INTERVAL_TIME, "challenge_window": WINDOW}
        steps = max(10, intervals * 10 - 3)  # the last of several intervals is shorter
        asked = terms(self.world, **(SHORT | {"max_price": price, "steps": steps} | times | more))
        call = self.market.post(tuple(getattr(asked, name) for name in Terms.__slots__))
        self.move(call, actor, lambda: self.model.post(actor, asked, self.now))

    @precondition(lambda self: any(task.status is Status.BIDDING for task in self.model.tasks))
    @rule(actor=BIDDERS, task=TASKS, price=st.integers(0, 901), promised=PROMISES)
    def bid(self, actor: str, task: int, price: int, promised: int) -> None:
        number = self.pick(task, Status.BIDDING)
        if actor == HONEST:  # it bids what it can reveal, and what its money covers
            price = min(price, self.model.tasks[number].auction().reserve)
            promised = min(promised, INTERVAL_TIME)
            if self.model.free[HONEST] < 10 * WEALTH // 100:
                return
        self.seal(actor, number, price, promised)

    @precondition(lambda self: any(task.sealed for task in self.model.tasks))
    @rule(task=TASKS, place=PLACES, stranger=st.sampled_from([None] * 5 + ["stranger"]))
    def show(self, task: int, place: int, stranger: str | None) -> None:
        having = [n for n, other in enumerate(self.model.tasks) if other.sealed]
        number = having[task % len(having)]
        sealed = sorted(self.model.tasks[number].sealed)
        self.reveal(stranger or sealed[place % len(sealed)][1], number)

    @rule(task=TASKS, attempt=st.integers(0, 2), bidder=BIDDERS)
    def settle(self, task: int, attempt: int, bidder: str) -> None:
        number = task % len(self.model.tasks)
        sealed = sorted(self.model.tasks[number].sealed)
        attempt, bidder = sealed[attempt % len(sealed)] if sealed else (attempt, bidder)
        call = self.auction.settle(number, attempt, self.address(bidder))
        self.move(call, "stranger", lambda: self.model.settle(number, attempt, bidder, self.now))

    @rule(actor=st.sampled_from(["requester"] * 4 + ["rival"]), task=TASKS)
    def cancel(self, actor: str, task: int) -> None:
        number = self.pick(task, Status.VACANT)
        self.move(self.market.cancel(number), actor, lambda: self.model.cancel(actor, number, self.now))

    @rule(task=TASKS, actor=ACTORS)
    def reopen(self, task: int, actor: str) -> None:
        number = self.pick(task, Status.VACANT)
        self.move(self.market.reopen(number), actor, lambda: self.model.reopen(number, self.now))

    @rule(task=TASKS, stranger=st.sampled_from([None] * 4 + ["stranger"]))
    def take_over(self, task: int, stranger: str | None) -> None:
        number = self.pick(task, Status.VACANT)
        standby = self.model.tasks[number].standby
        actor = stranger or (standby.bidder if standby else "rival")
        self.move(self.market.takeOver(number), actor, lambda: self.model.take_over(actor, number, self.now))

    @rule(actor=REFEREES, task=TASKS, seconds=st.sampled_from([1, 40]))
    def excuse(self, actor: str, task: int, seconds: int) -> None:
        number = self.pick(task, Status.TRAINING)
        call = self.market.excuse(number, seconds)
        self.move(call, actor, lambda: self.model.excuse(actor, number, seconds))

    @precondition(lambda self: any(task.status is Status.BIDDING for task in self.model.tasks))
    @rule(actor=ACTORS, task=TASKS)
    def award(self, actor: str, task: int) -> None:
        number = self.pick(task, Status.BIDDING)
        self.move(self.market.award(number), actor, lambda: self.model.award(number, self.now))

    @rule(stranger=st.sampled_from([None] * 6 + ["stranger"]), task=TASKS, slip=st.sampled_from([0] * 6 + [1]))
    def commit(self, stranger: str | None, task: int, slip: int) -> None:
        number = self.pick(task, Status.TRAINING)
        chosen = self.model.tasks[number]
        actor, index = stranger or chosen.solver or "rival", len(chosen.checkpoints) + slip
        call = self.log.commit(number, index, STATE.root, "")
        self.move(call, actor, lambda: self.model.commit(actor, number, index, self.now))

    @rule(actor=REFEREES, task=TASKS, place=PLACES)
    def hold(self, actor: str, task: int, place: int) -> None:
        number = self.pick(task, Status.TRAINING, committed=True)
        index = place % max(1, len(self.model.tasks[number].checkpoints))
        call = self.log.hold(number, index)
        self.move(call, actor, lambda: self.model.hold(actor, number, index, self.now))

    @rule(actor=REFEREES, task=TASKS, place=PLACES)
    def unhold(self, actor: str, task: int, place: int) -> None:
        number = self.pick(task, Status.TRAINING, committed=True)
        checkpoints = self.model.tasks[number].checkpoints
        held = [index for index, checkpoint in enumerate(checkpoints) if checkpoint.holds] or [place]
        index = held[place % len(held)]
        attempt = self.model.tasks[number].attempt
        call = self.log.unhold(number, index, attempt)
        self.move(call, actor, lambda: self.model.unhold(actor, number, index, attempt))

    @rule(actor=ACTORS, task=TASKS)
    def collect(self, actor: str, task: int) -> None:
        number = self.pick(task, Status.TRAINING)
        self.move(self.market.collect(number), actor, lambda: self.model.collect(number, self.now))

    @rule(actor=ACTORS, task=TASKS)
    def stall(self, actor: str, task: int) -> None:
        late = [n for n, t in enumerate(self.model.tasks) if t.status is Status.TRAINING and self.now > t.due]
        number = late[task % len(late)] if late else self.pick(task, Status.TRAINING)
        self.move(self.market.stall(number), actor, lambda: self.model.stall(number, self.now))

    @precondition(lambda self: self.deliverable())
    @rule(delivered=st.integers(0, 2), late=st.sampled_from([0, 1, WINDOW]))
    def neglect(self, delivered: int, late: int) -> None:
        """A solver gives up, perhaps with a commitment that can still be disputed."""
        number = self.deliverable()[-1]
        task = self.model.tasks[number]
        for _ in range(min(delivered, task.terms.intervals - len(task.checkpoints))):
            self.deliver(number)
        self.pass_time(max(self.now, task.due + late))
        self.move(self.market.stall(number), "stranger", lambda: self.model.stall(number, self.now))

    @rule(actor=st.sampled_from(PEOPLE), task=TASKS, shares=SHARES)
    def slash(self, actor: str, task: int, shares: tuple[int, int]) -> None:
        self.convict(actor, self.pick(task, Status.TRAINING), shares)

    @precondition(lambda self: self.deliverable())
    @rule(
        delivered=st.integers(1, 3),
        place=PLACES,
        wait=st.sampled_from([0, WINDOW + 1]),
        convicted=st.integers(0, 2),
        shares=SHARES,
        proved=st.booleans(),
    )
    def dispute(
        self, delivered: int, place: int, wait: int, convicted: int, shares: tuple[int, int], proved: bool
    ) -> None:
        """The game holds, decides in time or late, acquits, convicts once or (of two disputes) twice, and lets go."""
        number = self.deliverable()[place % len(self.deliverable())]
        task = self.model.tasks[number]
        for _ in range(min(delivered, task.terms.intervals - len(task.checkpoints))):
            self.deliver(number)
        index = len(task.checkpoints) - 1 - place % delivered
        if index < 0:
            return
        attempt = task.attempt
        hold, unhold = self.log.hold(number, index), self.log.unhold(number, index, attempt)
        self.move(hold, "game", lambda: self.model.hold("game", number, index, self.now))
        self.pass_time(self.now + wait)
        if proved and convicted and index % 2:
            call = self.log.condemn(number, index)
            self.move(call, "game", lambda: self.model.condemn("game", number, index))
        for _ in range(convicted):
            self.convict("game", number, shares)
        self.move(unhold, "game", lambda: self.model.unhold("game", number, index, attempt))

    @precondition(lambda self: any(task.checkpoints for task in self.model.tasks))
    @rule(verifier=st.sampled_from(list(VERIFIERS)), task=TASKS, place=PLACES, guessed=st.booleans())
    def audit(self, verifier: str, task: int, place: int, guessed: bool) -> None:
        """Who is diligent looks at checkpoints with an even number, and does not guess."""
        number = self.pick(task, Status.TRAINING, committed=True)
        index = max(0, len(self.model.tasks[number].checkpoints) - 1 - place)
        if verifier == DILIGENT:
            index, guessed = index - index % 2, False
        self.claim(verifier, number, index, guessed)

    @precondition(lambda self: any(task.claims for task in self.model.tasks))
    @rule(task=TASKS, place=PLACES, stranger=st.sampled_from([None] * 6 + ["requester"]), settled=st.booleans())
    def follow_up(self, task: int, place: int, stranger: str | None, settled: bool) -> None:
        """A claim is revealed, perhaps by somebody else, or settled; in time or not."""
        having = [n for n, other in enumerate(self.model.tasks) if other.claims]
        number = having[task % len(having)]
        claims = sorted(self.model.tasks[number].claims)
        key = claims[place % len(claims)]
        if settled:
            self.settle_claim(number, key)
        else:
            self.vouch(stranger or key[2], number, key[1])

    def convict(self, actor: str, number: int, shares: tuple[int, int]) -> None:
        reward, kept = (self.model.tasks[number].terms.stake * share // 10_000 for share in shares)
        call = self.market.slash(number, self.address("challenger"), reward, kept)
        self.move(call, actor, lambda: self.model.slash(actor, number, "challenger", reward, kept, self.now))

    def deliverable(self) -> list[int]:
        """Tasks whose solver may be false, and is not late."""
        return [n for n, task in enumerate(self.model.tasks) if self.can_deliver(task)]

    @rule(seconds=st.sampled_from([1, 10, 30, 61]))
    def travel(self, seconds: int) -> None:
        self.pass_time(self.now + seconds)


@pytest.mark.slow
def test_money(ganache: Ganache, w3: Web3, artifacts: dict[str, Any], deploy: Deploy, snapshot: None) -> None:
    referee = w3.eth.accounts[9]
    world = World.raw(ganache, {"game": referee, "verifier": referee}, replace(PARAMETERS, **FEES))
    enter(world, VERIFIERS, roles=VERIFIER)
    ledger = deploy("LedgerHarness")
    machine = type("Money", (Money,), {"world": world, "ledger": ledger})
    limits = settings(
        max_examples=examples(24),
        stateful_step_count=40,
        deadline=None,
        database=None,  # a remembered example costs seconds on a chain, long after its fault is gone
        suppress_health_check=list(HealthCheck),
    )
    with world.clock.stopped():
        run_state_machine_as_test(machine, settings=limits)
