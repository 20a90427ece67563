"""A town where cheats are played: real contracts, real workers, a task with every kind of node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.deployment import COIN
from offchain.chain.ganache import Ganache
from tests.support.deployment import PARAMETERS, Funded
from tests.support.town import Town

BOUNTY = COIN // 20


@pytest.fixture(scope="session")
def _cheated(ganache: Ganache, artifacts: dict[str, Any], one_thread: None) -> Funded:
    return Funded.build(ganache, replace(PARAMETERS, bounty=BOUNTY))


@pytest.fixture
def town(_cheated: Funded, snapshot: None, tmp_path: Path) -> Iterator[Town]:
    town = _cheated.seen_as(Town, folder=tmp_path)
    yield town
    town.close()
