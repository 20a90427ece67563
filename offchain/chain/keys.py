"""Reads the account's private key from a file or the environment. It never appears in arguments or logs."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eth_account import Account
from eth_account.signers.local import LocalAccount

from offchain.errors import BadInput
from offchain.plainfile import read_plain

KEY_VARIABLE: Final = "OFFCHAIN_KEY"
PASSWORD_VARIABLE: Final = "OFFCHAIN_KEY_PASSWORD"
MAX_FILE: Final = 1 << 16
ORDER: Final = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141  # of secp256k1's group


class BadKey(BadInput):
    """A private key is missing, malformed, or readable by others. The message never quotes what was read."""


def load_account(path: Path | None = None, environment: Mapping[str, str] | None = None) -> LocalAccount:
    """The account of a key file or, without a path, of the variable OFFCHAIN_KEY.

    The file holds 64 hex digits, or an encrypted key file (Web3 Secret Storage) whose password is in
    OFFCHAIN_KEY_PASSWORD.

    Raises:
        BadKey: there is no key, it is malformed, or others may read the file.
    """
    account: LocalAccount = Account.from_key(load_key(path, environment, KEY_VARIABLE, ORDER, "account"))
    return account


def load_key(
    path: Path | None, environment: Mapping[str, str] | None, variable: str, order: int, what: str = "key"
) -> bytes:
    """The 32 bytes of a private key of a group of that order, of a file or, without a path, of a variable.

    Raises:
        BadKey: as load_account.
    """
    variables = os.environ if environment is None else environment
    if path is None:
        if not variables.get(variable):
            raise BadKey(f"no {what}: name a key file, or set {variable}")
        return _from_hex(variables[variable], variable, order)
    text = _read(path)
    if text.startswith("{"):
        return _from_keystore(text, str(path), variables.get(PASSWORD_VARIABLE), order)
    return _from_hex(text, str(path), order)


def load_password(path: Path) -> str:
    """A password, from a file that others may not read; white space around it does not count. Raises BadKey."""
    if not (password := _read(path)):
        raise BadKey(f"{path}: empty; it must hold a password")
    return password


def _read(path: Path) -> str:
    try:
        raw = read_plain(path, MAX_FILE)
        if path.stat().st_mode & stat.S_IRWXO:
            raise BadKey(f"{path}: others may read it; run `chmod 600 {path}`")
        return raw.decode().strip()
    except OSError as error:
        raise BadKey(f"{path}: {error.strerror}") from error
    except UnicodeDecodeError:
        raise BadKey(f"{path}: not a key file") from None  # the cause would quote it


def _from_hex(text: str, where: str, order: int) -> bytes:
    digits = text.strip().removeprefix("0x")
    try:
        if len(digits) != 64 or not 0 < int(digits, 16) < order:
            raise ValueError
        return bytes.fromhex(digits)
    except Exception:  # the cause may quote the key
        raise BadKey(f"{where}: not a private key (64 hex digits)") from None


def _from_keystore(text: str, where: str, password: str | None, order: int) -> bytes:
    if password is None:
        raise BadKey(f"{where}: encrypted; put its password into {PASSWORD_VARIABLE}")
    try:
        key = bytes(Account.decrypt(json.loads(text), password))
        if len(key) != 32 or not 0 < int.from_bytes(key) < order:
            raise ValueError
    except Exception as error:  # the cause may quote the key; eth-keyfile says `MAC mismatch` of a wrong password
        wrong = isinstance(error, ValueError) and "mismatch" in str(error)
        raise BadKey(f"{where}: {'wrong password' if wrong else 'not a key file'}") from None
    return key
