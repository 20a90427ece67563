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
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from web3 import Web3

from offchain.chain.ganache import Ganache
from tests.conftest import Deploy
from tests.invariants.money_model import Model, Refused, Status, Task, require
from tests.support.deployment import BURN_ADDRESS, FREE, PARAMETERS, PEOPLE, WEALTH
from tests.support.reverts import typed_error
from tests.support.tasks import ROOT
from tests.support.world import World

ACTORS = st.sampled_from([*PEOPLE, "game"])
BIDDERS = st.sampled_from(["rival", "rival", "solver", "stranger", "requester"])
REFEREES = st.sampled_from(["game"] * 6 + ["rival", "requester"])
TASKS = st.integers(0, 5)
PLACES = st.integers(0, 2)
SHARES = st.sampled_from([(0, 0), (4_000, 1_000), (0, 5_000), (3_333, 1), (4_000, 1_001)])  # in 1/10,000 of a stake
HONEST, CHEAT = "solver", "rival"
FEE = PARAMETERS.post_fee
INTERVAL_TIME = 60  # seconds; most moves fit in before a deadline
WINDOW = 150  # so that a deadline can pass while a commitment is open to disputes


class Money(RuleBasedStateMachine):
    """`solver` keeps its deadlines and is never convicted; `rival` and everybody else do anything."""

    world: World
    ledger: Any  # LedgerHarness

    def __init__(self) -> None:
        super().__init__()
        self.undo = self.world.clock.undone()
        self.undo.__enter__()
        self.now = self.world.clock.now  # moves take no time, only `travel` does
        self.moved = True
        self.names = [*PEOPLE, "game"]
        self.initial = dict.fromkeys(PEOPLE, WEALTH) | {"game": 0}
        free = dict.fromkeys(PEOPLE, FREE) | {"game": 0}
        self.model = Model("game", frozenset((HONEST, CHEAT)), dict(self.initial), free, FEE)
        self.swept = 0
        self.wallets = dict.fromkeys(PEOPLE, FREE) | {"game": 0}
        self.pending = dict.fromkeys(self.names, (0, 0))

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.undo.__exit__(None, None, None)

    # --- moves -------------------------------------------------------------------------------------------------------

    @initialize(prices=st.lists(st.integers(1, 900), min_size=4, max_size=4))
    def tasks_in_training(self, prices: list[int]) -> None:
        for number, (solver, price) in enumerate(zip((HONEST, CHEAT, CHEAT, CHEAT), prices, strict=True)):
            self.post("requester", 900, 3)
            call = self.market.bid(number, price)
            self.move(call, solver, lambda n=number, s=solver, p=price: self.model.bid(s, n, p, self.now))
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
    @rule(actor=ACTORS, price=st.sampled_from([0, 1, 7, 900, WEALTH]), intervals=st.integers(1, 3))
    def post(self, actor: str, price: int, intervals: int) -> None:
        terms = self.world.terms(
            max_price=price, steps=intervals * 10, interval_time=INTERVAL_TIME, challenge_window=WINDOW
        )
        task = Task(
            requester=actor,
            max_price=price,
            stake=terms[5],
            intervals=intervals,
            bidding_ends=self.now + PARAMETERS.bidding_time,
            interval_time=INTERVAL_TIME,
            window=WINDOW,
        )
        self.move(self.market.post(terms), actor, lambda: self.model.post(actor, task))

    @precondition(lambda self: any(task.status is Status.BIDDING for task in self.model.tasks))
    @rule(actor=BIDDERS, task=TASKS, price=st.integers(0, 901))
    def bid(self, actor: str, task: int, price: int) -> None:
        number = self.pick(task, Status.BIDDING)
        call = self.market.bid(number, price)
        self.move(call, actor, lambda: self.model.bid(actor, number, price, self.now))

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
        call = self.log.commit(number, index, ROOT, "")
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
        call = self.log.unhold(number, index)
        self.move(call, actor, lambda: self.model.unhold(actor, number, index))

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
        for _ in range(min(delivered, task.intervals - len(task.checkpoints))):
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
    )
    def dispute(self, delivered: int, place: int, wait: int, convicted: int, shares: tuple[int, int]) -> None:
        """The game holds, decides in time or late, acquits, convicts once or (of two disputes) twice, and lets go."""
        number = self.deliverable()[place % len(self.deliverable())]
        task = self.model.tasks[number]
        for _ in range(min(delivered, task.intervals - len(task.checkpoints))):
            self.deliver(number)
        index = len(task.checkpoints) - 1 - place % delivered
        if index < 0:
            return
        hold, unhold = self.log.hold(number, index), self.log.unhold(number, index)
        self.move(hold, "game", lambda: self.model.hold("game", number, index, self.now))
        self.pass_time(self.now + wait)
        for _ in range(convicted):
            self.convict("game", number, shares)
        self.move(unhold, "game", lambda: self.model.unhold("game", number, index))

    def convict(self, actor: str, number: int, shares: tuple[int, int]) -> None:
        reward, kept = (self.model.tasks[number].stake * share // 10_000 for share in shares)
        call = self.market.slash(number, self.address("challenger"), reward, kept)
        self.move(call, actor, lambda: self.model.slash(actor, number, "challenger", reward, kept, self.now))

    def deliverable(self) -> list[int]:
        """Tasks whose solver may be false, and is not late."""
        return [n for n, task in enumerate(self.model.tasks) if self.can_deliver(task)]

    @rule(seconds=st.sampled_from([1, 10, 30, 61]))
    def travel(self, seconds: int) -> None:
        self.pass_time(self.now + seconds)

    # --- laws --------------------------------------------------------------------------------------------------------

    @invariant()
    def books_balance(self) -> None:
        if not self.moved:
            return
        self.moved = False
        world, model = self.world, self.model
        accounts = [*map(self.address, self.names), BURN_ADDRESS]
        parts = (world.token.address, world.vault.address, world.market.address, world.referee)
        supply, vault, burnable, wallets, free, pending, *pots = self.ledger.functions.read(*parts, accounts).call()
        escrows, stakes, kept = pots
        assert vault == sum(free) + sum(pending) + sum(map(sum, pots)) + burnable
        assert supply == vault + sum(wallets) == sum(self.initial.values())
        assert (wallets[-1], burnable) == (self.swept, model.burned - self.swept)
        assert (free[-1], pending[-1]) == (0, 0)
        assert escrows == [task.escrow for task in model.tasks]
        assert stakes == [task.locked for task in model.tasks]
        assert kept == [task.kept for task in model.tasks]
        for place, name in enumerate(self.names):
            own = sum(task.escrow for task in model.tasks if task.requester == name)
            own += sum(task.locked for task in model.tasks if task.solver == name)
            own += sum(kept) if name == "game" else 0
            assert wallets[place] + free[place] + pending[place] + own == model.wealth[name], name
            assert (wallets[place], free[place]) == (self.wallets[name], model.free[name]), name

    def finish(self) -> None:
        """Law 3: disputes end, the honest solver delivers, everybody collects."""
        mine = [(n, task) for n, task in enumerate(self.model.tasks) if task.solver == HONEST]
        for number, task in mine:
            if task.status is Status.BIDDING:
                self.pass_time(task.bidding_ends)
                self.move(self.market.award(number), "stranger", lambda n=number: self.model.award(n, self.now))
            while task.status is Status.TRAINING and len(task.checkpoints) < task.intervals:
                self.deliver(number)
            for index, checkpoint in enumerate(task.checkpoints):
                while checkpoint.holds:
                    call = self.log.unhold(number, index)
                    self.move(call, "game", lambda n=number, i=index: self.model.unhold("game", n, i))
        windows = [checkpoint.until for _, task in mine for checkpoint in task.checkpoints]
        self.pass_time(max(self.now, *windows, 0) + 1)
        for number, task in mine:
            if task.status is Status.TRAINING:
                call = self.market.collect(number)
                self.move(call, "stranger", lambda n=number: self.model.collect(n, self.now))
            assert task.status is Status.COMPLETED
        self.books_balance()
        posted = [task for task in self.model.tasks if task.requester == HONEST]
        spent = sum(task.earned(task.paid) + FEE for task in posted)
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

    def address(self, name: str) -> str:
        return self.world.referee if name == "game" else self.world.address(name)

    def pick(self, task: int, status: Status, committed: bool = False) -> int:
        """Number of a task; of one in `status`, where there is any and `task` is not the last choice."""
        tasks = list(enumerate(self.model.tasks))
        fitting = [n for n, other in tasks if other.status is status and (other.checkpoints or not committed)]
        choice = fitting if fitting and task != 5 else range(len(tasks))
        return choice[task % len(choice)]

    def move(self, call: Any, actor: str, apply: Any) -> None:
        """Make a move that the model allows, or see the contract refuse what the model refuses."""
        expected = None
        try:
            apply()
        except Refused as refused:
            expected = str(refused)
        if expected is None:
            self.moved = True
            self.world.send(call, self.address(actor), at=self.now)
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
        while owed := [(task.due, n) for n, task in enumerate(self.model.tasks) if self.owes(task, until)]:
            due, number = min(owed)
            self.now = max(self.now, due)
            self.deliver(number)
        self.now = max(self.now, until)
        self.world.clock.mine(self.now)

    def deliver(self, number: int) -> None:
        """The solver's next checkpoint."""
        task = self.model.tasks[number]
        index, solver = len(task.checkpoints), task.solver or ""
        call = self.log.commit(number, index, ROOT, "")
        self.move(call, solver, lambda: self.model.commit(solver, number, index, self.now))

    def can_deliver(self, task: Task) -> bool:
        working = task.status is Status.TRAINING and task.solver != HONEST
        return working and len(task.checkpoints) < task.intervals and self.now <= task.due

    def owes(self, task: Task, until: int) -> bool:
        return (
            task.status is Status.TRAINING
            and task.solver == HONEST
            and len(task.checkpoints) < task.intervals
            and task.due < until
        )


@pytest.mark.slow
def test_money(ganache: Ganache, w3: Web3, artifacts: dict[str, Any], deploy: Deploy, snapshot: None) -> None:
    referee = w3.eth.accounts[9]
    world = World.raw(ganache, {"game": referee, "verifier": referee})
    ledger = deploy("LedgerHarness")
    machine = type("Money", (Money,), {"world": world, "ledger": ledger})
    scale = settings().max_examples / 50  # of the profile that runs by default
    limits = settings(
        max_examples=int(24 * scale),
        stateful_step_count=40,
        deadline=None,
        database=None,  # a remembered example costs seconds on a chain, long after its fault is gone
        suppress_health_check=list(HealthCheck),
    )
    with world.clock.stopped():
        run_state_machine_as_test(machine, settings=limits)
