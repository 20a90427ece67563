"""A market for Brownie's tests: deployed, connected, and people with money in its vault."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from brownie import Contract, accounts, chain

from offchain.chain.deploying import build
from offchain.chain.deployment import COIN, CONTRACTS, PRESETS, load_artifact
from offchain.market.view import SOLVER, Terms
from offchain.task import Task
from scripts.bid import commit, reveal, wait_until
from scripts.deploy import BrownieDeployer
from scripts.post_task import post, terms_for
from tests.support.works import every_kind

PEOPLE = ("requester", "solver", "rival", "challenger")
WEALTH = 10_000 * COIN
PRICE = 100 * COIN


@pytest.fixture(scope="module")
def task() -> Task:
    """Six steps, a checkpoint every third."""
    return every_kind(6, 3)


@pytest.fixture(scope="module")
def deployed() -> SimpleNamespace:
    """Every contract as an attribute ("vault", "market", ...), and PEOPLE, who have WEALTH free in the vault."""
    addresses = build(BrownieDeployer(), PRESETS["local"])
    parts = {
        name: Contract.from_abi(contract, addresses[name], load_artifact(contract)["abi"])
        for name, contract in CONTRACTS.items()
    }
    people = dict(zip(PEOPLE, accounts[1:], strict=False))
    for name, person in people.items():
        parts["token"].mint(person, 2 * WEALTH, {"from": accounts[0]})
        parts["token"].approve(parts["vault"], WEALTH, {"from": person})
        parts["vault"].deposit(WEALTH, {"from": person})
        if name in ("solver", "rival"):
            parts["registry"].register(SOLVER, f"http://{name}", {"from": person})
    return SimpleNamespace(**parts, **people, parts=parts)


@pytest.fixture
def market(deployed: SimpleNamespace, fn_isolation: None) -> SimpleNamespace:
    """The market as it was deployed; what a test does is undone."""
    return deployed


@pytest.fixture
def terms(market: SimpleNamespace, task: Task) -> Terms:
    return terms_for(market.limits, task, "http://requester/task", PRICE)


@pytest.fixture
def auctioned(market: SimpleNamespace, terms: Terms) -> Callable[..., int]:
    """Posts a task and lets people bid `name=(price, seconds)`; returns its id, awarded."""

    def run(**bids: tuple[int, int]) -> int:
        number = post(market.parts, terms, market.requester)
        sealed = {name: commit(market.parts, number, *bid, getattr(market, name)) for name, bid in bids.items()}
        wait_until(market.market.bidding(number)[1])
        for name, bid in sealed.items():
            reveal(market.parts, number, bid, getattr(market, name))
        chain.mine(timestamp=chain.time() + terms.reveal_time)
        market.market.award(number, {"from": market.requester})
        return number

    return run


def field(market: Any, number: int, name: str) -> Any:
    """A field of a task."""
    return market.market.task(number).dict()[name]
