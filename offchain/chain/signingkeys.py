"""The key that signs a verifier's tickets. It never appears in arguments or logs.

It lies beside the account's key file, under that file's name and `.bls`, and is encrypted where that is, with the same
password.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from offchain.bls.points import ORDER
from offchain.bls.signing import new_secret
from offchain.chain.keys import PASSWORD_VARIABLE, BadKey, load_account, load_key
from offchain.chain.keystores import is_encrypted, write_new

VARIABLE: Final = "OFFCHAIN_SIGNING_KEY"
SUFFIX: Final = ".bls"


def load_signing_key(account_file: Path | None = None, environment: Mapping[str, str] | None = None) -> int:
    """The secret that signs tickets: beside an account's key file or, without one, in OFFCHAIN_SIGNING_KEY.

    Raises:
        BadKey: as load_account.
    """
    path = None if account_file is None else signing_file(account_file)
    if path is not None and not path.exists():
        raise BadKey(f"{path}: no signing key yet; `offchain verifier enroll` makes one")
    return int.from_bytes(load_key(path, environment, VARIABLE, ORDER, "signing key"))


def make_signing_key(account_file: Path, environment: Mapping[str, str]) -> int:
    """A new secret, in a new file beside an account's key file that only its owner can read.

    Args:
        environment: what opens the account's file, if it is encrypted.

    Raises:
        BadKey: the account's key cannot be read, or there is a signing key already.
    """
    load_account(account_file, environment)  # the password is the right one
    secret = new_secret()
    text = secret.to_bytes(32).hex()
    if is_encrypted(account_file):
        locked = Account.encrypt(secret.to_bytes(32), environment[PASSWORD_VARIABLE])
        text = json.dumps({name: value for name, value in locked.items() if name != "address"})  # it is no account
    write_new(signing_file(account_file), text + "\n")
    return secret


def signing_file(account_file: Path) -> Path:
    """Where the signing key of an account is kept."""
    return account_file.with_name(account_file.name + SUFFIX)


def public_signing_key(account: LocalAccount) -> int:
    """The secret that goes with an account of a local chain, whose key everybody knows: computed from that."""
    return 1 + int.from_bytes(keccak(b"offchain.signing.1" + bytes(account.key))) % (ORDER - 1)
