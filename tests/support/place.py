"""A deployment on a real chain, and three accounts that know each other."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from eth_account import Account
from web3 import Web3

from offchain.chain.client import Chain, GraphHeader
from offchain.chain.deployment import Deployment, Parameters, deploy
from offchain.chain.ganache import Ganache
from offchain.chain.transactions import SendOptions
from offchain.commit.roots import graph_root, state_root
from offchain.market.view import SOLVER, Terms
from tests.contracts.runs import every_kind, run

PARAMETERS = Parameters(
    withdrawal_delay=100, detection_bps=5_000, bidding_time=50, interval_time=10, challenge_window=50, clock=50, bond=7
)
PRICE = 1_000
QUICK = SendOptions(poll=0.02, receipt_timeout=2)
JOB = every_kind(6, 3)
HEADER = GraphHeader.of(JOB.graph)


@dataclass
class Place:
    """A deployment with a requester, a solver and a challenger who have money in the vault."""

    ganache: Ganache
    deployment: Deployment
    w3: Web3

    @classmethod
    def build(cls, ganache: Ganache, w3: Web3) -> Place:
        place = cls(ganache, deploy(w3, w3.eth.accounts[0], PARAMETERS), w3)
        for chain in (place.requester, place.solver, place.challenger):
            place.requester.mint(chain.address, 10**9)
            chain.deposit(10**8)
        place.solver.register(SOLVER, "")
        return place

    def chain(self, number: int, options: SendOptions = QUICK) -> Chain:
        return Chain(self.ganache.url, self.deployment, Account.from_key(self.ganache.accounts[number]), options)

    def __post_init__(self) -> None:
        self.requester, self.solver, self.challenger = (self.chain(n) for n in range(3))

    def travel(self, seconds: int) -> None:
        self.w3.provider.make_request("evm_increaseTime", [seconds])
        self.w3.provider.make_request("evm_mine", [])

    def terms(self, **changes: Any) -> Terms:
        stake = self.requester.required_stake(PRICE)
        fields = Terms(
            graph_root(JOB.graph),
            state_root(JOB.state),
            JOB.steps,
            JOB.interval,
            PRICE,
            stake,
            7,
            50,
            1_000,
            500,
            500,
            "",
        )
        return replace(fields, **changes)

    def trained(self, checkpoints: int = 2) -> int:
        """A task with so many (right) checkpoints."""
        task = self.requester.post(self.terms())
        self.solver.bid(task, PRICE)
        self.travel(51)
        self.requester.award(task)
        for k in range(checkpoints):
            self.solver.commit(task, k, run(JOB).checkpoint(k), f"http://solver/{k}")
        return task
