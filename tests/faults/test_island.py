"""What stories of faults rely on: a node that is started again has its chain and clock, whatever failed on the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.rpc import connect
from offchain.demo.stage import HEARTBEAT
from offchain.errors import ChainUnavailable
from tests.faults.island import Island

SKIPPED = 1_000  # seconds


@pytest.fixture
def island(tmp_path: Path) -> Iterator[Island]:
    """A node with nobody around it."""
    island = Island(tmp_path)
    island.ganache.start()
    island.w3 = connect(island.ganache.url)
    yield island
    island.ganache.stop()


def is_right(island: Island) -> bool:
    return 0 <= time.time() + SKIPPED - island.now() < 3


@pytest.mark.slow
def test_a_node_that_is_started_again_has_its_chain_and_its_clock(island: Island) -> None:
    island.skip(SKIPPED)
    blocks = island.w3.eth.block_number
    island.kill_node()
    island.start_node()
    assert island.w3.eth.block_number == blocks + 1 and is_right(island)


@pytest.mark.slow
def test_a_heartbeat_winds_a_clock_up_that_a_busy_node_did_not_wind(
    island: Island, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a leap, or after a new start."""

    def busy(method: str, *arguments: Any) -> Any:
        raise ChainUnavailable("no answer")

    with monkeypatch.context() as patched:
        patched.setattr(island, "ask_node", busy)
        with pytest.raises(ChainUnavailable):
            island.skip(SKIPPED)
        assert not is_right(island)
    island.heartbeat()
    assert is_right(island)
    with monkeypatch.context() as patched:
        patched.setattr(island, "ask_node", busy)
        island.kill_node()
        with pytest.raises(ChainUnavailable):
            island.start_node()
    time.sleep(1.1 * HEARTBEAT)
    island.heartbeat()
    assert is_right(island)


@pytest.mark.slow
def test_a_node_is_stuck_that_keeps_what_it_should_have_mined(island: Island) -> None:
    """A transaction whose turn it is, seen twice."""
    sender, other = island.w3.eth.accounts[:2]
    assert not island.is_stuck()
    island.ask_node("miner_stop")
    island.ask_node("eth_sendTransaction", {"from": sender, "to": other, "gas": hex(21_000)})
    assert not island.is_stuck()
    assert island.is_stuck()
    island.ask_node("miner_start")
    time.sleep(1)
    assert not island.is_stuck()
