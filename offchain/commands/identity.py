"""Who signs: an account with a name, a key file, a variable, or an account of the local chain."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from web3 import Web3

from offchain.chain import keystores
from offchain.chain.ganache import ACCOUNTS, CHAIN_ID, local_account
from offchain.chain.keys import KEY_VARIABLE, PASSWORD_VARIABLE, BadKey, load_account, load_password
from offchain.commands.settings import config_folder
from offchain.errors import BadInput

LOCAL_CHAINS: Final = (CHAIN_ID, 31337)  # Ganache's and Hardhat's: what their accounts hold is worth nothing
SOURCES: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT, ParameterSource.DEFAULT_MAP)
FLAGS: Final = {"key_file": "--key", "account_name": "--account", "dev_account": "--dev-account"}
VARIABLES: Final = {"key_file": "OFFCHAIN_KEY_FILE", "account_name": "OFFCHAIN_ACCOUNT",
                    "dev_account": "OFFCHAIN_DEV_ACCOUNT"}  # fmt: skip

F = TypeVar("F", bound=Any)


@dataclass(frozen=True)
class Identity:
    """What the options of `identity_options` say; `key_file` is also that of an account with a name."""

    key_file: Path | None = None
    dev_account: int | None = None
    password_file: Path | None = None

    @cached_property
    def account(self) -> LocalAccount:
        """The account that signs. Raises BadKey if no usable key is named."""
        if self.dev_account is not None:
            return dev_account(self.dev_account)
        if self.key_file is None and not os.environ.get(KEY_VARIABLE):
            raise BadKey(
                f"no account: --account NAME, --key FILE or {KEY_VARIABLE} says who signs, on a local chain "
                "--dev-account N; `offchain account new NAME` makes an account"
            )
        _require_known(self.key_file)
        if self.key_file is None or not keystores.is_encrypted(self.key_file):
            return load_account(self.key_file)
        return load_account(self.key_file, self.variables)

    @cached_property
    def variables(self) -> Mapping[str, str]:
        """What opens the files of an encrypted key, as `load_account` takes it. Raises BadKey.

        Kept with the account, so that a password is asked for once, and goes along to the process of the defence.
        """
        if self.key_file is None or not keystores.is_encrypted(self.key_file):
            return {}
        return {PASSWORD_VARIABLE: password_of(self.key_file, self.password_file)}

    @property
    def given(self) -> bool:
        """Whether anything says who signs."""
        return self.key_file is not None or self.dev_account is not None or bool(os.environ.get(KEY_VARIABLE))

    @property
    def address(self) -> ChecksumAddress:
        """The account's address; an encrypted key need not be opened for it. Raises BadKey."""
        _require_known(self.key_file)
        if self.key_file is not None and keystores.is_encrypted(self.key_file):
            return keystores.address_in(self.key_file)
        return Web3.to_checksum_address(self.account.address)

    def require_fit(self, chain_id: int) -> None:
        """Warns of a key that lies open where money is worth something. Raises BadInput for one that is public."""
        if chain_id in LOCAL_CHAINS:
            return
        if self.dev_account is not None:
            raise BadInput(
                f"--dev-account {self.dev_account}: everybody knows its key, and this is chain {chain_id}, not a local "
                "one; use --account"
            )
        if self.key_file is not None and not keystores.is_encrypted(self.key_file):
            warn(
                f"{self.key_file}: the key is not encrypted; `offchain account new NAME --from {self.key_file}` "
                "makes an encrypted copy for --account NAME"
            )


def _require_known(key_file: Path | None) -> None:
    """Raises BadKey, which lists the accounts that there are, for the key file of a name that nobody has."""
    if key_file is not None and key_file.parent == accounts_folder():
        keystores.named(key_file.parent, key_file.name.removesuffix(keystores.SUFFIX))


def warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def dev_account(number: int) -> LocalAccount:
    """Account `number` of the local chain. Raises BadInput."""
    if not 0 <= number < ACCOUNTS:
        raise BadInput(f"--dev-account must be 0 to {ACCOUNTS - 1}, and is {number}")
    return local_account(number)


def accounts_folder() -> Path:
    """Where accounts with names are kept."""
    return config_folder() / "accounts"


def password_of(key_file: Path, password_file: Path | None, new: bool = False) -> str:
    """The password of an encrypted key file: from a file, a variable, or whoever sits at the terminal.

    Args:
        new: whether it is chosen now, and asked for twice.

    Raises:
        BadKey: there is none.
    """
    if password_file is not None:
        return load_password(password_file)
    if PASSWORD_VARIABLE in os.environ:
        return os.environ[PASSWORD_VARIABLE]
    if not sys.stdin.isatty():
        raise BadKey(
            f"{key_file}: no password, and no terminal to ask for it; name a file with --password-file, or set "
            f"{PASSWORD_VARIABLE}"
        )
    asked: str = click.prompt(f"Password of {key_file.stem}", hide_input=True, confirmation_prompt=new, err=True)
    return asked


def address_of(text: str, chain_id: int) -> ChecksumAddress:
    """The account that is meant by an address, by a name, or on a local chain by a number. Raises BadInput."""
    if text.isdigit():
        if chain_id not in LOCAL_CHAINS:
            raise BadInput(f"{text}: accounts have numbers on local chains only; this is chain {chain_id}")
        return Web3.to_checksum_address(dev_account(int(text)).address)
    if not text.lower().startswith("0x"):
        return keystores.address_in(keystores.named(accounts_folder(), text))
    if not Web3.is_address(text):
        raise BadInput(f"{text}: not an address: it needs 40 hex digits after 0x")
    address = Web3.to_checksum_address(text)
    digits = text[2:]
    if digits not in (address[2:], digits.lower(), digits.upper()):
        raise BadInput(f"{text}: not an address: its capitals do not fit, so a letter is mistyped")
    return address


def password_option(command: F) -> F:
    """Adds --password-file, passed as `password_file`."""
    decorated: F = click.option(
        "--password-file", envvar="OFFCHAIN_PASSWORD_FILE", type=click.Path(path_type=Path, dir_okay=False),
        help=f"File with the key's password; else {PASSWORD_VARIABLE}, else you are asked.",
    )(command)  # fmt: skip
    return decorated


def identity_options(command: F) -> F:
    """Adds the options that say who signs, and passes an `Identity` as `identity`."""

    @click.option("--account", "account_name", metavar="NAME", envvar=VARIABLES["account_name"],
                  help="Account that signs, as `offchain account new` names it.")  # fmt: skip
    @click.option("--key", "key_file", envvar=VARIABLES["key_file"], type=click.Path(path_type=Path, dir_okay=False),
                  help=f"Or a file with its private key; or {KEY_VARIABLE}.")  # fmt: skip
    @click.option("--dev-account", type=int, metavar="N", envvar=VARIABLES["dev_account"],
                  help="Or account N of the local chain, whose keys are public.")  # fmt: skip
    @password_option
    @wraps(command)
    def wrapped(
        account_name: str | None,
        key_file: Path | None,
        dev_account: int | None,
        password_file: Path | None,
        **options: Any,
    ) -> Any:
        given = {"account_name": account_name, "key_file": key_file, "dev_account": dev_account}
        identity = _identity(given, password_file)
        return command(identity=identity, **options)

    return wrapped  # type: ignore[return-value]


def _identity(given: Mapping[str, Any], password_file: Path | None) -> Identity:
    """The identity that the strongest source names: flags, then variables, then settings. Raises BadInput."""
    context = click.get_current_context()
    if context.get_parameter_source("password_file") is ParameterSource.DEFAULT_MAP and PASSWORD_VARIABLE in os.environ:
        password_file = None
    for source in SOURCES:
        chosen = {name: value for name, value in given.items()
                  if value is not None and context.get_parameter_source(name) is source}  # fmt: skip
        words = [(VARIABLES if source is ParameterSource.ENVIRONMENT else FLAGS)[name] for name in chosen]
        variable = source is ParameterSource.ENVIRONMENT and bool(os.environ.get(KEY_VARIABLE))
        words += [KEY_VARIABLE] if variable else []
        if len(words) > 1:
            raise BadInput(f"{' and '.join(words)} name two accounts; give one")
        if words:
            name = chosen.get("account_name")
            file = keystores.file_of(accounts_folder(), name) if name is not None else chosen.get("key_file")
            return Identity(file, chosen.get("dev_account"), password_file)
    return Identity()
