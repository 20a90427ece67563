"""A deployed, wired and funded market, on a clock that only the test moves."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from web3 import Web3
from web3.logs import DISCARD

from offchain.chain.deployment import COIN, Deployment, Parameters, deploy

GAS: Final = 10_000_000
GAS_PRICE: Final = 3 * 10**9
WEALTH: Final = 1_000_000 * COIN  # of each player: half in its wallet, half free in the vault
PLAYERS: Final = ("requester", "solver", "rival", "challenger", "stranger")
BURN_ADDRESS: Final = "0x000000000000000000000000000000000000dEaD"
PARAMETERS: Final = Parameters(
    withdrawal_delay=1_000,
    detection_bps=5_000,
    bidding_time=50,
    interval_time=10,
    challenge_window=100,
    clock=20,
    bond=COIN,
)
ROOT: Final = bytes(range(32))


@dataclass
class World:
    """Contracts and players. `game` is whoever may hold, unhold and slash.

    Transactions are mined one by one, each a second after the one before unless the test says when.
    """

    w3: Web3
    deployment: Deployment
    game: str
    requester: str
    solver: str
    rival: str
    challenger: str
    stranger: str

    def __post_init__(self) -> None:
        self.token, self.vault, self.registry, self.market, self.log = (
            self.deployment.contract(self.w3, part) for part in ("token", "vault", "registry", "market", "log")
        )

    @classmethod
    def build(cls, w3: Web3, existing: Mapping[str, str] | None = None) -> World:
        """Deploys everything, or all but `existing`; funds the players, registers solver and rival."""
        deployer, *accounts = w3.eth.accounts
        deployment = deploy(w3, deployer, PARAMETERS, existing)
        world = cls(w3, deployment, deployment.game, **dict(zip(PLAYERS, accounts, strict=False)))
        for player in world.players:
            world._instant(world.token.functions.mint(player, WEALTH), deployer)
            world._instant(world.token.functions.approve(deployment.vault, 2**256 - 1), player)
            world._instant(world.vault.functions.deposit(WEALTH // 2), player)
        for player in (world.solver, world.rival):
            world._instant(world.registry.functions.register(1, "https://solver.example"), player)
        return world

    @property
    def players(self) -> tuple[str, ...]:
        return tuple(getattr(self, name) for name in PLAYERS)

    @property
    def now(self) -> int:
        return int(self.w3.eth.get_block("latest")["timestamp"])

    def stop_clock(self) -> None:
        self._rpc("miner_stop")

    def start_clock(self) -> None:
        self._rpc("miner_start")

    def mine(self, at: int) -> None:
        self._rpc("evm_mine", {"timestamp": at})

    def travel(self, seconds: int) -> None:
        self.mine(self.now + seconds)

    def send(self, call: Any, sender: str, at: int | None = None) -> Any:
        """The receipt of a transaction that must succeed, in a block of its own."""
        when = self.now + 1 if at is None else at
        sent = call.transact({"from": sender, "gas": GAS, "gasPrice": GAS_PRICE})
        self.mine(when)
        receipt = self.w3.eth.get_transaction_receipt(sent)
        if receipt["status"] != 1:
            call.call({"from": sender, "gas": GAS})  # raises the typed error
            raise AssertionError(f"{call.fn_name} failed")
        return receipt

    def ask(self, call: Any, sender: str | None = None) -> Any:
        """What a call gives, or the error that it reverts with, at the time of the latest block."""
        return call.call({"from": sender or self.stranger, "gas": GAS})

    @staticmethod
    def events(event: Any, receipt: Any) -> list[dict[str, Any]]:
        """The arguments of every such event in a receipt."""
        return [dict(entry["args"]) for entry in event.process_receipt(receipt, errors=DISCARD)]

    def terms(self, **changes: Any) -> tuple[Any, ...]:
        """Terms of three intervals, as the ABI wants them, with some fields changed."""
        price = changes.get("maxPrice", 900)
        fields = {
            "graphRoot": ROOT,
            "stateRoot": ROOT[::-1],
            "steps": 25,
            "interval": 10,
            "maxPrice": price,
            "stake": self.market.functions.requiredStake(price).call(),
            "bond": PARAMETERS.bond,
            "biddingTime": PARAMETERS.bidding_time,
            "intervalTime": PARAMETERS.interval_time,
            "challengeWindow": PARAMETERS.challenge_window,
            "clock": PARAMETERS.clock,
            "uri": "memory://task",
        }
        if unknown := changes.keys() - fields.keys():
            raise ValueError(f"no such terms: {unknown}")
        return tuple((fields | changes).values())

    def post(self, **changes: Any) -> int:
        self.send(self.market.functions.post(self.terms(**changes)), self.requester)
        return int(self.market.functions.taskCount().call()) - 1

    def award(self, price: int = 800, **changes: Any) -> int:
        """A task in training, won by `solver`."""
        task = self.post(**changes)
        self.send(self.market.functions.bid(task, price), self.solver)
        self.send(self.market.functions.award(task), self.stranger, self.task(task)["biddingEnds"])
        return task

    def commit(self, task: int, index: int, at: int | None = None) -> Any:
        return self.send(self.log.functions.commit(task, index, ROOT, "memory://state"), self.solver, at)

    def task(self, task: int) -> dict[str, Any]:
        names = ("requester", "solver", "status", "biddingEnds", "awardedAt", "price", "paid")
        return dict(zip(names, self.market.functions.task(task).call(), strict=True))

    def free(self, account: str) -> int:
        return int(self.vault.functions.freeOf(account).call())

    def pots(self, task: int) -> tuple[int, int]:
        """Escrow and stake of a task."""
        keys = self.market.functions.escrowPot(task).call(), self.market.functions.stakePot(task).call()
        escrow, stake = (self.vault.functions.potOf(self.market.address, key).call() for key in keys)
        return escrow, stake

    def burned(self) -> int:
        return int(self.token.functions.balanceOf(BURN_ADDRESS).call())

    def _instant(self, call: Any, sender: str) -> None:
        """While the miner runs."""
        sent = call.transact({"from": sender, "gas": GAS, "gasPrice": GAS_PRICE})
        assert self.w3.eth.wait_for_transaction_receipt(sent)["status"] == 1, call.fn_name

    def _rpc(self, method: str, *parameters: Any) -> Any:
        answer = self.w3.provider.make_request(method, list(parameters))  # type: ignore[arg-type]
        assert "error" not in answer, answer
        return answer["result"]
