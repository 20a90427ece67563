"""A deployment with fees, as the command line finds it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from offchain.chain.ganache import Ganache
from tests.support.deployment import PARAMETERS, Funded


@dataclass
class Counter(Funded):
    """A funded deployment whose fees count; the requester's options of the command line."""

    folder: Path

    @property
    def options(self) -> list[str]:
        """How a command reaches the chain as the requester."""
        return ["--rpc", self.url, "--deployment", str(self.file("deployment.json")), "--key", str(self.file("me.key"))]

    def file(self, name: str) -> Path:
        return self.folder / name


@pytest.fixture(scope="module")
def founded(ganache: Ganache) -> Funded:
    return Funded.kept(ganache, replace(PARAMETERS, fee_bps=100, standby_bps=200, bidding_time=5, clock=30))


@pytest.fixture
def counter(founded: Funded, tmp_path: Path) -> Iterator[Counter]:
    """As it was founded, whatever other tests did to the chain."""
    counter = founded.seen_as(Counter, folder=tmp_path)
    counter.deployment.write(counter.file("deployment.json"))
    key = counter.file("me.key")
    key.write_text(counter.accounts["requester"].key.hex())
    key.chmod(0o600)
    with founded.clock.undone():
        yield counter
