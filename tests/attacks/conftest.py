"""Where attacks are tried: real contracts, real workers, people with money. Each test ends by counting it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.deployment import COIN
from offchain.chain.ganache import Ganache
from tests.support.arena import Arena
from tests.support.deployment import PARAMETERS, Funded
from tests.support.everything import everything
from tests.support.town import Town

REAL = replace(PARAMETERS, bounty=COIN // 10)  # a dispute takes a fiftieth of a coin here
PRICE = 10 * COIN


@pytest.fixture(scope="session")
def _people(ganache: Ganache, artifacts: dict[str, Any], one_thread: None) -> Funded:
    """Everything deployed, and everybody funded; no task."""
    return Funded.kept(ganache, REAL)


@pytest.fixture(scope="session")
def _arena(ganache: Ganache, artifacts: dict[str, Any], one_thread: None) -> Arena:
    """Contracts of its own: its task has money in pots before a story begins."""
    return Funded.build(ganache, REAL).seen_as(Arena, work=everything(), price=PRICE)


@pytest.fixture
def place(_people: Funded, snapshot: None) -> Funded:
    """Contracts and people, without workers or tasks."""
    return _people


@pytest.fixture
def town(_people: Funded, snapshot: None, tmp_path: Path) -> Iterator[Town]:
    """Workers on real contracts, moved by hand: `town.worker(…)`, `town.until(…)`."""
    town = _people.seen_as(Town, folder=tmp_path)
    yield town
    town.close()


@pytest.fixture
def arena(_arena: Arena, snapshot: None) -> Arena:
    """A dispute by hand: a task of every node kind, two intervals of four steps, checkpoint 0 committed and right."""
    return _arena
