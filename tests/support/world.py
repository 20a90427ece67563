"""A funded deployment with its raw contracts, for tests of the contracts alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from typing import Any, Final

from web3.contract import Contract
from web3.logs import DISCARD

from offchain.chain.deployment import Parameters, load_artifact
from offchain.chain.ganache import Ganache
from tests.support import tasks
from tests.support.deployment import GAS_PRICE, OWNER, PARAMETERS, PEOPLE, Funded
from tests.support.tasks import ROOT

GAS: Final = 12_000_000
PRICE: Final = 900  # of the tasks that `World` posts
SHORT: Final = {  # terms whose deadlines are the least that the deployment takes
    "max_price": PRICE,
    **dict.fromkeys(("bidding_time", "reveal_time", "handover_time"), PARAMETERS.bidding_time),
    "interval_time": PARAMETERS.interval_time,
    "challenge_window": PARAMETERS.challenge_window,
    "clock": PARAMETERS.clock,
}


@dataclass
class World(Funded):
    """The contracts as web3 knows them, and the address of each person as an attribute.

    While the clock is stopped, each transaction is mined a second after the one before unless the test says when.
    """

    def __post_init__(self) -> None:
        parts = ("token", "vault", "registry", "auction", "market", "log", "verifier")
        made = map(self.contract, parts)
        self.token, self.vault, self.registry, self.auction, self.market, self.log, self.verifier = made
        self.auditor, self.limits = self.contract("auditor"), self.contract("limits")
        abi = load_artifact("DisputeGame")["abi"]
        self.game: Contract = self.w3.eth.contract(address=self.deployment.game, abi=abi, decode_tuples=True)
        people = (self.address(name) for name in PEOPLE)
        self.requester, self.solver, self.rival, self.challenger, self.stranger = people

    @classmethod
    def raw(
        cls, ganache: Ganache, existing: Mapping[str, str] | None = None, parameters: Parameters = PARAMETERS
    ) -> World:
        """Deploys everything, or all but `existing`, and lets the vault take all that the people have."""
        world = Funded.build(ganache, parameters, existing).seen_as(cls)
        for name in PEOPLE:
            world.send(world.token.functions.approve(world.vault.address, 2**256 - 1), world.address(name))
        return world

    @property
    def referee(self) -> str:
        """The address of the game; an account that the test holds, where it is no contract."""
        return self.deployment.game

    @property
    def owner(self) -> str:
        return self.address(OWNER)

    def send(self, call: Any, sender: str, at: int | None = None) -> Any:
        """Sends a transaction that must succeed; returns the receipt. `at` is its time while the clock is stopped."""
        sent = call.transact({"from": sender, "gas": GAS, "gasPrice": GAS_PRICE})
        self.clock.tick(at)
        receipt = self.w3.eth.wait_for_transaction_receipt(sent)
        if receipt["status"] != 1:
            call.call({"from": sender, "gas": GAS})  # raises the typed error
            raise AssertionError(f"{call.fn_name} failed")
        return receipt

    def ask(self, call: Any, sender: str | None = None) -> Any:
        """Calls without sending, at the time of the latest block; raises the error that it reverts with."""
        return call.call({"from": sender or self.stranger, "gas": GAS})

    @staticmethod
    def events(event: Any, receipt: Any) -> list[dict[str, Any]]:
        """The arguments of every such event in a receipt."""
        return [dict(entry["args"]) for entry in event.process_receipt(receipt, errors=DISCARD)]

    # --- tasks with SHORT terms -----------------------------------------------------------------------------------

    def terms(self, **changes: Any) -> tuple[Any, ...]:
        """Terms of three intervals, as the ABI wants them, with some fields changed."""
        return astuple(tasks.terms(self, **(SHORT | changes)))

    def post(self, **changes: Any) -> int:
        return tasks.post(self, **(SHORT | changes))

    def award(self, price: int = 800, **changes: Any) -> int:
        """A task in training, won by `solver`."""
        return tasks.award(self, price=price, **(SHORT | changes))

    def commit(self, task: int, index: int, at: int | None = None) -> Any:
        return self.send(self.log.functions.commit(task, index, ROOT, tasks.URI), self.solver, at)

    def task(self, task: int) -> dict[str, Any]:
        found: dict[str, Any] = self.quick("stranger").call("market", "task", task)
        return found

    def pots(self, task: int) -> tuple[int, int]:
        """Escrow and stake of a task."""
        attempt = self.task(task)["attempt"]
        keys = self.market.functions.escrowPot(task).call(), self.market.functions.stakePot(task, attempt).call()
        escrow, stake = (self.vault.functions.potOf(self.market.address, key).call() for key in keys)
        return escrow, stake

    def kept(self, task: int) -> int:
        """What of a convicted solver's stake the game keeps for challengers."""
        return int(self.vault.functions.potOf(self.referee, self.market.functions.stakePot(task, 0).call()).call())
