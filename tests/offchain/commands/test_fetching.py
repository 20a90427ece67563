"""What an operator says about strangers' files and connections."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from offchain.commands.common import Connection, connection_options
from offchain.commands.fetching import GIB, Traffic, fetching, traffic_options
from offchain.errors import BadInput
from offchain.store.addresses import WEB


def traffic(*arguments: str) -> Traffic:
    found: list[Traffic] = []

    @click.command()
    @connection_options
    @traffic_options
    def command(connection: Connection, traffic: Traffic) -> None:
        found.append(traffic)

    result = CliRunner().invoke(command, arguments, catch_exceptions=False, standalone_mode=False)
    assert result.exit_code == 0, result.output
    return found[0]


@pytest.mark.parametrize(
    ("rpc", "private"),
    [
        ("http://127.0.0.1:8545", True),
        ("http://localhost:8545", True),
        ("http://[::1]:8545", True),
        ("http://10.0.0.5:8545", False),
        ("https://node.example/key", False),
    ],
)
def test_private_addresses_are_allowed_on_a_local_chain(rpc: str, private: bool) -> None:
    assert traffic("--rpc", rpc).fetch.private is private
    assert traffic("--rpc", rpc, "--allow-private").fetch.private
    assert fetching(Connection(rpc, Path("x"), None, None), allow_private=False).private is private


def test_limits() -> None:
    said = traffic("--max-file", "2", "--disk-reserve", "0.5", "--least-rate", "64", "--clients", "9")
    assert (said.fetch.max_bytes, said.fetch.reserve) == (2 * GIB, GIB // 2)
    assert said.fetch.least_rate == said.serve.least_rate == 64 << 10
    assert said.serve.clients == 9
    assert said.fetch.schemes == WEB


def test_schemes_are_allowed_one_by_one_and_never_those_that_lead_elsewhere() -> None:
    assert traffic("--scheme", "s3", "--scheme", "gs").fetch.schemes == WEB | {"s3", "gs"}
    with pytest.raises(BadInput, match="never"):
        traffic("--scheme", "simplecache")
