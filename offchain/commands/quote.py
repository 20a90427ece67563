"""`offchain task quote`, and the options with which a task is quoted and posted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial, wraps
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from offchain.chain.candidates import candidates
from offchain.chain.client import Chain
from offchain.chain.deployment import BadDeploymentFile
from offchain.chain.history import Lately, completed, lately
from offchain.commands.common import TOKENS, Connection, connection_options, json_option, patience, show
from offchain.commands.machine import machine_memory, require_cuda
from offchain.economics.audits import StakeRule
from offchain.errors import BadTerms, ChainError, ChainUnavailable, OffchainError
from offchain.exec.make import EXECUTORS
from offchain.ir.graph import work_units
from offchain.market.keeping import USUAL_SEATS, usual_keepers
from offchain.market.money import BPS, about, part_down, part_up
from offchain.market.view import Terms
from offchain.moments import HOUR, span
from offchain.store.taskfile import load_task
from offchain.task import Task
from offchain.worker.auditing import Audits, audits_for, stake_rule, table
from offchain.worker.making import executor_factory
from offchain.worker.options import WorkerOptions
from offchain.worker.posting import MOST_KEEPERS, Offer, terms_of, time_limits
from offchain.worker.quoting import Asked, Measured, asked, enough, gas_of, measured, unpriced
from offchain.worker.windows import ORDINARY, SLOWER, TIMES, Window, promise, until_result, windows

FILE = click.Path(path_type=Path, dir_okay=False)
PERCENT: Final = 100  # of 1/10,000
GWEI: Final = 10**9
A_URI: Final = "http://requester.example:8000/blobs/" + "0" * 64 + ".task"  # about as long as one that is served
UNKNOWN: Final = "the present fee, stakes, bonds, the bill, and what such work cost"
F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


@dataclass(frozen=True)
class Wish:
    """What the options of `offer_options` say. `times`: the windows that the requester names itself."""

    times: Mapping[str, int]
    stake: int | None
    bond: int | None
    urgency: int  # tokens' smallest unit, an hour
    risk_bps: int
    attempts: int
    audit_rate: float | None  # audit fees to expect per checkpoint, in percent
    audit_fee: int | None
    keepers: int | None  # None: as many as are usual among the verifiers that there are
    keeper_share: float  # of the pay, in percent
    move_time: float
    device: str
    executor: str

    def offer(self, max_price: int, chosen: Mapping[str, Window], audits: Audits) -> Offer:
        times = {name: window.seconds for name, window in chosen.items()}
        money = {"stake": self.stake, "bond": self.bond, "urgency": self.urgency // HOUR}
        paid = {"audit_fee": audits.fee, "audit_rate_bps": audits.rate_bps, "keepers": self.keepers or 0}
        paid["keeper_bps"] = round(self.keeper_share * PERCENT) if self.keepers else 0
        return Offer(max_price, **times, **money, **paid, risk_bps=self.risk_bps, attempts=self.attempts)  # type: ignore[arg-type]

    def audits(self, terms: Terms, rule: StakeRule, seconds: float | None, gas_price: int) -> Audits:
        """What it offers to verifiers; what it does not name follows from the price and the seconds of an interval."""
        usual = audits_for(terms, rule, seconds, gas_price, ORDINARY)
        rate = usual.rate_bps if self.audit_rate is None else round(self.audit_rate * PERCENT)
        return Audits(rate, usual.fee if self.audit_fee is None else self.audit_fee)

    def stake_for(self, terms: Terms, rule: StakeRule, max_price: int) -> int:
        """The least stake for a price, with the rate of audits that goes with it."""
        rate = self.audits(replace(terms, max_price=max_price), rule, None, 0).rate_bps
        return rule.required(max_price, terms.steps, terms.interval, rate)

    def terms(
        self,
        chain: Chain,
        task: Task,
        max_price: int,
        chosen: Mapping[str, Window],
        found: Measured | str | None,
        uri: str,
    ) -> Terms:
        """The terms to post. Raises BadTerms, as terms_of."""
        bare = unpriced(task, {name: window.seconds for name, window in chosen.items()})
        seconds = found.times.interval if isinstance(found, Measured) else None
        audits = self.audits(replace(bare, max_price=max_price), stake_rule(chain), seconds, chain.gas_price())
        return terms_of(chain, task, self.offer(max_price, chosen, audits), uri)

    @property
    def options(self) -> WorkerOptions:
        """Of a worker on this machine."""
        return WorkerOptions(Path(), max_memory=machine_memory() * 3 // 8, move_time=self.move_time)


def offer_options(command: F) -> F:
    """Adds the options of a `Wish`, and passes one as `wish`."""

    @click.option("--stake", type=TOKENS, help="Locked by a bidder. Default: the least that deters.")
    @click.option("--bond", type=TOKENS, help="Locked by a challenger. Default: the least allowed.")
    @click.option("--urgency", type=TOKENS, default="0", show_default=True,
                  help="What an hour costs you, in tokens: faster solvers may be dearer by as much.")  # fmt: skip
    @click.option(
        "--risk-bps", default=500, show_default=True, help="What a failure costs you, in 1/10,000 of the price."
    )
    @click.option("--attempts", default=3, show_default=True, help="Solvers that may try, one after the other.")
    @click.option("--audit-rate", type=click.FloatRange(min=0.01, max=655.35), help="Audit fees to expect for each "
                  "checkpoint, in percent. Default: what lets a stake of the highest price deter.")  # fmt: skip
    @click.option("--audit-fee", type=TOKENS, help="Default: twice what an audit costs here.")
    @click.option("--keepers", type=click.IntRange(0, MOST_KEEPERS),
                  help="Seats of a committee that keeps all checkpoints; 0: you fetch them in time. Default: 5, where "
                  "five verifiers could be drawn and reached, else 0.")  # fmt: skip
    @click.option("--keeper-share", type=click.FloatRange(min=0, max=100), default=2.0, show_default=True,
                  help="What its seats share, in percent of the pay and beside it.")  # fmt: skip
    @click.option("--bidding-time", type=int, help="Seconds for sealed bids. Default, as of the next "
                  "five: from what the task takes on this machine; `task quote` says why.")  # fmt: skip
    @click.option("--reveal-time", type=int, help="Seconds for showing them.")
    @click.option("--handover-time", type=int, help="Seconds for the runner-up to take over.")
    @click.option("--interval-time", type=int, help="Seconds for each checkpoint.")
    @click.option("--challenge-window", type=int, help="Seconds to dispute a checkpoint.")
    @click.option("--clock", type=int, help="Seconds that each side has in a dispute.")
    @click.option("--move-time", type=click.FloatRange(min=0), default=0.5, show_default=True,
                  help="Seconds until a transaction is mined: the chain's block time, and a little.")  # fmt: skip
    @click.option("--device", default="cpu", show_default=True, help="Where the task is measured: cpu, cuda, cuda:1 …")
    @click.option("--executor", type=click.Choice(list(EXECUTORS)), default="fused", show_default=True)
    @wraps(command)
    def wrapped(**options: Any) -> Any:
        given = {name: options.pop(name) for name in TIMES}
        own = {name: options.pop(name) for name in Wish.__dataclass_fields__ if name != "times"}
        times = {name: seconds for name, seconds in given.items() if seconds is not None}
        return command(wish=Wish(times, **own), **options)

    return wrapped  # type: ignore[return-value]


def with_keepers(chain: Chain, wish: Wish) -> tuple[Wish, str]:
    """The wish with its number of keepers settled, and why it is that."""
    if wish.keepers is not None:
        return wish, "you named it"
    there = candidates(chain)
    seats = usual_keepers(there.values())
    able = f"{len(there)} verifiers have a stake and an address"
    if seats or len(there) < USUAL_SEATS:
        return replace(wish, keepers=seats), able
    return replace(wish, keepers=0), f"{able}, but one of them has half of all that is staked"


def windows_named(wish: Wish) -> dict[str, Window] | None:
    """The windows of a requester that names them all."""
    named = {name: Window(wish.times[name], "you named it") for name in TIMES if name in wish.times}
    return named if len(named) == len(TIMES) else None


def windows_reckoned(
    file: Path, task: Task, wish: Wish, limits: Mapping[str, tuple[int, int]]
) -> tuple[dict[str, Window], Measured | str]:
    """The windows to post with, and what the task takes on this machine, or why that is not known.

    Raises BadTerms where a window would have to be reckoned from what is not known.
    """
    if wish.device.startswith("cuda"):
        require_cuda(wish.device)
    try:
        with patience(f"measuring {file.name}"):
            found = measured(file, task, executor_factory(wish.executor, wish.device), wish.options)
    except OffchainError as error:
        if named := windows_named(wish):
            return named, str(error)
        flags = ", ".join("--" + name.replace("_", "-") for name in TIMES if name not in wish.times)
        raise BadTerms(f"{file}: what it takes is not known here ({error}); name {flags}") from error
    return windows(found.times, -(-task.steps // task.interval), wish.times, limits, wish.move_time), found


@click.command()
@click.argument("file", type=FILE)
@connection_options
@click.option("--max-price", type=TOKENS,
              help="For the whole task. Default: twice what a worker like this machine would ask.")  # fmt: skip
@offer_options
@json_option
def quote(file: Path, connection: Connection, max_price: int | None, wish: Wish, as_json: bool) -> None:
    """Say what a task will cost and how long it will take, before any money is locked.

    The task is measured on this machine as a worker does before it bids. From that follow the windows that `task post`
    names by itself, and why; a window that you name stays as it is. Without a chain the money is left out.

    \b
    Example:  offchain task quote digits.task --urgency 2
    """
    task = load_task(file)
    chain, silent = _connected(connection)
    chosen, found = windows_reckoned(file, task, wish, time_limits(chain) if chain else {})
    rows = [*_work(file, task, found, as_json), *_windows(task, wish, chosen, found, as_json)]
    if chain is None:
        rows.append(("no chain", f"not known are {UNKNOWN}: {silent}"))
    else:
        rows += _money(chain, task, wish, chosen, found, max_price, as_json)
    show(rows, as_json)


def _connected(connection: Connection) -> tuple[Chain | None, str]:
    """The chain, or why there is none."""
    try:
        return connection.chain(signing=False), ""
    except (BadDeploymentFile, ChainError, ChainUnavailable) as error:
        return None, str(error)


Rows = list[tuple[str, object]]


def _work(file: Path, task: Task, found: Measured | str, as_json: bool) -> Rows:
    """What there is to compute and to fetch, and what it takes here."""
    work, intervals = work_units(task.graph), -(-task.steps // task.interval)
    rows: Rows = [
        ("name", task.name),
        ("steps", task.steps),
        ("intervals", intervals),
        ("work units", work * task.steps if as_json else f"{work * task.steps:,}, {work:,} a step"),
    ]
    if isinstance(found, str):
        return [*rows, ("seconds here", None if as_json else f"not known: {found}")]
    times, cost = found.times, found.figures.cost
    alone = cost.plain * task.steps + cost.hashed * intervals
    seconds = {"all": alone, "interval": times.interval, "dispute": times.dispute, "trial": times.trial}
    said = f"{alone:.3g}: {times.interval:.3g} an interval; {times.dispute:.3g} a dispute, {times.trial:.2g} to try it"
    sizes = {"task file": times.file, "state": times.state}
    return [
        *rows,
        ("seconds here", {name: round(value, 6) for name, value in seconds.items()} if as_json else said),
        ("bytes", _keyed(sizes) if as_json else ", ".join(f"{size:,} of the {what}" for what, size in sizes.items())),
    ]


def _windows(task: Task, wish: Wish, chosen: Mapping[str, Window], found: Measured | str, as_json: bool) -> Rows:
    """Each window and why, and when the result is there."""
    terms = unpriced(task, {name: window.seconds for name, window in chosen.items()})
    rows: Rows = []
    for name, window in chosen.items():
        said = {"seconds": window.seconds, "why": window.why} if as_json else f"{window.seconds:,} s: {window.why}"
        rows.append((name.replace("_", " "), said))
    if isinstance(found, str):
        return rows
    about_then, latest = until_result(terms, found.times.interval)
    seconds = {"expected": round(about_then, 1), "latest": latest}
    said = f"{span(about_then)}; {span(latest)} at the latest, if its first solver delivers"
    slower = f"windows hold for machines up to {SLOWER} times slower than this one"
    return [*rows, ("result in", seconds if as_json else f"{said} ({slower})")]


def _money(
    chain: Chain,
    task: Task,
    wish: Wish,
    chosen: Mapping[str, Window],
    found: Measured | str,
    max_price: int | None,
    as_json: bool,
) -> Rows:
    """Gas, what is locked, what a worker like this machine would ask, and what others were paid."""
    gas_price, fee_bps = chain.gas_price(), int(chain.call("limits", "values")["feeBps"])
    rule = stake_rule(chain)
    if max_price is None:
        if isinstance(found, str):
            raise BadTerms("--max-price: what the task takes is not known here; name the highest price yourself")
        bare = unpriced(task, {name: window.seconds for name, window in chosen.items()})
        stake = partial(wish.stake_for, bare, rule)
        max_price = enough(found, bare, gas_price, fee_bps, wish.options, stake)
    wish, why = with_keepers(chain, wish)
    terms = wish.terms(chain, task, max_price, chosen, found, A_URI)
    gas = gas_of(terms, A_URI)
    paid = {party: amount * gas_price for party, amount in gas.items()}
    coins = ", ".join(f"{party} {about(amount)}" for party, amount in paid.items())
    locked = {"stake": terms.stake, "bid bond": int(chain.call("auction", "bidBond")), "dispute bond": terms.bond}
    rows: Rows = [
        ("gas", _keyed(gas) if as_json else ", ".join(f"{party} {amount:,}" for party, amount in gas.items())),
        ("gas costs", _exact(paid) if as_json else f"{coins} coins, at {gas_price / GWEI:.3g} gwei"),
        ("others lock", _exact(locked) if as_json else ", ".join(f"{what} {about(n)}" for what, n in locked.items())),
        ("bill", bill_of(chain, terms, as_json)),
        *_audits(terms, rule, as_json),
        ("keepers", keepers_of(terms, why, as_json)),
    ]
    steps = task.steps
    if not isinstance(found, str):
        bid = asked(found, terms, gas_price, fee_bps, wish.options)
        rows.append(("a worker like this", _bid(bid, as_json)))
        steps = -(-promise(found.times.interval) * task.steps // task.interval)
    known = lately(completed(chain), task.graph_root, task.steps, steps)
    return [*rows, ("such work lately", _lately(known, as_json))]


def bill_of(chain: Chain, terms: Terms, as_json: bool = False) -> object:
    """What is locked when a task with these terms is posted, and for what."""
    price, (escrow, audits, fee) = terms.max_price, chain.bill(terms)
    whole, keepers = escrow + audits + fee, part_up(price, terms.keeper_bps, BPS)
    standby = escrow - price - keepers
    parts = {"all": whole, "price": price, "standby": standby, "keepers": keepers, "audits": audits, "burned": fee}
    if as_json:
        return _exact(parts)
    kept = f"{about(keepers)} for keepers at most, " if terms.keepers else ""
    return (
        f"{about(whole)} locked when you post: {about(price)} for solvers at most, {about(standby)} for standbys at "
        f"most, {kept}{about(audits)} for audits at most, {about(fee)} burns; what is left comes back in the end"
    )


def keepers_of(terms: Terms, why: str, as_json: bool = False) -> object:
    """What is offered to those who keep the checkpoints; `why`: as `with_keepers` says."""
    seat = part_down(part_down(terms.max_price, terms.keeper_bps, BPS), 1, terms.keepers) if terms.keepers else 0
    if as_json:
        return {"seats": terms.keepers, "share_bps": terms.keeper_bps, "each_seat": str(seat), "why": why}
    if not terms.keepers:
        return f"none ({why}): you fetch the model while its solver serves it"
    share = f"{terms.keeper_bps / PERCENT:g} % of the pay, beside it"
    return f"{terms.keepers} seats ({why}) share {share}: {about(seat)} at most for each, of all intervals"


def _audits(terms: Terms, rule: StakeRule, as_json: bool) -> Rows:
    """What is offered to verifiers, and what other rates would ask for."""
    rows = table(terms, rule)
    if as_json:
        offer = {"rate_bps": terms.audit_rate_bps, "fee": str(terms.audit_fee)}
        known = [{"rate_bps": row.rate_bps, "stake": str(row.stake), "bill": str(row.bill)} for row in rows]
        return [("audits", offer | {"at": known})]
    fee, rate = about(terms.audit_fee), terms.audit_rate_bps
    said = [(f"at {row.rate_bps / PERCENT:g} %", f"stake {about(row.stake)}, bill {about(row.bill)}") for row in rows]
    return [("audits", f"{rate / PERCENT:g} fees to be expected for 100 checkpoints, {fee} each"), *said]


def _bid(bid: Asked, as_json: bool) -> object:
    if as_json:
        return {"price": str(bid.price), "promised": bid.promised, "refuses": bid.why}
    said = f"{about(bid.price)} and {bid.promised} s an interval, at {about(ORDINARY.hourly)} an hour"
    return f"would not bid: {bid.why} ({said})" if bid.why else f"would bid {said}"


def _lately(known: Lately | None, as_json: bool) -> object:
    if known is None:
        return None if as_json else "no task of this size yet"
    if as_json:
        prices = _exact({"least": known.least, "median": known.median, "most": known.most})
        return {"tasks": known.tasks, "same_graph": known.same} | prices
    like, by = ("of this very graph", "a step") if known.same else ("of about this size", "a promised second")
    between = f"from {about(known.least)} to {about(known.most)}"
    return f"{about(known.median)} for this task, by the price of {by}; {known.tasks} {like}, {between}"


def _exact(amounts: Mapping[str, int]) -> dict[str, str]:
    """For JSON, whose numbers are not all exact."""
    return _keyed({name: str(amount) for name, amount in amounts.items()})


def _keyed(facts: Mapping[str, T]) -> dict[str, T]:
    return {name.replace(" ", "_"): value for name, value in facts.items()}
