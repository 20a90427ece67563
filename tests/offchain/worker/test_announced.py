"""A worker's address stays the same, the register has the present one, and one that nobody can reach is warned of."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

import pytest

from offchain.chain.register import Entry, entry_of
from offchain.market.view import SOLVER, VERIFIER
from offchain.store.serve import BlobServer, ServeOptions
from offchain.worker import announced
from offchain.worker.alarms import AddressUnfit
from offchain.worker.operate import register
from tests.support.town import Town

BOTH = SOLVER | VERIFIER


def restarted(town: Town, **options: Any) -> str:
    """The address of a worker that starts, enters the register and ends."""
    worker = town.worker("one", "stranger", "solver", "verifier", **options)
    register(worker)
    town.dismiss("one")
    return worker.materials.blobs.base or ""


def test_the_port_of_the_last_start_is_taken_again_and_the_register_has_it(town: Town) -> None:
    first, chain = restarted(town), town.quick("stranger")
    assert entry_of(chain) == Entry(BOTH, first)
    sent = town.w3.eth.get_transaction_count(town.address("stranger"))
    assert restarted(town) == first
    assert town.w3.eth.get_transaction_count(town.address("stranger")) == sent  # nothing has changed
    with BlobServer(town.folder, "127.0.0.1", int(first.rpartition(":")[2])):
        second = restarted(town)
    assert second != first and entry_of(chain) == Entry(BOTH, second)
    assert restarted(town) == second
    assert restarted(town, public_url="http://127.0.0.1:7/there") == "http://127.0.0.1:7/there"
    assert entry_of(chain) == Entry(BOTH, "http://127.0.0.1:7/there")


def test_a_port_that_is_named_is_taken_or_refused(town: Town) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
    assert restarted(town, listen=("127.0.0.1", port)) == f"http://127.0.0.1:{port}"
    assert restarted(town) == f"http://127.0.0.1:{port}"  # it is the last one


@pytest.mark.parametrize("text", ["", "x", "-1", "99999999", "1" * 400, "0"])
def test_a_damaged_note_of_the_port_costs_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / announced.FILE).write_text(text)
    with announced.server(tmp_path, tmp_path, ("127.0.0.1", 0), ServeOptions()) as server:
        assert server.port and (tmp_path / announced.FILE).read_text() == f"{server.port}\n"


def test_addresses_that_nobody_can_reach_are_warned_of(town: Town) -> None:
    restarted(town)
    assert town.told(AddressUnfit) == []  # the chain is on this machine, too
    restarted(town, listen=("0.0.0.0", 0))
    restarted(town, public_url="http://127.0.0.1:7/there")
    anywhere, closed = town.told(AddressUnfit)
    assert anywhere.why.startswith("names no machine") and "--public-url" in anywhere.why
    assert closed.url == "http://127.0.0.1:7/there" and closed.why.startswith("does not answer from here")
    assert "\n" not in f"{anywhere}{closed}"


def test_loopback_is_no_address_where_the_chain_is_elsewhere(tmp_path: Path) -> None:
    with BlobServer(tmp_path) as server:
        assert announced.doubt(server.url, local=True) is None
        assert "the chain is elsewhere" in str(announced.doubt(server.url, local=False))
        for host in ("localhost", "[::1]", "127.9.9.9"):
            assert "this machine alone" in str(announced.doubt(f"http://{host}:{server.port}", local=False))
    for url in ("http://[::]:9000", "http://0.0.0.0:9000/x"):
        assert "names no machine" in str(announced.doubt(url, local=True))
    assert "does not answer" in str(announced.doubt(server.url, local=True))
    assert "does not answer" in str(announced.doubt("not an address", local=True))
