"""`offchain status` and `offchain account history`: what an account has, what it must do, where its money came from."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Final

import click
from rich.console import Console
from rich.live import Live
from rich.table import Table

from offchain.chain.books import Entry, Kind, Pot
from offchain.chain.client import Chain
from offchain.chain.deployment import Deployment
from offchain.chain.keepers import services
from offchain.chain.reader import Reader
from offchain.chain.statement import Statement
from offchain.commands.common import Connection, connection_options, json_option, patience, table_for, whole
from offchain.commands.identity import address_of
from offchain.errors import ChainError, ChainUnavailable
from offchain.market.duties import Duty, duties
from offchain.market.keeping import Service
from offchain.market.money import about, balance
from offchain.market.view import ChainView
from offchain.moments import local, moment
from offchain.roles.policy import MOVE_GAS

WIDTH: Final = 80  # columns
PACE: Final = 2.0  # seconds between two looks of --watch
PLACES: Final = ("wallet", "free", "pending", "locked")
Rows = list[tuple[str, str]]


@dataclass
class Account:
    """An account that is looked at, again and again with --watch."""

    chain: Chain

    @classmethod
    def of(cls, connection: Connection, who: str | None) -> Account:
        """The account of an address, a name or a number; by default the one that would sign."""
        if who is None:
            address = connection.identity.address
        else:
            address = address_of(who, Deployment.read(connection.deployment_file).chain_id)
        return cls(connection.chain(signing=False, looking_at=address))

    @cached_property
    def statement(self) -> Statement:
        return Statement(self.chain, self.chain.address)

    @cached_property
    def _reader(self) -> Reader:
        return Reader(self.chain, audits=False)

    def look(self) -> Look:
        """What the account has now. Raises ChainUnavailable."""
        self.statement.update()
        view = self._reader.read()
        return Look(
            self.statement,
            view,
            services(self.chain, view),
            wallet=self.chain.balance(),
            withdrawing=self.chain.pending_withdrawal(),
            moves=self.statement.ether() // max(1, MOVE_GAS * self.chain.gas_price()),
        )


@dataclass(frozen=True)
class Look:
    """What an account had at one moment. `moves`: how many moves of a dispute its ether pays for."""

    statement: Statement
    view: ChainView
    keeps: list[Service]
    wallet: int
    withdrawing: tuple[int, int]
    moves: int

    def facts(self) -> dict[str, Any]:
        """For machines: amounts as strings, in the smallest unit, times as timestamps."""
        books, gas, (pending, ready_at) = self.statement.books, self.statement.gas(), self.withdrawing
        return {
            "account": self.statement.account,
            "time": self.view.now,
            "ether": str(self.statement.ether()),
            "moves": self.moves,
            "wallet": str(self.wallet),
            "free": str(self.view.free),
            "withdrawing": {"amount": str(pending), "from": ready_at} if pending else None,
            "locked": [
                {"task": pot.task, "attempt": pot.attempt, "what": pot.what, "amount": str(pot.amount)}
                for pot in books.held()
            ],
            **{kind.value: str(books.total(kind)) for kind in (Kind.EARNED, Kind.SPENT, Kind.LOST)},
            "gas": {"paid": str(gas.wei), "transactions": gas.found, "of": gas.sent},
            "keeping": [asdict(service) for service in self.keeps],
            "kept": dict(zip(("earned", "fined"), map(str, books.keeping()), strict=True)),
            "due": [{"at": d.at, "what": d.what, "task": d.task, "must": d.must} for d in self.duties()],
        }

    def rows(self) -> Rows:
        """For people: tokens, local times, countdowns."""
        books, gas, now = self.statement.books, self.statement.gas(), self.view.now
        pending, ready_at = self.withdrawing
        rows = [
            ("account", self.statement.account),
            ("ether", f"{about(self.statement.ether())}, for {self.moves:,} moves in disputes at the present fee"),
            ("wallet", balance(self.wallet)),
            ("free in the vault", balance(self.view.free)),
        ]
        if pending:
            ready = "ready: run `offchain vault withdraw`" if ready_at <= now else f"until {moment(ready_at, now)}"
            rows.append(("being withdrawn", f"{balance(pending)}, {ready}"))
        rows += [(_place(pot), balance(pot.amount)) for pot in books.held()]
        rows += [(kind.value, balance(books.total(kind))) for kind in (Kind.EARNED, Kind.SPENT, Kind.LOST)]
        rows.append(("paid for gas", f"{about(gas.wei)} ether, in {gas.found} of {gas.sent} transactions"))
        rows += _keeping(self.keeps, books.keeping(), now)
        return [*rows, *_due(self.duties(), now)]

    def duties(self) -> list[Duty]:
        show = "show what it has signed for as a keeper"
        owed = [Duty(service.show_by, show, service.task) for service in self.keeps if service.show_by is not None]
        return sorted([*duties(self.view), *owed], key=lambda duty: (not duty.must, duty.at, duty.task))


def _place(pot: Pot) -> str:
    return pot.what if pot.task is None else f"task {pot.task}: {pot.what}"


def _keeping(found: list[Service], sums: tuple[int, int], now: int) -> Rows:
    """What the account does as a keeper, and what that brought."""
    lines = []
    for service in found:
        about_it = f"task {service.task}, {service.seats} of {service.of} seats"
        if service.committee:
            about_it += " of the second committee"
        if service.runs:
            until = f", until {moment(service.until, now)} or later" if service.until and service.until > now else ""
            lines.append(f"{about_it}: {service.signed} of {service.committed} checkpoints signed for{until}")
        else:
            lines.append(f"{about_it}: over, {service.signed} signed for; its pay is due")
    earned, fined = sums
    if earned or fined:
        lines.append(f"earned {balance(earned)}, fined {balance(fined)}")
    return [("keeps" if not n else "", line) for n, line in enumerate(lines)]


def _due(found: list[Duty], now: int) -> Rows:
    rows = []
    for name, must in (("due", True), ("possible", False)):
        for duty in [duty for duty in found if duty.must is must]:
            when = f"by {moment(duty.at, now)}" if must else "now" if duty.at <= now else f"from {moment(duty.at, now)}"
            rows.append((name, f"task {duty.task}: {duty.what} {when}"))
            name = ""
    return rows or [("due", "nothing")]


@click.command()
@click.argument("who", required=False, metavar="[ADDRESS]")
@connection_options
@click.option("--watch", is_flag=True, help="Look again every two seconds, until Ctrl-C.")
@json_option
def status(connection: Connection, who: str | None, watch: bool, as_json: bool) -> None:
    """Show what an account has and where, what it earned and lost, and what it must do by when.

    Without an address, the account that --account, --key or --dev-account names; no password is needed. Money is found
    by the events since the contracts were deployed.

    \b
    Example:  offchain status --account worker --watch
    """
    account = Account.of(connection, who)
    with patience("reading the chain"):
        look = account.look()
    if watch:
        _watch(account, look, as_json)
    elif as_json:
        click.echo(json.dumps(look.facts(), indent=2))
    else:
        Console(width=WIDTH, highlight=False).print(table_for(look.rows()))


def _watch(account: Account, look: Look, as_json: bool) -> None:
    """On a terminal one table that changes; elsewhere another one each time that it differs from the last."""
    console = Console(highlight=False) if sys.stdout.isatty() else Console(width=WIDTH, highlight=False)
    if console.is_terminal and not as_json:
        with Live(table_for(look.rows()), console=console, auto_refresh=False) as live:
            _again(account, lambda new: live.update(table_for(new.rows()), refresh=True))
        return
    said = ""

    def say(new: Look) -> None:
        nonlocal said
        facts = new.facts()
        body = json.dumps({name: value for name, value in facts.items() if name != "time"})
        if body != said:
            said = body
            if as_json:
                click.echo(json.dumps(facts))
            else:
                console.print(table_for(new.rows()), "")

    say(look)
    _again(account, say)


def _again(account: Account, say: Callable[[Look], None]) -> None:
    while True:
        time.sleep(PACE)
        try:
            say(account.look())
        except (ChainUnavailable, ChainError) as error:  # a node that refuses now may answer again, too
            click.echo(f"warning: {error}", err=True)


@click.command()
@click.argument("who", required=False, metavar="[ADDRESS]")
@connection_options
@click.option("--task", "task_id", type=click.IntRange(0), help="Only what has to do with this task.")
@json_option
def history(connection: Connection, who: str | None, task_id: int | None, as_json: bool) -> None:
    """Show every movement of an account's tokens, in order, with its reason; then what they add up to.

    It is read from the events since the contracts were deployed. Stakes, bonds, and the prices of own tasks are locked.

    \b
    Example:  offchain account history --account worker
    """
    account = Account.of(connection, who)
    with patience("reading the chain"):
        account.statement.update()
        entries = [e for e in account.statement.books.entries if task_id is None or e.task == task_id]
        lines = [(account.statement.time_of(entry.event.block), entry) for entry in entries]
    sums = {place: sum(getattr(entry, place) for entry in entries) for place in PLACES}
    if as_json:
        body = {"entries": [_plain(*line) for line in lines], "sums": {name: str(n) for name, n in sums.items()}}
        click.echo(json.dumps(body, indent=2))
        return
    table = whole(Table("when", "task: why", *PLACES, box=None, pad_edge=False, width=WIDTH))
    for column in table.columns[2:]:
        column.justify = "right"
    for then, entry in lines:
        table.add_row(local(then)[5:16], _why(entry), *(_signed(getattr(entry, place)) for place in PLACES))
    table.add_row("", "[bold]all together[/]", *(about(sums[place]) for place in PLACES))
    Console(width=WIDTH, highlight=False).print(table)


def _why(entry: Entry) -> str:
    return entry.why if entry.task is None else f"{entry.task}: {entry.why}"


def _signed(amount: int) -> str:
    return f"{'+' if amount > 0 else '-'}{about(abs(amount))}" if amount else ""


def _plain(then: int, entry: Entry) -> dict[str, Any]:
    return {
        "time": then,
        "block": entry.event.block,
        "transaction": "0x" + entry.event.transaction.hex(),
        "kind": entry.kind.value,
        "why": entry.why,
        "task": entry.task,
        **{place: str(getattr(entry, place)) for place in PLACES},
    }
