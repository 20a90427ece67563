"""The contracts beside their model: how a move is made, what the honest solver does in time, and the laws."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from hypothesis.stateful import RuleBasedStateMachine, invariant

from offchain.bls.signing import sign
from offchain.chain.seals import seal_of
from offchain.chain.verifiers import Draw
from offchain.commit.logs import COMMITMENT_BYTES
from offchain.market.notes import OwnBid
from offchain.market.tickets import Audited, fees
from offchain.market.view import Status
from tests.invariants.money_model import Model
from tests.invariants.money_task import Claimed, Refused, Task
from tests.support.bls import key_of
from tests.support.deployment import BURN_ADDRESS, FREE, PARAMETERS, PEOPLE, WEALTH
from tests.support.reverts import typed_error
from tests.support.vouching import SECRET, STAKES, Ended
from tests.support.world import World

HONEST, CHEAT = "solver", "rival"
DILIGENT: Final = "stranger"  # vouches only for what is right, and shows that it looked
VERIFIERS: Final = {name: STAKES[name] for name in ("challenger", DILIGENT)}
STATE: Final = Ended.of(0)  # after every interval
FEES: Final = {"fee_bps": 100, "standby_bps": 200}
SALT: Final = b"s" * 32


class Books(RuleBasedStateMachine):
    """`solver` keeps its promises and is never convicted, `stranger` vouches for what is right; everybody else does
    anything."""

    world: World
    ledger: Any  # LedgerHarness

    def __init__(self) -> None:
        super().__init__()
        self.undo = self.world.clock.undone()
        self.undo.__enter__()
        self.now = self.world.clock.now  # moves take no time, only `travel` does
        self.moved = True
        self.names = [*PEOPLE, "game"]
        free = dict.fromkeys(PEOPLE, FREE) | {"game": 0}
        for name, stake in VERIFIERS.items():
            free[name] -= stake
        bonds = PARAMETERS.bid_bond, PARAMETERS.audit_bond
        self.model = Model("game", frozenset((HONEST, CHEAT)), free, PARAMETERS.post_fee, *bonds, **FEES)
        self.swept = 0
        self.wallets = dict.fromkeys(PEOPLE, FREE) | {"game": 0}
        self.pending = dict.fromkeys(self.names, (0, 0))

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.undo.__exit__(None, None, None)

    # --- laws --------------------------------------------------------------------------------------------------------

    @invariant()
    def books_balance(self) -> None:
        if not self.moved:
            return
        self.moved = False
        world, model = self.world, self.model
        accounts = [*map(self.address, self.names), BURN_ADDRESS]
        parts = (world.token.address, world.vault.address, world.market.address, world.referee, world.auditor.address)
        supply, vault, burnable, wallets, free, pending, *pots = self.ledger.functions.read(*parts, accounts).call()
        escrows, stakes, kept, audits = pots
        bonds = model.bond * sum(len(task.bonds) for task in model.tasks)
        assert vault == sum(free) + sum(pending) + sum(map(sum, pots)) + bonds + sum(VERIFIERS.values()) + burnable
        assert supply == vault + sum(wallets) == WEALTH * len(PEOPLE)
        assert (wallets[-1], burnable) == (self.swept, model.burned - self.swept)
        assert (free[-1], pending[-1]) == (0, 0)
        assert escrows == [task.escrow for task in model.tasks]
        assert stakes == [task.stake for task in model.tasks]
        assert kept == [sum(task.kept.values()) for task in model.tasks]
        for held, task in zip(audits, model.tasks, strict=True):
            locked = task.audits + sum(task.fees.values())
            assert held == task.terms.audit_fee * locked + model.audit_bond * len(task.claims)
        for place, name in enumerate(self.names):
            assert (wallets[place], free[place]) == (self.wallets[name], model.free[name]), name
        assert model.lost.get(HONEST, 0) == model.lost.get(DILIGENT, 0) == 0

    def finish(self) -> None:
        """Law 3: disputes end, the honest solver delivers, everybody collects."""
        mine = [(n, task) for n, task in enumerate(self.model.tasks) if task.solver == HONEST]
        for number, task in mine:
            while task.solver == HONEST and task.unfinished:
                self.deliver(number)
            for index, checkpoint in enumerate(task.checkpoints):
                while checkpoint.holds:
                    call = self.log.unhold(number, index, checkpoint.attempt)
                    self.move(
                        call, "game", lambda n=number, i=index, a=checkpoint.attempt: self.model.unhold("game", n, i, a)
                    )
        windows = [checkpoint.until for _, task in mine for checkpoint in task.checkpoints]
        self.pass_time(max(self.now, *windows, 0) + 1)
        for number, task in mine:
            if task.solver == HONEST and task.status is Status.TRAINING:
                self.move(self.market.collect(number), "stranger", lambda n=number: self.model.collect(n, self.now))
            assert task.status is not Status.TRAINING or task.solver != HONEST
        for number, task in enumerate(self.model.tasks):
            for key in list(task.claims):
                self.settle_claim(number, key)
            assert task.status is Status.TRAINING or not task.claims
        self.books_balance()

    # --- how moves are made ------------------------------------------------------------------------------------------

    @property
    def vault(self) -> Any:
        return self.world.vault.functions

    @property
    def auction(self) -> Any:
        return self.world.auction.functions

    @property
    def market(self) -> Any:
        return self.world.market.functions

    @property
    def log(self) -> Any:
        return self.world.log.functions

    @property
    def auditor(self) -> Any:
        return self.world.auditor.functions

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
            parts = (self.world.market, self.world.auction, self.world.log, self.world.vault, self.world.auditor)
            names = (typed_error(part, data)[0] for part in parts)
            return next((name for name in names if not name.startswith("0x")), data)
        return None

    def pass_time(self, until: int) -> None:
        """The honest solver does at the last moment what it owes, whenever the clock would run past it."""
        while owed := [item for n, task in enumerate(self.model.tasks) for item in self.owes(n, task, until)]:
            due, _, act = min(owed, key=lambda item: item[:2])
            self.now = max(self.now, due)
            self.world.clock.mine(self.now)
            act()
        self.now = max(self.now, until)
        self.world.clock.mine(self.now)

    def owes(self, number: int, task: Task, until: int) -> Iterator[Any]:
        """What the honest solver has to do before `until`: when, in what task, and how."""
        return (item for item in self._duties(number, task) if item[0] < until)

    def _duties(self, number: int, task: Task) -> Iterator[Any]:
        for index, point in enumerate(task.checkpoints):
            if task.claims.get((point.attempt, index, DILIGENT)) is False:
                yield point.claimable_until + 1, number, lambda k=index: self.vouch(DILIGENT, number, k)
        if task.solver == HONEST and task.unfinished:
            yield task.due, number, lambda: self.deliver(number)
        if task.status is Status.BIDDING and (task.attempt, HONEST) in task.sealed:
            yield task.reveal_ends - 1, number, lambda: self.reveal(HONEST, number)
        if task.status is Status.VACANT and task.standby and task.standby.bidder == HONEST:
            take_over = self.market.takeOver(number)
            apply = lambda: self.model.take_over(HONEST, number, self.now)  # noqa: E731
            yield task.handover_ends, number, lambda: self.move(take_over, HONEST, apply)

    def seal(self, actor: str, number: int, price: int, promised: int) -> None:
        hidden = OwnBid(self.model.tasks[number].attempt, price, promised, SALT)
        chain_id, auction = self.world.deployment.chain_id, self.world.auction.address
        call = self.auction.commit(number, seal_of(chain_id, auction, number, self.address(actor), hidden))
        self.move(call, actor, lambda: self.model.seal(actor, number, price, promised, self.now))

    def reveal(self, actor: str, number: int) -> None:
        task = self.model.tasks[number]
        bid = task.sealed.get((task.attempt, actor))
        price, promised = (bid.price, bid.promised) if bid else (1, 1)
        call = self.auction.reveal(number, price, promised, SALT)
        self.move(call, actor, lambda: self.model.reveal(actor, number, self.now))

    def deliver(self, number: int) -> None:
        """The solver's next checkpoint."""
        task = self.model.tasks[number]
        index, solver = len(task.checkpoints), task.solver
        call = self.log.commit(number, index, STATE.root, "")
        self.move(call, solver, lambda: self.model.commit(solver, number, index, self.now))

    def claim(self, verifier: str, number: int, index: int, guessed: bool) -> None:
        """`guessed`: it has not replayed the interval."""
        points, deployment = self.model.tasks[number].checkpoints, self.world.deployment
        attempt, beacon = 0, 0
        if index < len(points):
            attempt = points[index].attempt
            beacon = self.world.quick("requester").call("log", "checkpoint", number, index)["beacon"]
        about = Audited(deployment.chain_id, deployment.market, number, attempt, index, STATE.root, beacon)
        # Two stakes in one second are one place.
        own, everybody = self.world.quick("requester").call("verifiers", "places", self.address(verifier), self.now)
        ticket, rate = sign(SECRET[verifier], about.message()), self.model.tasks[number].terms.audit_rate_bps
        won = fees(ticket, rate, VERIFIERS[verifier], sum(VERIFIERS.values()))
        draw = Draw(ticket, key_of(SECRET[verifier]).twin, own, everybody, won)
        commitment = b"guess".ljust(COMMITMENT_BYTES) if guessed else STATE.shown.commitment(self.address(verifier))
        call = self.auditor.claim(number, index, commitment, draw.encoded())
        self.move(call, verifier, lambda: self.model.claim(verifier, number, index, won, guessed, self.now))

    def vouch(self, verifier: str, number: int, index: int) -> None:
        call = self.auditor.reveal(number, index, STATE.shown.encoded())
        self.move(call, verifier, lambda: self.model.vouch(verifier, number, index, self.now))

    def settle_claim(self, number: int, key: Claimed) -> None:
        attempt, index, verifier = key
        call = self.auditor.settle(number, attempt, index, self.address(verifier))
        self.move(call, "requester", lambda: self.model.settle_claim(number, key, self.now))

    def can_deliver(self, task: Task) -> bool:
        return task.unfinished and task.solver != HONEST and self.now <= task.due
