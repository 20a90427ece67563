"""`offchain verifier …`: a verifier's key and stake."""

from __future__ import annotations

import click

from offchain.chain import verifiers
from offchain.commands.common import TOKENS, Connection, connection_options, json_option, show
from offchain.market.money import tokens
from offchain.moments import moment


@click.group()
def verifier() -> None:
    """Name the key and the stake with which checkpoints are drawn for audits.

    An account is drawn in proportion to its stake. The key signs a ticket for each checkpoint, which nobody else can
    know, and nobody can choose. Both count after a delay.
    """


@verifier.command()
@connection_options
def enroll(connection: Connection) -> None:
    """Make a signing key beside the account's key file, if there is none, and register it.

    The account must be registered as a verifier: `offchain worker --role verifier` does it when it starts. The key lies
    beside the account's, as FILE.bls, or in OFFCHAIN_SIGNING_KEY. If it is lost, delete the file and enroll again.

    \b
    Example:  offchain verifier enroll --account worker
    """
    chain = connection.chain()
    verifiers.enroll(chain, connection.signing_key(make=True))
    found = verifiers.standing(chain)
    when = moment(found.key_from, chain.head().timestamp)
    click.echo(f"enrolled {chain.address}; its key counts for what is committed from {when} on")


@verifier.command()
@click.argument("amount", type=TOKENS)
@connection_options
def stake(connection: Connection, amount: int) -> None:
    """Move free tokens of the vault to the stake, which counts after a delay.

    \b
    Example:  offchain verifier stake 100 --account worker
    """
    chain = connection.chain()
    receipt = verifiers.stake(chain, amount)
    changed = receipt.event("StakeChanged").args
    when = moment(changed["from"], chain.head().timestamp)
    click.echo(f"stake: {tokens(changed['stake'])} of {tokens(changed['all'])} from {when} on")


@verifier.command()
@click.argument("amount", type=TOKENS, required=False)
@connection_options
def unstake(connection: Connection, amount: int | None) -> None:
    """With an amount, take it out of the stake; without one, free what was taken out, after its delay.

    \b
    Example:  offchain verifier unstake 100 --account worker
    """
    chain = connection.chain()
    if amount is None:
        freed = verifiers.release(chain).event("Released").args["amount"]
        click.echo(f"freed {tokens(freed)}; free in the vault now: {tokens(chain.free())}")
        return
    verifiers.unstake(chain, amount)
    found = verifiers.standing(chain)
    when = f"from {moment(found.free_from, chain.head().timestamp)} on: run `offchain verifier unstake`"
    click.echo(f"{tokens(found.leaving)} can be freed {when}")


@verifier.command("show")
@connection_options
@json_option
def show_verifier(connection: Connection, as_json: bool) -> None:
    """Show the account's key and stake; no password is needed.

    \b
    Example:  offchain verifier show --dev-account 1 --json
    """
    chain = connection.chain(signing=False, looking_at=connection.identity.address)
    found = verifiers.standing(chain)
    money = [("stake", found.stake), ("all stakes", found.all_stakes), ("leaving", found.leaving)]
    key = f"0x{found.point.x:064x}{found.point.y:064x}" if found.point else "none"
    rows = [("account", chain.address), ("key", key)]
    now = chain.head().timestamp
    when = str if as_json else lambda timestamp: moment(timestamp, now)
    rows += [("key counts from", when(found.key_from))] if found.point else []
    rows += [(name, str(amount) if as_json else tokens(amount)) for name, amount in money]
    rows += [("can be freed from", when(found.free_from))] if found.leaving else []
    show(rows, as_json)
