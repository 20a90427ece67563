"""`offchain account …` and `offchain vault …`: keys, balances, transfers, deposits and withdrawals."""

from __future__ import annotations

import json
from pathlib import Path

import click
from eth_account import Account
from eth_account.signers.local import LocalAccount

from offchain.chain import keystores
from offchain.chain.keys import BadKey, load_account
from offchain.chain.reader import Reader
from offchain.chain.rpc import asking
from offchain.chain.transactions import SendOptions, Signer
from offchain.commands.common import TOKENS, Connection, answer, connection_options, json_option, show
from offchain.commands.identity import accounts_folder, address_of, password_of, password_option, warn
from offchain.commands.money import history
from offchain.commands.settings import settings_option
from offchain.errors import BadInput
from offchain.market.money import balance, tokens
from offchain.moments import moment
from offchain.worker.draining import holds


@click.group()
def account() -> None:
    """Make an account, fund it, see its balances and its history.

    \b
    Example:  offchain account new worker
              offchain account fund --to worker --ether 5 --dev-account 0
              offchain account show --account worker
    """


account.add_command(history)


@account.command()
@click.argument("name", required=False)
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False),
              help="Write the key to this file instead, not encrypted: for local chains.")  # fmt: skip
@click.option("--from", "given", type=click.Path(path_type=Path, dir_okay=False),
              help="Take the key of this file, instead of a new one.")  # fmt: skip
@password_option
@json_option
@settings_option
def new(name: str | None, output: Path | None, given: Path | None, password_file: Path | None, as_json: bool) -> None:
    """Make an account with a name, for --account: its key is encrypted with a password, and only you can read it.

    \b
    Example:  offchain account new worker
    """
    if (name is None) == (output is None):
        raise BadInput("give the account a name, as in `offchain account new worker`, or a file with -o; not both")
    signer: LocalAccount = load_account(given) if given else Account.create()
    if output is not None:
        keystores.write_new(output, bytes(signer.key).hex() + "\n")
        warn(f"{output}: the key is not encrypted; take a name instead, where money is worth something")
        file, lines = output, [f"key in {output}"]
    else:
        file = keystores.file_of(accounts_folder(), str(name))
        if file.exists():
            raise BadInput(f"{file}: there is an account {name!r} already; take another name")
        keystores.create(file.parent, str(name), password_of(file, password_file, new=True), signer)
        lines = [f"sign with --account {name}; key in", str(file)]
    lines = [signer.address, *lines, "it needs ether for gas, and tokens for stakes: `offchain account fund`"]
    answer(lines, as_json, account=signer.address, name=name, file=file)


@account.command("list")
@json_option
def list_accounts(as_json: bool) -> None:
    """List the accounts that have names.

    \b
    Example:  offchain account list
    """
    folder = accounts_folder()
    found: dict[str, str | None] = {}
    for name in keystores.names(folder):
        try:
            found[name] = keystores.address_in(keystores.file_of(folder, name))
        except BadKey as error:  # the others are there all the same
            found[name] = None
            warn(str(error))
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for name, address in found.items():  # whole, however long: both are to be copied
        click.echo(f"{address or 'no address is shown':42}  {name}")


@account.command("show")
@click.argument("who", required=False, metavar="[ADDRESS]")
@connection_options
@json_option
def show_account(connection: Connection, who: str | None, as_json: bool) -> None:
    """Show an account's balances: ether, tokens in its wallet, free in the vault, being withdrawn.

    Without an address, of the account that --account, --key or --dev-account names; no password is needed.

    \b
    Example:  offchain account show --dev-account 1
    """
    looked_at = None if who else connection.identity.address
    chain = connection.chain(signing=False)
    address = looked_at or address_of(str(who), chain.deployment.chain_id)
    pending, ready_at = chain.pending_withdrawal(address)
    with asking("reading the ether of an account"):
        ether = int(chain.w3.eth.get_balance(address))
    amounts = [("ether", ether), ("wallet", chain.balance(address)), ("free in the vault", chain.free(address)),
               ("being withdrawn", pending)]  # fmt: skip
    rows = [(name, str(amount) if as_json else balance(amount)) for name, amount in amounts]
    if pending:
        when = str(ready_at) if as_json else moment(ready_at, chain.head().timestamp)
        rows.append(("withdrawable from", when))
    show([("account", address), *rows], as_json)


@account.command()
@click.argument("amount", type=TOKENS)
@click.option("--to", multiple=True, help="Address, name, or number of a --dev-account. Default: who signs.")
@connection_options
@json_option
def mint(connection: Connection, amount: int, to: tuple[str, ...], as_json: bool) -> None:
    """Make tokens. Only on local chains, and only by the account that deployed.

    \b
    Example:  offchain account mint 10000 --to 1 --to 2 --dev-account 0
    """
    chain = connection.chain()
    addresses = [address_of(receiver, chain.deployment.chain_id) for receiver in to] or [chain.address]
    for address in addresses:
        chain.mint(address, amount)
    lines = [f"minted {tokens(amount)} for {address}" for address in addresses]
    answer(lines, as_json, minted=str(amount), accounts=addresses)


@account.command()
@click.option("--to", multiple=True, required=True, help="Address, name, or number of a --dev-account.")
@click.option("--ether", type=TOKENS, help="For gas.")
@click.option("--tokens", "amount", type=TOKENS, help="From the signing account's wallet, for prices and stakes.")
@connection_options
@json_option
def fund(connection: Connection, to: tuple[str, ...], ether: int | None, amount: int | None, as_json: bool) -> None:
    """Send ether, tokens or both from the signing account to others.

    \b
    Example:  offchain account fund --to worker --ether 5 --tokens 1000 \\
                --dev-account 0
    """
    if not ether and not amount:
        raise BadInput("nothing to send: say how much with --ether or --tokens")
    chain = connection.chain()
    addresses = [address_of(receiver, chain.deployment.chain_id) for receiver in to]
    signer = Signer(chain.w3, connection.account(), chain.deployment.chain_id, SendOptions())
    lines = []
    for address in addresses:
        if ether:
            signer.send(address, b"", f"sending {tokens(ether)} ether to {address}", value=ether)
            lines.append(f"sent {tokens(ether)} ether to {address}")
        if amount:
            chain.send("token", "transfer", address, amount)
            lines.append(f"sent {tokens(amount)} tokens to {address}")
    answer(lines, as_json, ether=str(ether or 0), tokens=str(amount or 0), accounts=addresses)


@account.command()
@connection_options
@json_option
def deregister(connection: Connection, as_json: bool) -> None:
    """Leave the register of workers. What is locked stays where it is until its tasks and disputes end.

    A worker that still runs enters the register again when it is started the next time: drain it first.

    \b
    Example:  offchain account deregister --account worker
    """
    chain = connection.chain()
    held = Reader(chain, audits=False).read()
    chain.deregister()
    lines, left = [f"{chain.address} is in the register no more; it can bid on nothing"], holds(held)
    if left:
        lines.append(f"still to be seen to an end: {', '.join(left)}; its worker must run on until then")
    answer(lines, as_json, account=chain.address, holds=list(left))


@click.group()
def vault() -> None:
    """Move tokens into the vault and out of it.

    \b
    Example:  offchain vault deposit 500 --account worker
              offchain vault withdraw 100 --account worker
    """


@vault.command()
@click.argument("amount", type=TOKENS)
@connection_options
@json_option
def deposit(connection: Connection, amount: int, as_json: bool) -> None:
    """Move tokens into the vault, where prices, stakes and bonds are locked.

    \b
    Example:  offchain vault deposit 500 --key worker.key
    """
    chain = connection.chain()
    chain.deposit(amount)
    free = chain.free()
    line = f"deposited {tokens(amount)}; free now: {balance(free)}"
    answer([line], as_json, deposited=str(amount), free=str(free))


@vault.command()
@click.argument("amount", type=TOKENS, required=False)
@connection_options
@json_option
def withdraw(connection: Connection, amount: int | None, as_json: bool) -> None:
    """With an amount, request a withdrawal; without one, complete it after its delay.

    \b
    Example:  offchain vault withdraw 100 --key worker.key
    """
    chain = connection.chain()
    if amount is None:
        chain.withdraw()
        wallet = chain.balance()
        answer([f"withdrawn; in the wallet now: {balance(wallet)}"], as_json, wallet=str(wallet))
        return
    chain.request_withdrawal(amount)
    pending, ready_at = chain.pending_withdrawal()
    when = moment(ready_at, chain.head().timestamp)
    line = f"{tokens(pending)} can be withdrawn from {when} on: run `offchain vault withdraw`"
    answer([line], as_json, pending=str(pending), ready_at=str(ready_at))
