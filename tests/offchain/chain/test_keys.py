"""Keys from a file or the environment: which are accepted, and that no message quotes one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eth_account import Account
from eth_account.signers.local import LocalAccount

from offchain.chain.keys import BadKey, load_account


@pytest.fixture
def account() -> LocalAccount:
    made: LocalAccount = Account.create()
    return made


def key_file(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_key_from_file_or_environment(tmp_path: Path, account: LocalAccount) -> None:
    digits = bytes(account.key).hex()
    for text in (digits, f"0x{digits}\n"):
        assert load_account(key_file(tmp_path / "key", text), {}).address == account.address
    assert load_account(None, {"OFFCHAIN_KEY": digits}).address == account.address
    locked = json.dumps(Account.encrypt(account.key, "open", iterations=1 << 10))
    path = key_file(tmp_path / "locked", locked)
    assert load_account(path, {"OFFCHAIN_KEY_PASSWORD": "open"}).address == account.address
    with pytest.raises(BadKey, match="wrong password"):
        load_account(path, {"OFFCHAIN_KEY_PASSWORD": "sesame"})
    with pytest.raises(BadKey, match="encrypted"):
        load_account(path, {})


@pytest.mark.parametrize(
    "text", ["", "5", "secret words", "0x" + "g" * 64, "0" * 64, "f" * 64, '{"secret": 1}', "\xff"]
)
def test_malformed_key_is_refused_and_not_quoted(tmp_path: Path, text: str) -> None:
    with pytest.raises(BadKey) as caught:
        load_account(key_file(tmp_path / "key", text), {"OFFCHAIN_KEY_PASSWORD": "x"})
    assert "secret" not in str(caught.value)
    assert len(text) < 10 or text not in str(caught.value)


def test_key_that_others_may_read_is_refused(tmp_path: Path, account: LocalAccount) -> None:
    path = key_file(tmp_path / "key", bytes(account.key).hex(), 0o644)
    with pytest.raises(BadKey, match="chmod 600"):
        load_account(path, {})


def test_missing_key_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match="No such file"):
        load_account(tmp_path / "none", {})
    with pytest.raises(BadKey, match="Is a directory"):
        load_account(tmp_path, {})
    with pytest.raises(BadKey, match="OFFCHAIN_KEY"):
        load_account(None, {})
