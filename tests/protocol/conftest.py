"""A task in training whose first checkpoint is right, and people with money around it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from eth_account.signers.local import LocalAccount
from web3 import Web3

from offchain.chain.client import SOLVER, Chain, GraphHeader
from offchain.chain.deployment import COIN, Deployment, Parameters, deploy
from offchain.chain.ganache import Ganache
from offchain.roles.view import Terms
from tests.protocol.everything import INTERVAL, STEPS, Work, everything
from tests.protocol.players import Mind, Played, Player, Strategy, play

PRICE = 1_000
BOND = 1_000 * COIN
WEALTH = 1_000_000 * COIN
NAMES = ("requester", "solver", "challenger", "rival", "stranger")
PARAMETERS = Parameters(
    withdrawal_delay=10, detection_bps=5_000, bidding_time=1, interval_time=1, challenge_window=5, clock=10, bond=COIN
)


@dataclass
class Arena:
    """Task 0 is being trained by `solver`; checkpoint 0 is committed and right, checkpoint 1 is for the test."""

    w3: Web3
    deployment: Deployment
    work: Work
    honest: Mind
    players: dict[str, Player]
    terms: Terms
    task: int = 0

    def __getattr__(self, name: str) -> Player:
        try:
            return self.players[name]
        except KeyError:
            raise AttributeError(name) from None

    def travel(self, timestamp: int) -> None:
        """The next block comes at least then."""
        now = self.w3.eth.get_block("latest")["timestamp"]
        self.w3.provider.make_request("evm_increaseTime", [max(0, timestamp - now)])
        self.w3.provider.make_request("evm_mine", [])

    def commit(self, root: bytes) -> None:
        """The solver commits checkpoint 1."""
        self.solver.chain.commit(self.task, 1, root, "memory://1")

    def open(self, challenger: Player, checkpoint: int = 1) -> int:
        return challenger.chain.open(self.task, checkpoint, GraphHeader.of(self.work.graph))

    def play(self, dispute_id: int, strategies: tuple[Strategy, Strategy], challenger: Player | None = None) -> Played:
        return play(dispute_id, self.solver, challenger or self.challenger, strategies, self.travel)

    def free(self, name: str) -> int:
        return self.players[name].chain.free()

    def burned(self) -> int:
        token = self.deployment.contract(self.w3, "token")
        return int(token.functions.balanceOf("0x000000000000000000000000000000000000dEaD").call())


def _travel(w3: Web3, seconds: int) -> None:
    w3.provider.make_request("evm_increaseTime", [seconds])
    w3.provider.make_request("evm_mine", [])


def build_arena(ganache: Ganache, w3: Web3, keys: list[LocalAccount], work: Work) -> Arena:
    """Deploy, fund, post, award, and commit the first checkpoint."""
    deployment = deploy(w3, w3.eth.accounts[0], PARAMETERS)
    players = {name: Player(Chain(ganache.url, deployment, keys[10 + i])) for i, name in enumerate(NAMES)}
    owner = Chain(ganache.url, deployment, keys[0])
    for player in players.values():
        owner.mint(player.address, WEALTH)
        player.chain.deposit(WEALTH)
    players["solver"].chain.register(SOLVER, "http://solver.example")
    terms = Terms(
        graph_root=work.graph_root, state_root=work.state_root, steps=STEPS, interval=INTERVAL, max_price=PRICE,
        stake=owner.required_stake(PRICE) + 1_001, bond=BOND, bidding_time=5, interval_time=100_000,
        challenge_window=100_000, clock=600, uri="memory://task",
    )  # fmt: skip
    task = players["requester"].chain.post(terms)
    players["solver"].chain.bid(task, PRICE)
    _travel(w3, 6)
    players["stranger"].chain.award(task)
    honest = Mind(work)
    players["solver"].chain.commit(task, 0, honest.root(0), "memory://0")
    return Arena(w3, deployment, work, honest, players, terms, task)


@pytest.fixture(scope="session")
def _arena(ganache: Ganache, w3: Web3, keys: list[LocalAccount], artifacts: dict[str, Any]) -> Arena:
    return build_arena(ganache, w3, keys, everything())


@pytest.fixture
def arena(_arena: Arena, snapshot: None) -> Arena:
    for player in _arena.players.values():
        player.__post_init__()  # readers must not remember what a snapshot undid
    return _arena
