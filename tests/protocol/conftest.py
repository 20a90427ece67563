"""A task in training whose first checkpoint is right, and people with money around it."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from eth_account.signers.local import LocalAccount
from web3 import Web3

from offchain.chain.client import Chain, GraphHeader
from offchain.chain.deployment import COIN, Deployment, Parameters, deploy
from offchain.chain.ganache import Ganache
from offchain.market.view import SOLVER, Status, Terms
from tests.protocol.everything import Work, everything, tiny
from tests.protocol.players import Mind, Played, Player, Strategy, play

PRICE = 1_000
BOND = 1_000 * COIN + 3  # shares of it must be rounded
WEALTH = 1_000_000 * COIN
NAMES = ("requester", "solver", "challenger", "rival", "stranger")
BURN_ADDRESS = "0x000000000000000000000000000000000000dEaD"
PARAMETERS = Parameters(
    withdrawal_delay=10, detection_bps=5_000, bidding_time=1, interval_time=1, challenge_window=5, clock=10, bond=COIN
)
SNAPSHOT = Path(__file__).with_name("gas.json")
TOLERANCE = 0.05


@dataclass
class Arena:
    """A task is being trained by `solver`; checkpoint 0 is committed and right, checkpoint 1 is for the test."""

    w3: Web3
    deployment: Deployment
    work: Work
    honest: Mind
    players: dict[str, Player]
    url: str
    accounts: dict[str, LocalAccount]
    terms: Terms
    task: int

    def __getattr__(self, name: str) -> Player:
        try:
            return self.players[name]
        except KeyError:
            raise AttributeError(name) from None

    def careful(self, name: str) -> Player:
        """The same account in the hands of somebody who looks and sends as workers do."""
        return Player(Chain(self.url, self.deployment, self.accounts[name]), careful=True)

    def pass_time(self, seconds: int) -> None:
        """The next block comes at least so much later."""
        self.w3.provider.make_request("evm_increaseTime", [max(0, seconds)])
        self.w3.provider.make_request("evm_mine", [])

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Whatever happens on the chain meanwhile has not happened afterwards."""
        taken = self.w3.provider.make_request("evm_snapshot", [])["result"]
        yield
        self.w3.provider.make_request("evm_revert", [taken])

    def commit(self, root: bytes) -> None:
        """The solver commits checkpoint 1."""
        self.solver.chain.commit(self.task, 1, root, "memory://1")

    def open(self, challenger: Player, checkpoint: int = 1) -> int:
        return challenger.chain.open(self.task, checkpoint, GraphHeader.of(self.work.graph))

    def play(self, dispute_id: int, strategies: tuple[Strategy, Strategy], challenger: Player | None = None) -> Played:
        """To the end; strategies of solver and challenger."""
        return play(dispute_id, (self.solver, challenger or self.challenger), strategies, self.pass_time)

    def free(self, name: str) -> int:
        return self.players[name].chain.free()

    def wealth(self) -> dict[str, int]:
        """Free balances of all, and what was burned."""
        token = self.deployment.contract(self.w3, "token")
        burned = int(token.functions.balanceOf(BURN_ADDRESS).call())
        return {name: self.free(name) for name in NAMES} | {"burned": burned}

    def gains(self, before: dict[str, int]) -> dict[str, int]:
        """What changed since; names with no change are left out."""
        return {name: now - before[name] for name, now in self.wealth().items() if now != before[name]}

    def status(self) -> Status:
        return self.stranger.chain.task(self.task, self.terms).status

    def holds(self, checkpoint: int = 1) -> int:
        return int(self.stranger.chain.call("log", "checkpoint", self.task, checkpoint)["holds"])

    def train(self, work: Work) -> Arena:
        """Another task, posted, awarded, and with its first checkpoint committed."""
        stake = self.stranger.chain.required_stake(PRICE) + 1_001
        terms = Terms(
            graph_root=work.graph_root, state_root=work.state_root, steps=work.steps, interval=work.interval,
            max_price=PRICE, stake=stake, bond=BOND, bidding_time=5, interval_time=100_000, challenge_window=100_000,
            clock=600, uri="memory://task",
        )  # fmt: skip
        task = self.requester.chain.post(terms)
        self.solver.chain.bid(task, PRICE)
        self.pass_time(6)
        self.stranger.chain.award(task)
        honest = Mind(work)
        self.solver.chain.commit(task, 0, honest.root(0), "memory://0")
        return replace(self, work=work, honest=honest, terms=terms, task=task)


@pytest.fixture(scope="session")
def _one_thread() -> Iterator[None]:
    """Tensors are small here: waking threads takes twenty times as long as the work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def _people(
    ganache: Ganache, w3: Web3, keys: list[LocalAccount], artifacts: dict[str, Any], _one_thread: None
) -> Arena:
    """Everything deployed, and everybody funded; no task."""
    deployment = deploy(w3, w3.eth.accounts[0], PARAMETERS)
    accounts = dict(zip(NAMES, keys[10:], strict=False))
    players = {name: Player(Chain(ganache.url, deployment, account)) for name, account in accounts.items()}
    owner = Player(Chain(ganache.url, deployment, keys[0]))
    for player in players.values():
        owner.chain.mint(player.address, WEALTH)
        player.chain.deposit(WEALTH)
    players["solver"].chain.register(SOLVER, "http://solver.example")
    none: Any = None
    return Arena(w3, deployment, none, none, players, ganache.url, accounts, none, -1)


@pytest.fixture(scope="session")
def _everything(_people: Arena) -> Arena:
    return _people.train(everything())


@pytest.fixture(scope="session")
def _many_nodes(_people: Arena) -> Arena:
    return _people.train(everything(extra_maps=300))


@pytest.fixture(scope="session")
def _many_steps(_people: Arena) -> Arena:
    return _people.train(tiny())


@pytest.fixture
def arena(_everything: Arena, snapshot: None) -> Arena:
    """Every node kind, two intervals of four steps."""
    return _everything


@pytest.fixture
def many_nodes(_many_nodes: Arena, snapshot: None) -> Arena:
    """The same with more than 256 nodes."""
    return _many_nodes


@pytest.fixture
def many_steps(_many_steps: Arena, snapshot: None) -> Arena:
    """Hardly any nodes, in intervals of 512 steps."""
    return _many_steps


@dataclass
class GasBook:
    """Moves, reveals and gas of disputes against the committed file. `UPDATE_GAS=1` rewrites what a run has seen."""

    committed: dict[str, dict[str, int]]
    seen: dict[str, dict[str, int]]

    def check(self, name: str, played: Played) -> None:
        used = {"moves": len(played.moves), "reveals": played.reveals, "gas": sum(gas for _, _, gas in played.moves)}
        for _, function, gas in played.moves:
            used[function] = max(gas, used.get(function, 0))
        self.seen[name] = used
        if "UPDATE_GAS" in os.environ:
            return
        assert name in self.committed, f"{name} is not in {SNAPSHOT.name}: run with UPDATE_GAS=1"
        expected = self.committed[name]
        assert used.keys() == expected.keys()
        off = {key: (used[key], gas) for key, gas in expected.items() if abs(used[key] - gas) > TOLERANCE * gas}
        assert not off, f"{name}: (used, committed) {off}"


@pytest.fixture(scope="session")
def gas_book() -> Iterator[GasBook]:
    book = GasBook(json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {}, {})
    yield book
    if "UPDATE_GAS" in os.environ:
        SNAPSHOT.write_text(json.dumps(book.committed | book.seen, indent=2, sort_keys=True) + "\n")
