"""`offchain verifier …`: a verifier's key and stake, and who vouched for what."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Final

import click

from offchain.chain import claims, verifiers
from offchain.chain.reverts import Reverted
from offchain.commands.common import TASK, TOKENS, Connection, answer, connection_options, json_option, show, table_of
from offchain.market.money import balance, tokens
from offchain.moments import moment

COLUMNS: Final = ("checkpoint", "attempt", "verifier", "fees", "fate")


@click.group()
def verifier() -> None:
    """Name the key and the stake with which checkpoints are drawn for audits.

    An account is drawn in proportion to its stake. The key signs a ticket for each checkpoint, which nobody else can
    know, and nobody can choose. Both count after a delay.

    \b
    Example:  offchain verifier enroll --account worker
              offchain verifier stake 100 --account worker
    """


@verifier.command()
@connection_options
@json_option
def enroll(connection: Connection, as_json: bool) -> None:
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
    line = f"enrolled {chain.address}; its key counts for what is committed from {when} on"
    answer([line], as_json, account=chain.address, key_from=str(found.key_from))


@verifier.command()
@click.argument("amount", type=TOKENS)
@connection_options
@json_option
def stake(connection: Connection, amount: int, as_json: bool) -> None:
    """Move free tokens of the vault to the stake, which counts after a delay.

    \b
    Example:  offchain verifier stake 100 --account worker
    """
    chain = connection.chain()
    receipt = verifiers.stake(chain, amount)
    changed = receipt.event("StakeChanged").args
    when = moment(changed["from"], chain.head().timestamp)
    line = f"stake: {tokens(changed['stake'])} of {tokens(changed['all'])} from {when} on"
    answer([line], as_json, **{name: str(changed[name]) for name in ("stake", "all", "from")})


@verifier.command()
@click.argument("amount", type=TOKENS, required=False)
@connection_options
@json_option
def unstake(connection: Connection, amount: int | None, as_json: bool) -> None:
    """With an amount, take it out of the stake; without one, free what was taken out, after its delay.

    \b
    Example:  offchain verifier unstake 100 --account worker
    """
    chain = connection.chain()
    if amount is None:
        freed = verifiers.release(chain).event("Released").args["amount"]
        free = chain.free()
        line = f"freed {tokens(freed)}; free in the vault now: {balance(free)}"
        answer([line], as_json, freed=str(freed), free=str(free))
        return
    verifiers.unstake(chain, amount)
    found = verifiers.standing(chain)
    when = f"from {moment(found.free_from, chain.head().timestamp)} on: run `offchain verifier unstake`"
    line = f"{tokens(found.leaving)} can be freed {when}"
    answer([line], as_json, leaving=str(found.leaving), free_from=str(found.free_from))


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
    rows += [(name, str(amount) if as_json else balance(amount)) for name, amount in money]
    rows += [("can be freed from", when(found.free_from))] if found.leaving else []
    show(rows, as_json)


@verifier.command("claims")
@click.argument("task_id", type=TASK)
@click.option("--settle", "settling", is_flag=True, help="End the claims whose fate is known. Needs an account.")
@connection_options
@json_option
def claims_about(task_id: int, settling: bool, connection: Connection, as_json: bool) -> None:
    """Show who vouched for which checkpoint of a task, and what became of it.

    A claim whose fate is known may be settled by anybody: it is paid, its bond comes back or burns, and what it does
    not earn goes to the task's requester.

    \b
    Example:  offchain verifier claims 0 --settle --account requester
    """
    chain = connection.chain(signing=settling)
    chain.terms(task_id)  # raises where there is no such task
    found = claims.claims_of(chain, task_id)
    if settling:
        for claim in found:
            if claim.fate.is_open:
                with suppress(Reverted):  # it is too early
                    claims.settle(chain, task_id, claim.attempt, claim.checkpoint, claim.verifier)
        found = claims.claims_of(chain, task_id)
    rows = [(claim.checkpoint, claim.attempt, claim.verifier, claim.fees, claim.fate.value) for claim in found]
    if as_json:
        click.echo(json.dumps([dict(zip(COLUMNS, row, strict=True)) for row in rows], indent=2))
    else:
        table_of(list(COLUMNS), rows)
