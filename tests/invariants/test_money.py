"""Laws of money, after any sequence of moves by anybody.

1. The vault's balance is what is free, pending and in pots, and no token appears or disappears but by burning.
2. Everybody's wealth is what the rules say: nobody loses but by paying for work, a conviction or a stall.
3. A solver who is always on time and never convicted is never slashed, and at the end has got exactly its prices.
"""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from web3 import Web3

from tests.conftest import Deploy
from tests.invariants.money_model import Model, Refused, Status, Task
from tests.reverts import typed_error
from tests.world import BURN_ADDRESS, PARAMETERS, PLAYERS, ROOT, WEALTH, World

ACTORS = st.sampled_from([*PLAYERS, "game"])
TASKS = st.integers(0, 3)
INDEXES = st.sampled_from([0, 0, 1, 1, 2, 3])
HONEST, CHEAT = "solver", "rival"


class Money(RuleBasedStateMachine):
    """`solver` keeps its deadlines and is never convicted; `rival` and everybody else do anything."""

    world: World
    ledger: Any  # LedgerHarness

    def __init__(self) -> None:
        super().__init__()
        self.taken = self.world._rpc("evm_snapshot")
        self.names = [*PLAYERS, "game"]
        self.initial = dict.fromkeys(PLAYERS, WEALTH) | {"game": 0}
        free = dict.fromkeys(PLAYERS, WEALTH // 2) | {"game": 0}
        self.model = Model("game", frozenset((HONEST, CHEAT)), dict(self.initial), free)
        self.wallets = dict.fromkeys(PLAYERS, WEALTH // 2) | {"game": 0}
        self.pending = dict.fromkeys(self.names, (0, 0))

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.world._rpc("evm_revert", self.taken)

    # --- moves -------------------------------------------------------------------------------------------------------

    @initialize(prices=st.lists(st.integers(1, 900), min_size=2, max_size=2))
    def two_tasks_in_training(self, prices: list[int]) -> None:
        for number, (solver, price) in enumerate(zip((HONEST, CHEAT), prices, strict=True)):
            self.post("requester", 900, 3)
            self.bid(solver, number, price)
        self.travel(PARAMETERS.bidding_time)
        for number in range(2):
            self.award("stranger", number)

    @rule(actor=ACTORS, amount=st.integers(1, 2_000))
    def deposit(self, actor: str, amount: int) -> None:
        if actor == "game":  # owns nothing and has approved nothing
            return
        self.move(self.vault.deposit(amount), actor, lambda: None)
        self.wallets[actor] -= amount
        self.model.free[actor] += amount

    @rule(actor=ACTORS, amount=st.sampled_from([1, 1_000, WEALTH]))
    def request_withdrawal(self, actor: str, amount: int) -> None:
        def apply() -> None:
            self.model._require_free(actor, amount)
            self.model.free[actor] -= amount
            self.pending[actor] = (self.pending[actor][0] + amount, self.next + PARAMETERS.withdrawal_delay)

        self.move(self.vault.requestWithdrawal(amount), actor, apply)

    @rule(actor=ACTORS)
    def withdraw(self, actor: str) -> None:
        def apply() -> None:
            amount, ready_at = self.pending[actor]
            if amount == 0:
                raise Refused("NothingToWithdraw")
            if self.next < ready_at:
                raise Refused("WithdrawalNotReady")
            self.pending[actor] = (0, ready_at)
            self.wallets[actor] += amount

        self.move(self.vault.withdraw(), actor, apply)

    @rule(actor=ACTORS, price=st.sampled_from([0, 1, 7, 900, WEALTH]), intervals=st.integers(1, 3))
    def post(self, actor: str, price: int, intervals: int) -> None:
        if len(self.model.tasks) == 4:
            return
        terms = self.world.terms(maxPrice=price, steps=intervals * 10)
        task = Task(
            requester=actor,
            max_price=price,
            stake=terms[5],
            intervals=intervals,
            bidding_ends=self.next + PARAMETERS.bidding_time,
            interval_time=PARAMETERS.interval_time,
            window=PARAMETERS.challenge_window,
        )
        self.move(self.market.post(terms), actor, lambda: self.model.post(actor, task))

    @rule(actor=ACTORS, number=TASKS, price=st.integers(0, 901))
    def bid(self, actor: str, number: int, price: int) -> None:
        if self.exists(number):
            self.move(self.market.bid(number, price), actor, lambda: self.model.bid(actor, number, price, self.next))

    @rule(actor=ACTORS, number=TASKS)
    def award(self, actor: str, number: int) -> None:
        if self.exists(number):
            self.move(self.market.award(number), actor, lambda: self.model.award(number, self.next))

    @rule(actor=st.sampled_from([CHEAT, CHEAT, HONEST, "stranger"]), number=TASKS, index=INDEXES)
    def commit(self, actor: str, number: int, index: int) -> None:
        if self.exists(number):
            call = self.log.commit(number, index, ROOT, "")
            self.move(call, actor, lambda: self.model.commit(actor, number, index, self.next))

    @rule(actor=st.sampled_from(["game", "game", CHEAT, "requester"]), number=TASKS, index=INDEXES)
    def hold(self, actor: str, number: int, index: int) -> None:
        if self.exists(number):
            call = self.log.hold(number, index)
            self.move(call, actor, lambda: self.model.hold(actor, number, index, self.next))

    @rule(actor=st.sampled_from(["game", "game", CHEAT, "requester"]), number=TASKS, index=INDEXES)
    def unhold(self, actor: str, number: int, index: int) -> None:
        if self.exists(number):
            call = self.log.unhold(number, index)
            self.move(call, actor, lambda: self.model.unhold(actor, number, index))

    @rule(actor=ACTORS, number=TASKS)
    def collect(self, actor: str, number: int) -> None:
        if self.exists(number):
            self.move(self.market.collect(number), actor, lambda: self.model.collect(number, self.next))

    @rule(actor=ACTORS, number=TASKS)
    def stall(self, actor: str, number: int) -> None:
        if self.exists(number):
            self.move(self.market.stall(number), actor, lambda: self.model.stall(number, self.next))

    @rule(actor=ACTORS, number=TASKS, challenger=st.sampled_from(["challenger", CHEAT, "requester"]))
    def slash(self, actor: str, number: int, challenger: str) -> None:
        if not self.exists(number) or (actor == "game" and self.model.tasks[number].solver == HONEST):
            return  # the game convicts nobody who is right
        call = self.market.slash(number, self.address(challenger))
        self.move(call, actor, lambda: self.model.slash(actor, number, challenger, self.next))

    @rule(seconds=st.sampled_from([1, 5, 10, 50, 101, 1_000]))
    def travel(self, seconds: int) -> None:
        self.pass_time(self.world.now + seconds)

    # --- laws --------------------------------------------------------------------------------------------------------

    @invariant()
    def books_balance(self) -> None:
        world, model = self.world, self.model
        accounts = [*map(self.address, self.names), BURN_ADDRESS]
        arguments = (world.token.address, world.vault.address, world.market.address, accounts)
        supply, vault, wallets, free, pending, escrows, stakes = self.ledger.functions.read(*arguments).call()
        assert vault == sum(free) + sum(pending) + sum(escrows) + sum(stakes)
        assert supply == vault + sum(wallets) == sum(self.initial.values())
        assert wallets[-1] == model.burned
        assert (free[-1], pending[-1]) == (0, 0)
        assert escrows == [task.escrow for task in model.tasks]
        assert stakes == [task.locked for task in model.tasks]
        for place, name in enumerate(self.names):
            own = sum(task.escrow for task in model.tasks if task.requester == name)
            own += sum(task.locked for task in model.tasks if task.solver == name)
            assert wallets[place] + free[place] + pending[place] + own == model.wealth[name], name
            assert (wallets[place], free[place]) == (self.wallets[name], model.free[name]), name

    def finish(self) -> None:
        """Law 3: disputes end, the honest solver delivers, everybody collects."""
        mine = [(n, task) for n, task in enumerate(self.model.tasks) if task.solver == HONEST]
        for number, task in mine:
            if task.status is Status.BIDDING:
                self.pass_time(max(self.world.now, task.bidding_ends))
                self.award("stranger", number)
            while task.status is Status.TRAINING and len(task.checkpoints) < task.intervals:
                self.commit(HONEST, number, len(task.checkpoints))
            for index, checkpoint in enumerate(task.checkpoints):
                while checkpoint.holds:
                    self.unhold("game", number, index)
        self.travel(PARAMETERS.challenge_window + 1)
        for number, task in mine:
            if task.status is Status.TRAINING:
                self.collect("stranger", number)
            assert task.status is Status.COMPLETED
        self.books_balance()
        posted = [task for task in self.model.tasks if task.requester == HONEST]
        spent = sum(task.earned(task.paid) for task in posted)
        assert self.model.wealth[HONEST] == WEALTH + sum(task.price for _, task in mine) - spent

    # --- how moves are made ------------------------------------------------------------------------------------------

    @property
    def vault(self) -> Any:
        return self.world.vault.functions

    @property
    def market(self) -> Any:
        return self.world.market.functions

    @property
    def log(self) -> Any:
        return self.world.log.functions

    @property
    def next(self) -> int:
        """Time of the move that is being made: a move takes no time, only `travel` does."""
        return self.world.now

    def address(self, name: str) -> str:
        return str(getattr(self.world, name))

    def exists(self, number: int) -> bool:
        return number < len(self.model.tasks)

    def move(self, call: Any, actor: str, apply: Any) -> None:
        """Make a move that the model allows, or see the contract refuse what the model refuses."""
        expected = None
        try:
            apply()
        except Refused as refused:
            expected = str(refused)
        if expected is None:
            self.world.send(call, self.address(actor), at=self.world.now)
        else:
            assert self.error(call, actor) == expected

    def error(self, call: Any, actor: str) -> str | None:
        try:
            self.world.ask(call, self.address(actor))
        except Exception as error:
            data = str(getattr(error, "data", error))
            names = (typed_error(part, data)[0] for part in (self.world.market, self.world.log, self.world.vault))
            return next((name for name in names if not name.startswith("0x")), data)
        return None

    def pass_time(self, until: int) -> None:
        """The honest solver commits at the last moment, whenever the clock would run past it."""
        for number, task in enumerate(self.model.tasks):
            while self.owes(task, until):
                if task.due > self.world.now:
                    self.world.mine(task.due)
                self.commit(HONEST, number, len(task.checkpoints))
        if until > self.world.now:
            self.world.mine(until)

    def owes(self, task: Task, until: int) -> bool:
        return (
            task.status is Status.TRAINING
            and task.solver == HONEST
            and len(task.checkpoints) < task.intervals
            and task.due < until
        )


@pytest.mark.slow
def test_money(w3: Web3, artifacts: dict[str, Any], deploy: Deploy, snapshot: None) -> None:
    referee = w3.eth.accounts[9]
    world = World.build(w3, {"game": referee, "verifier": referee})
    ledger = deploy("LedgerHarness")
    machine = type("Money", (Money,), {"world": world, "ledger": ledger})
    scale = settings().max_examples / 50  # of the profile that runs by default
    limits = settings(
        max_examples=int(20 * scale),
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    world.stop_clock()
    try:
        run_state_machine_as_test(machine, settings=limits)
    finally:
        world.start_clock()
