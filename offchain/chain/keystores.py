"""Accounts with names: each an encrypted key file (Web3 Secret Storage) in one folder.

The file shows the account's address to whoever may read it; the key needs the password.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from web3 import Web3

from offchain.chain.keys import MAX_FILE, BadKey
from offchain.plainfile import open_plain, read_plain

SUFFIX: Final = ".json"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


def create(
    folder: Path, name: str, password: str, account: LocalAccount | None = None, iterations: int | None = None
) -> LocalAccount:
    """Encrypt an account, by default a new one, in a new file of that name that only its owner can read.

    Args:
        iterations: work of scrypt; by default as much as takes about a second.

    Raises:
        BadKey: the name is none, it is taken, the password is empty, or the file cannot be written.
    """
    path = file_of(folder, name)
    if not password:
        raise BadKey(f"{path}: an empty password protects nothing; choose one")
    account = account or Account.create()
    text = json.dumps(Account.encrypt(account.key, password, kdf="scrypt", iterations=iterations), indent=2)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise BadKey(f"{folder}: {error.strerror}") from error
    write_new(path, text + "\n")
    return account


def write_new(path: Path, secret: str) -> None:
    """Write a file that only its owner can read. Raises BadKey where there is one already, or none can be written."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise BadKey(f"{path}: {error.strerror}; an existing key is never overwritten") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(secret)


def named(folder: Path, name: str) -> Path:
    """The key file of an account. Raises BadKey where the name is none, or nobody has it."""
    path = file_of(folder, name)
    if not path.is_file():
        known = ", ".join(names(folder)) or "none"
        raise BadKey(f"no account {name!r} in {folder} (there are: {known}); `offchain account new {name}` makes it")
    return path


def names(folder: Path) -> list[str]:
    """The names that accounts have, in order."""
    found = (path.name.removesuffix(SUFFIX) for path in folder.glob(f"*{SUFFIX}"))
    return sorted(name for name in found if _NAME.fullmatch(name))


def is_encrypted(path: Path) -> bool:
    """Whether a key file needs a password. False for what cannot be read: whoever loads it says why."""
    try:
        with open_plain(path) as file:
            return file.read(64).lstrip().startswith(b"{")
    except OSError:
        return False


def address_in(path: Path) -> ChecksumAddress:
    """The address that an encrypted key file shows. Raises BadKey where it shows none."""
    try:
        shown = json.loads(read_plain(path, MAX_FILE))["address"]
        return Web3.to_checksum_address("0x" + shown.removeprefix("0x"))
    except OSError as error:
        raise BadKey(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BadKey(f"{path}: shows no address; its account is known once its password opens it") from None


def file_of(folder: Path, name: str) -> Path:
    """Where an account of that name is kept, or would be. Raises BadKey where the name is none."""
    if not _NAME.fullmatch(name):
        raise BadKey(f"{name!r} is no name for an account: letters, digits, and . _ - after the first; at most 64")
    return folder / f"{name}{SUFFIX}"
