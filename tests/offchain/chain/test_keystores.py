"""Accounts with names: encrypted files that are found, listed and opened, and never written over."""

from __future__ import annotations

from pathlib import Path

import pytest
from eth_account import Account

from offchain.chain.keys import BadKey, load_account, load_password
from offchain.chain.keystores import address_in, create, is_encrypted, named, names

QUICK = 1 << 10  # of scrypt


def test_a_named_account_opens_with_its_password_only(tmp_path: Path) -> None:
    folder = tmp_path / "accounts"
    made = create(folder, "worker", "sesame", iterations=QUICK)
    path = named(folder, "worker")
    assert (folder.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    assert is_encrypted(path)
    assert address_in(path) == made.address
    assert load_account(path, {"OFFCHAIN_KEY_PASSWORD": "sesame"}).key == made.key
    with pytest.raises(BadKey, match=r"worker.json: wrong password"):
        load_account(path, {"OFFCHAIN_KEY_PASSWORD": "simsim"})
    assert bytes(made.key).hex() not in path.read_text()


def test_names_are_listed_and_never_taken_twice(tmp_path: Path) -> None:
    assert names(tmp_path) == []
    given = Account.create()
    create(tmp_path, "b", "x", given, QUICK)
    create(tmp_path, "a.b", "x", iterations=QUICK)
    assert names(tmp_path) == ["a.b", "b"]
    assert address_in(named(tmp_path, "b")) == given.address
    with pytest.raises(BadKey, match="never overwritten"):
        create(tmp_path, "b", "x", iterations=QUICK)
    assert address_in(named(tmp_path, "b")) == given.address
    with pytest.raises(BadKey, match=r"no account 'c' .*there are: a.b, b.*account new c"):
        named(tmp_path, "c")


@pytest.mark.parametrize("name", ["", "../me", "a/b", ".hidden", "-o", "a" * 65])
def test_a_name_is_no_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadKey, match="no name for an account"):
        create(tmp_path, name, "x", iterations=QUICK)
    assert list(tmp_path.iterdir()) == []


def test_an_empty_password_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadKey, match="empty password"):
        create(tmp_path, "me", "", iterations=QUICK)


def test_a_password_comes_from_a_file_that_others_may_not_read(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("open sesame\n")
    file.chmod(0o600)
    assert load_password(file) == "open sesame"
    file.chmod(0o644)
    with pytest.raises(BadKey, match="chmod 600"):
        load_password(file)
    file.write_text("\n")
    file.chmod(0o600)
    with pytest.raises(BadKey, match="empty"):
        load_password(file)
    with pytest.raises(BadKey, match="No such file"):
        load_password(tmp_path / "none")
