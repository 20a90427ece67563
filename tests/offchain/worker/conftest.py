"""A town of workers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from offchain.chain.ganache import Ganache
from tests.support.deployment import Funded
from tests.support.town import Town


@pytest.fixture(scope="module")
def founded(ganache: Ganache) -> Funded:
    return Funded.kept(ganache)


@pytest.fixture
def town(founded: Funded, tmp_path: Path) -> Iterator[Town]:
    """The town as it was founded, whatever other tests did to the chain."""
    with founded.clock.undone():
        town = founded.seen_as(Town, folder=tmp_path)
        yield town
        town.close()
