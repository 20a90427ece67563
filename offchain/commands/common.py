"""What several commands share: the account and the chain, amounts of money, tables."""

from __future__ import annotations

import json
import os
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cached_property, wraps
from pathlib import Path
from threading import Timer
from typing import Any, Final, TypeVar

import click
from eth_account.signers.local import LocalAccount
from eth_typing import ChecksumAddress
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from web3 import Web3

from offchain.chain.client import Chain
from offchain.chain.deployment import Deployment
from offchain.chain.onlooker import Onlooker
from offchain.chain.signingkeys import load_signing_key, make_signing_key, public_signing_key, signing_file
from offchain.chain.transactions import SendOptions
from offchain.commands.identity import Identity, identity_options
from offchain.commands.settings import settings_option
from offchain.errors import BadInput
from offchain.market.money import DECIMALS
from offchain.market.view import NOBODY
from offchain.store.tensorfile import check_writable

DEPLOYMENT_FILE: Final = "deployment.json"
LOCAL_URL: Final = "http://127.0.0.1:8545"
INDENT: Final = 2  # columns, of what continues a line
PATIENCE: Final = 2.0  # seconds until a clock is shown

F = TypeVar("F", bound=Callable[..., Any])


class Tokens(click.ParamType[int]):
    """An amount such as 12.5, in whole tokens; becomes an integer of the smallest unit."""

    name = "tokens"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            amount = Decimal(value)
        except InvalidOperation:
            amount = Decimal(-1)
        if amount.is_nan() or amount < 0:
            self.fail(f"{value!r} is not an amount of tokens, such as 12.5", param, ctx)
        if amount >= Decimal(2**128).scaleb(-DECIMALS):
            self.fail(f"{value!r} is more than there can be of any token", param, ctx)
        units = amount.scaleb(DECIMALS)
        if units != units.to_integral_value():
            self.fail(f"{value!r} has more than {DECIMALS} decimals, and tokens have {DECIMALS}", param, ctx)
        return int(units)


TOKENS: Final = Tokens()
TASK: Final = click.IntRange(0, 2**64 - 1)  # a task's number


class HostPort(click.ParamType[tuple[str, int]]):
    """HOST:PORT; where there is a usual host, PORT alone too."""

    name = "host:port"

    def __init__(self, usual: str = "") -> None:
        self._usual = usual

    def convert(
        self, value: str | tuple[str, int], param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int]:
        if isinstance(value, tuple):
            return value
        host, _, port = value.rpartition(":")
        host = host or self._usual
        if not host or not port.isdigit() or int(port) > 65535:
            self.fail(f"{value!r} is not HOST:PORT, such as 0.0.0.0:9000", param, ctx)
        return host.strip("[]"), int(port)


@dataclass(frozen=True)
class Connection:
    """What the options of `connection_options` say."""

    url: str
    deployment_file: Path
    key_file: Path | None
    dev_account: int | None
    password_file: Path | None = None

    @cached_property
    def identity(self) -> Identity:
        """Who signs. Kept, so that a password is asked for once."""
        return Identity(self.key_file, self.dev_account, self.password_file)

    def account(self) -> LocalAccount:
        """The account that signs. Raises BadKey if no usable key is named."""
        return self.identity.account

    def signing_key(self, make: bool = False) -> int:
        """The secret that signs the account's tickets. `make`: where it has a key file and no secret yet, make one.

        Raises BadKey.
        """
        if self.dev_account is not None:
            return public_signing_key(self.account())
        if self.key_file is None:
            return load_signing_key()
        if make and not signing_file(self.key_file).exists():
            return make_signing_key(self.key_file, self.identity.variables)
        return load_signing_key(self.key_file, self.identity.variables)

    def chain(
        self, signing: bool = True, send: SendOptions | None = None, looking_at: ChecksumAddress | None = None
    ) -> Chain:
        """The deployment, after a check that it is on this chain.

        Args:
            signing: whether an account is needed. Without one the chain is read as `looking_at` or nobody sees it.
            send: how transactions are sent.
        """
        deployment = Deployment.read(self.deployment_file)
        if signing:
            self.identity.require_fit(deployment.chain_id)
            chain = Chain(self.url, deployment, self.account(), send)
        else:
            chain = Chain(self.url, deployment, sender=Onlooker(looking_at or Web3.to_checksum_address(NOBODY)))
        chain.check()
        return chain


def connection_options(command: F) -> F:
    """Adds the options of a `Connection`, and passes one as `connection`."""

    @click.option(
        "--rpc", envvar="OFFCHAIN_RPC", default=LOCAL_URL, show_default=True, help="JSON-RPC address of a node."
    )
    @click.option(
        "--deployment", "deployment_file", envvar="OFFCHAIN_DEPLOYMENT", default=DEPLOYMENT_FILE, show_default=True,
        type=click.Path(path_type=Path, dir_okay=False), help="Addresses, as `offchain deploy` writes them.",
    )  # fmt: skip
    @identity_options
    @settings_option
    @wraps(command)
    def wrapped(rpc: str, deployment_file: Path, identity: Identity, **options: Any) -> Any:
        key_file, dev_account, password_file = identity.key_file, identity.dev_account, identity.password_file
        connection = Connection(rpc, deployment_file, key_file, dev_account, password_file)
        return command(connection=connection, **options)

    return wrapped  # type: ignore[return-value]


@contextmanager
def patience(doing: str) -> Iterator[None]:
    """Shows a clock on stderr once the block has taken two seconds."""
    columns = (SpinnerColumn(), TextColumn(doing), TimeElapsedColumn())
    console = Console(stderr=True)
    progress = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
    progress.add_task(doing, total=None)
    timer = Timer(PATIENCE, progress.start)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        timer.join()
        progress.stop()


@contextmanager
def printing_aside() -> Iterator[None]:
    """While open, what is printed goes to stderr, also by programs that are started: stdout is the answer's."""
    with ExitStack() as after:
        after.enter_context(redirect_stdout(sys.stderr))
        with suppress(OSError):  # where one of them is closed
            kept = os.dup(1)
            after.callback(os.close, kept)
            _flush()
            os.dup2(2, 1)
            after.callback(os.dup2, kept, 1)
            after.callback(_flush)
        yield


def _flush() -> None:
    if sys.__stdout__ is not None:
        sys.__stdout__.flush()


def check_output(output: Path, *given: Path) -> None:
    """Raise BadInput where a command could not write its file, or would write it over one that it reads."""
    check_writable(output)
    if output.exists() and any(file.exists() and output.samefile(file) for file in given):
        raise BadInput(f"{output}: is the file that is read; name another one with -o")


def json_option(command: F) -> F:
    """Adds --json, passed as `as_json`."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(command)


def show(rows: Iterable[tuple[str, Any]], as_json: bool, title: str = "") -> None:
    """Print names and values: a table of two columns, or a JSON object."""
    pairs = list(rows)
    if as_json:
        click.echo(json.dumps({name.replace(" ", "_"): value for name, value in pairs}, indent=2, default=str))
        return
    Console(width=80, highlight=False).print(table_for(pairs, title))


def answer(lines: Iterable[str], as_json: bool, **facts: Any) -> None:
    """Print what a command did: lines for people, or its facts as a JSON object."""
    if as_json:
        click.echo(json.dumps(facts, indent=2, default=str))
    else:
        say(*lines)


def say(*lines: str, err: bool = False) -> None:
    """Print lines for people: on a terminal broken between words, elsewhere whole, for whoever searches them."""
    stream = sys.stderr if err else sys.stdout
    width = shutil.get_terminal_size().columns if stream is not None and stream.isatty() else 0
    for line in "\n".join(lines).splitlines():
        click.echo("\n".join(_broken(line, width)) if width > INDENT else line, err=err)


def _broken(line: str, width: int) -> list[str]:
    """Words that are longer than a terminal is wide, such as addresses, stay whole."""
    return textwrap.wrap(
        line, width, subsequent_indent=" " * INDENT, break_long_words=False, break_on_hyphens=False
    ) or [line]


def whole(table: Table) -> Table:
    """A table whose columns break what is too wide, where they would cut it off."""
    for column in table.columns:
        column.overflow = "fold"
    return table


def table_for(pairs: Iterable[tuple[str, Any]], title: str = "") -> Table:
    """Names and values, in two columns."""
    table = Table(title=title or None, show_header=False, box=None, pad_edge=False, title_justify="left")
    table.add_column(overflow="fold")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, str(value))
    return table


def table_of(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table of at most 80 columns, of which nothing is cut off."""
    table = whole(Table(*header, box=None, pad_edge=False))
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console(width=80, highlight=False).print(table)
