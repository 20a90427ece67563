"""The market in two versions: with the real dispute game, and with an account that plays the game."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from web3 import Web3

from offchain.chain.ganache import Ganache
from tests.support.deployment import PARAMETERS
from tests.support.keeping import Sitting, several, sit
from tests.support.vouching import enter
from tests.support.world import World

SNAPSHOT = Path(__file__).with_name("gas.json")
TOLERANCE = 0.02


@pytest.fixture(scope="session")
def deployed(ganache: Ganache, artifacts: dict[str, Any]) -> World:
    return World.raw(ganache)


@pytest.fixture(scope="session")
def deployed_market(ganache: Ganache, w3: Web3, artifacts: dict[str, Any]) -> World:
    referee = w3.eth.accounts[9]
    return World.raw(ganache, {"game": referee, "verifier": referee})


@pytest.fixture
def world(deployed: World, snapshot: None) -> World:
    """Everything deployed, wired and funded. The chain's own clock runs, and mines at once."""
    return deployed


@pytest.fixture
def market_world(deployed_market: World, snapshot: None) -> Iterator[World]:
    """The same, but the game is a plain account, and only the test moves the clock."""
    with deployed_market.clock.stopped():
        yield deployed_market


@pytest.fixture(scope="session")
def deployed_with_fees(ganache: Ganache, w3: Web3, artifacts: dict[str, Any]) -> World:
    referee = w3.eth.accounts[9]
    fees = replace(PARAMETERS, fee_bps=100, standby_bps=200)
    return World.raw(ganache, {"game": referee, "verifier": referee}, fees)


@pytest.fixture
def fee_world(deployed_with_fees: World, snapshot: None) -> Iterator[World]:
    """A `market_world` whose deployment burns 1 % of pay, and pays a standby 2 % beside it."""
    with deployed_with_fees.clock.stopped():
        yield deployed_with_fees


@pytest.fixture(scope="module")
def _verified(deployed_market: World) -> Iterator[World]:
    with deployed_market.clock.undone(), deployed_market.clock.stopped():
        enter(deployed_market)
        yield deployed_market


@pytest.fixture
def audit_world(_verified: World, snapshot: None) -> World:
    """A `market_world` with three verifiers, who are always drawn at the highest rate."""
    return _verified


@pytest.fixture(scope="module")
def _sitting(_verified: World) -> Iterator[Sitting]:
    with _verified.clock.undone():
        yield sit(_verified, several, interval_time=10_000)


@pytest.fixture
def sitting(_sitting: Sitting, snapshot: None) -> Sitting:
    """A task of an `audit_world` whose committee sits, none of whose three members is a quorum alone."""
    return _sitting


@pytest.fixture
def kept(sitting: Sitting) -> Sitting:
    """The same, with a committed checkpoint."""
    sitting.world.commit(sitting.task, 0)
    return sitting


@pytest.fixture
def auditor(audit_world: World) -> Any:
    return audit_world.auditor


@dataclass
class GasSnapshot:
    """Gas of verbs against the committed file. `UPDATE_GAS=1` rewrites the entries that a run has seen."""

    committed: dict[str, int]
    seen: dict[str, int] = field(default_factory=dict)

    def check(self, verb: str, used: int) -> None:
        self.seen[verb] = used
        if "UPDATE_GAS" in os.environ:
            return
        assert verb in self.committed, f"{verb} uses {used:,} gas and is not in {SNAPSHOT.name}: run with UPDATE_GAS=1"
        expected = self.committed[verb]
        assert abs(used - expected) <= TOLERANCE * expected, f"{verb} uses {used:,} gas, not {expected:,}"


@pytest.fixture(scope="session")
def gas_snapshot() -> Iterator[GasSnapshot]:
    snapshot = GasSnapshot(json.loads(SNAPSHOT.read_text()) if SNAPSHOT.exists() else {})
    yield snapshot
    if "UPDATE_GAS" in os.environ:
        SNAPSHOT.write_text(json.dumps(snapshot.committed | snapshot.seen, indent=2, sort_keys=True) + "\n")
