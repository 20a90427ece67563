"""The local chain has the fork and the accounts that it should have, keeps its database, and ends cleanly."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from web3 import Web3

from offchain.chain import ganache as module
from offchain.chain.ganache import CHAIN_ID, Ganache, GanacheError


def connect(chain: Ganache) -> Web3:
    return Web3(Web3.HTTPProvider(chain.url))


def test_session_chain_is_shanghai_with_large_blocks(w3: Web3, keys: list) -> None:
    block = w3.eth.get_block("latest")
    assert "withdrawalsRoot" in block  # shanghai brought it
    assert block["gasLimit"] == 30_000_000
    assert w3.eth.chain_id == CHAIN_ID
    assert [key.address for key in keys] == w3.eth.accounts


def test_snapshot_undoes_a_transfer(w3: Web3, deployer: str) -> None:
    before = w3.eth.get_balance(deployer)
    taken = w3.provider.make_request("evm_snapshot", [])["result"]
    w3.eth.send_transaction({"to": w3.eth.accounts[1], "value": 1})
    assert w3.eth.get_balance(deployer) < before
    w3.provider.make_request("evm_revert", [taken])
    assert w3.eth.get_balance(deployer) == before


def test_a_database_that_cannot_be_opened_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(GanacheError) as refused:
        Ganache(database=tmp_path / "file" / "chain").start()
    said = str(refused.value)
    assert "\n" not in said and re.match(r"Ganache did not start on port \d+: \w*Error: ", said)
    assert said.endswith(f"; another chain may use {tmp_path / 'file' / 'chain'}, or it cannot be written")


def test_database_keeps_the_chain(tmp_path: Path) -> None:
    with Ganache(database=tmp_path / "chain", accounts_count=2) as chain:
        web3 = connect(chain)
        sender, receiver = web3.eth.accounts
        web3.eth.send_transaction({"from": sender, "to": receiver, "value": 5})
        balance = web3.eth.get_balance(receiver)
    with Ganache(database=tmp_path / "chain", accounts_count=2) as chain:
        assert connect(chain).eth.block_number == 1
        assert connect(chain).eth.get_balance(receiver) == balance
    assert not chain.running


def test_occupied_port_is_refused(ganache: Ganache) -> None:
    with pytest.raises(GanacheError, match="is taken: Address already in use; name another one with --port"):
        Ganache(port=ganache.port).start()
    assert ganache.running


def test_missing_ganache_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda *_, **__: None)
    with pytest.raises(GanacheError, match="make setup"):
        Ganache().start()
