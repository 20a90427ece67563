"""`offchain account …` and `offchain vault …`: keys, balances, deposits and withdrawals."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import click
from eth_account import Account

from offchain.commands.common import TOKENS, Connection, connection_options, json_option, show, tokens
from offchain.errors import BadInput


@click.group()
def account() -> None:
    """Make an account, see its balances."""


@account.command()
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="Key file.")
def new(output: Path) -> None:
    """Write a new private key to a new file that only you can read.

    \b
    Example:  offchain account new -o worker.key
    """
    signer = Account.create()
    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise BadInput(f"{output}: {error.strerror}") from error
    with os.fdopen(descriptor, "w") as file:
        file.write(bytes(signer.key).hex() + "\n")
    click.echo(f"{signer.address} (key in {output}; it needs ether for gas, and tokens for stakes)")


@account.command("show")
@connection_options
@json_option
def show_account(connection: Connection, as_json: bool) -> None:
    """Show the account's balances: in its wallet, free in the vault, being withdrawn.

    \b
    Example:  offchain account show --dev-account 1
    """
    chain = connection.chain()
    pending, ready_at = chain.pending_withdrawal()
    amounts = [("wallet", chain.balance()), ("free in the vault", chain.free()), ("being withdrawn", pending)]
    rows = [(name, str(amount) if as_json else tokens(amount)) for name, amount in amounts]
    if pending:
        rows.append(("withdrawable from", str(ready_at)))
    show([("account", chain.address), *rows], as_json)


@account.command()
@click.argument("amount", type=TOKENS)
@click.option("--to", multiple=True, help="Address, or number of a --dev-account. Default: the signing account.")
@connection_options
def mint(connection: Connection, amount: int, to: tuple[str, ...]) -> None:
    """Make tokens. Only on local chains, and only by the account that deployed.

    \b
    Example:  offchain account mint 10000 --to 1 --to 2 --dev-account 0
    """
    chain = connection.chain()
    for receiver in to or (chain.address,):
        address = replace(connection, dev_account=int(receiver)).account().address if receiver.isdigit() else receiver
        chain.mint(address, amount)
        click.echo(f"minted {tokens(amount)} for {address}")


@click.group()
def vault() -> None:
    """Move tokens into the vault and out of it."""


@vault.command()
@click.argument("amount", type=TOKENS)
@connection_options
def deposit(connection: Connection, amount: int) -> None:
    """Move tokens into the vault, where prices, stakes and bonds are locked.

    \b
    Example:  offchain vault deposit 500 --key worker.key
    """
    chain = connection.chain()
    chain.deposit(amount)
    click.echo(f"deposited {tokens(amount)}; free now: {tokens(chain.free())}")


@vault.command()
@click.argument("amount", type=TOKENS, required=False)
@connection_options
def withdraw(connection: Connection, amount: int | None) -> None:
    """With an amount, request a withdrawal; without one, complete it after its delay.

    \b
    Example:  offchain vault withdraw 100 --key worker.key
    """
    chain = connection.chain()
    if amount is None:
        chain.withdraw()
        click.echo(f"withdrawn; in the wallet now: {tokens(chain.balance())}")
        return
    chain.request_withdrawal(amount)
    pending, ready_at = chain.pending_withdrawal()
    click.echo(f"{tokens(pending)} can be withdrawn from timestamp {ready_at} on: run `offchain vault withdraw`")
