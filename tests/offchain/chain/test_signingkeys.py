"""The key that signs tickets: it lies beside the account's, as open or as closed as that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from offchain.bls.points import ORDER
from offchain.chain.keys import BadKey
from offchain.chain.signingkeys import load_signing_key, make_signing_key, public_signing_key


@pytest.fixture
def account() -> LocalAccount:
    made: LocalAccount = Account.create()
    return made


def key_file(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def test_a_signing_key_beside_a_plain_account(tmp_path: Path, account: LocalAccount) -> None:
    path = key_file(tmp_path / "key", bytes(account.key).hex())
    with pytest.raises(BadKey, match="verifier enroll"):
        load_signing_key(path, {})
    secret = make_signing_key(path, {})
    assert load_signing_key(path, {}) == secret
    beside = tmp_path / "key.bls"
    assert beside.stat().st_mode & 0o777 == 0o600 and beside.read_text() == secret.to_bytes(32).hex() + "\n"
    with pytest.raises(BadKey, match="File exists"):
        make_signing_key(path, {})
    assert load_signing_key(path, {}) == secret
    beside.chmod(0o604)
    with pytest.raises(BadKey, match="chmod 600"):
        load_signing_key(path, {})


def test_a_signing_key_beside_an_encrypted_account(tmp_path: Path, account: LocalAccount) -> None:
    """It is encrypted, too, with the same password."""
    path = key_file(tmp_path / "key", json.dumps(Account.encrypt(account.key, "open", iterations=1 << 10)))
    for password in ({}, {"OFFCHAIN_KEY_PASSWORD": "sesame"}):
        with pytest.raises(BadKey):
            make_signing_key(path, password)
    opened = {"OFFCHAIN_KEY_PASSWORD": "open"}
    secret = make_signing_key(path, opened)
    text = (tmp_path / "key.bls").read_text()
    assert secret.to_bytes(32).hex() not in text and "address" not in json.loads(text)
    assert load_signing_key(path, opened) == secret
    with pytest.raises(BadKey, match="wrong password"):
        load_signing_key(path, {"OFFCHAIN_KEY_PASSWORD": "sesame"})


def test_a_signing_key_in_the_environment() -> None:
    assert load_signing_key(None, {"OFFCHAIN_SIGNING_KEY": "0x" + "1" * 64}) == int("1" * 64, 16)
    with pytest.raises(BadKey, match="OFFCHAIN_SIGNING_KEY"):
        load_signing_key(None, {})


@pytest.mark.parametrize("number", [0, ORDER, 2**256 - 1])
def test_a_signing_key_outside_of_the_group_is_refused(tmp_path: Path, account: LocalAccount, number: int) -> None:
    """An account's key may lie above the order of the group that tickets are signed in."""
    path = key_file(tmp_path / "key", bytes(account.key).hex())
    key_file(tmp_path / "key.bls", number.to_bytes(32).hex())
    with pytest.raises(BadKey, match="not a private key"):
        load_signing_key(path, {})


def test_accounts_of_local_chains_have_signing_keys_that_everybody_knows(account: LocalAccount) -> None:
    secret = public_signing_key(account)
    assert 0 < secret < ORDER and secret == public_signing_key(account) != public_signing_key(Account.create())
