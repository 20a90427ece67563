"""Arenas for disputes, and the gas that disputes may use."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.ganache import Ganache
from tests.support.arena import Arena
from tests.support.deployment import Funded
from tests.support.everything import everything, tiny
from tests.support.players import Played

SNAPSHOT = Path(__file__).with_name("gas.json")
TOLERANCE = 0.05


@pytest.fixture(scope="session")
def _people(ganache: Ganache, artifacts: dict[str, Any], one_thread: None) -> Funded:
    """Everything deployed, and everybody funded; no task."""
    return Funded.build(ganache)


@pytest.fixture(scope="session")
def _everything(_people: Funded) -> Arena:
    return _people.seen_as(Arena, work=everything())


@pytest.fixture(scope="session")
def _many_nodes(_people: Funded) -> Arena:
    return _people.seen_as(Arena, work=everything(extra_maps=300))


@pytest.fixture(scope="session")
def _many_steps(_people: Funded) -> Arena:
    return _people.seen_as(Arena, work=tiny())


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
