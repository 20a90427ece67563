"""`offchain economics strategies`, `stake` and `network`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click
from rich.console import Console
from rich.table import Table

from offchain.chain.deployment import PRESETS, Parameters
from offchain.commands.common import TOKENS, json_option, patience, show

if TYPE_CHECKING:
    from offchain.economics.deterrence import Deterrence
    from offchain.economics.game import Game, Rules
    from offchain.economics.strategies.base import Row

GWEI: Final = 10**9
GAS_PRICES: Final = {"local": 2, "public": 50}  # gwei: Ganache's, and what the public preset's bounties reckon with
PLOT: Final = click.Path(path_type=Path, dir_okay=False)
F = TypeVar("F", bound=Callable[..., Any])


def rules_of(parameters: Parameters, gas_price: int) -> Rules:
    """A deployment's rules as `offchain.economics` knows them. `gas_price` in wei."""
    from offchain.economics.game import Rules

    return Rules(
        honest_bps=parameters.honest_bps,
        margin_bps=parameters.margin_bps,
        bond=parameters.bond,
        bounty=parameters.bounty,
        bid_bond=parameters.bid_bond,
        audit_bond=parameters.audit_bond,
        post_fee=parameters.post_fee,
        fee_bps=parameters.fee_bps,
        standby_bps=parameters.standby_bps,
        clock=parameters.clock,
        max_clock=parameters.max_clock,
        bidding_time=parameters.bidding_time,
        interval_time=parameters.interval_time,
        key_delay=parameters.key_delay,
        gas_price=gas_price,
    )


def game_of(preset: str, gas_price: float | None = None, **offer: Any) -> Game:
    """The game of a preset. `gas_price` in gwei; `offer`: terms that are not the usual ones."""
    from offchain.economics.game import Game, Offer

    gwei = GAS_PRICES[preset] if gas_price is None else gas_price
    return Game(rules_of(PRESETS[preset], round(gwei * GWEI)), Offer(**offer))


class Numbers(click.ParamType[tuple[float, ...]]):
    """Numbers such as 0.1,0.25,1, each above 0 and at most `most`; `whole` ones only."""

    name = "numbers"

    def __init__(self, most: float, whole: bool = False) -> None:
        self.most, self.whole = most, whole

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            numbers = tuple(float(part) for part in value.split(","))
        except ValueError:
            numbers = ()
        right = numbers and all(0 < number <= self.most for number in numbers)
        if not right or (self.whole and any(number != round(number) for number in numbers)):
            kind = "whole numbers" if self.whole else "numbers"
            self.fail(f"{value!r} are not {kind} above 0 and at most {self.most:g}, such as 1,2", param, ctx)
        return numbers


def game_options(command: F) -> F:
    """Adds a preset, terms and what is assumed, and passes a Game as `game`."""

    @click.option("--preset", type=click.Choice(list(PRESETS)), default="local", show_default=True,
                  help="The deployment's parameters.")  # fmt: skip
    @click.option("--max-price", type=TOKENS, default="100", show_default=True, help="Of the task, in tokens.")
    @click.option("--intervals", type=click.IntRange(1, 10_000), default=50, show_default=True)
    @click.option("--audit-rate", type=click.FloatRange(0.0001, 6.5), default=0.25, show_default=True,
                  help="Audit fees to expect for each checkpoint.")  # fmt: skip
    @click.option("--urgency", type=TOKENS, default="0.41", show_default=True,
                  help="What an hour costs the requester, in tokens.")  # fmt: skip
    @click.option("--keepers", type=click.IntRange(1, 64), default=16, show_default=True)
    @click.option("--quorum", type=click.IntRange(1, 64), help="Of the keepers. Default: more than half.")
    @click.option("--stake", type=TOKENS, help="Of the solver. Default: the least that the rule allows.")
    @click.option("--colluding", type=click.FloatRange(0, 0.99), default=0.25, show_default=True,
                  help="Part of all verifiers' stakes that works for the cheat.")  # fmt: skip
    @click.option("--gas-price", type=click.FloatRange(0, 10_000), help="In gwei, with a coin worth a token. "
                  "Default: 2 (local), 50 (public).")  # fmt: skip
    @click.option("--as-designed", is_flag=True, help="Without the rules of docs/decisions/0023.")
    @wraps(command)
    def wrapped(preset: str, gas_price: float | None, audit_rate: float, colluding: float, as_designed: bool,
                **options: Any) -> Any:  # fmt: skip
        names = ("max_price", "intervals", "urgency", "keepers", "quorum", "stake")
        offer = {name: options.pop(name) for name in names}
        if offer["quorum"] is not None and offer["quorum"] > offer["keepers"]:
            raise click.BadParameter(f"{offer['quorum']} of {offer['keepers']} keepers", param_hint="--quorum")
        if offer["max_price"] == 0:
            raise click.BadParameter("a task without a price has nothing at stake", param_hint="--max-price")
        game = game_of(preset, gas_price, rate_bps=max(1, round(audit_rate * 10_000)), **offer)
        people = replace(game.people, colluding=colluding)
        return command(game=replace(game, people=people, amended=not as_designed), **options)

    return wrapped  # type: ignore[return-value]


plot_option: Final = click.option("--plot", type=PLOT, help="Also draw it: .svg, .png or .pdf.")


@click.command()
@game_options
@click.option("--games", type=click.IntRange(100, 1_000_000), default=20_000, show_default=True,
              help="Played for each strategy.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@plot_option
@json_option
def strategies(game: Game, games: int, seed: int, plot: Path | None, as_json: bool) -> None:
    """What cheats earn in expectation, beside the honest role.

    Each strategy has a closed form and a Monte Carlo of the same game, with the deployment's parameters, the task's
    terms and the gas of each move. Tokens, for one task.

    \b
    ev      closed form: what the strategy's false part earns
    played  the mean of the games that were played
    ±       half of its confidence interval (99.9 %)
    honest  what the honest role earns

    docs/economics.md derives all of them, and says what is not deterred.

    \b
    Example:  offchain economics strategies --preset public --audit-rate 0.1
    """
    from offchain.economics import plot as drawing
    from offchain.economics.drawings import draw_strategies
    from offchain.economics.strategies.table import rows

    if plot is not None:
        drawing.check(plot)
    with patience("playing"):
        found = list(rows(game, seed, games))
    if as_json:
        click.echo(json.dumps([asdict(row) for row in found], indent=2))
    else:
        _show(game, found)
    if plot is not None:
        draw_strategies(found, plot)


def _show(game: Game, found: Sequence[Row]) -> None:
    from offchain.economics.strategies.challenger import delay

    table = Table("", "ev", "played", "±", "", box=None, pad_edge=False)
    for column in table.columns[1:4]:
        column.justify = "right"
    role = ""
    for row in found:
        if row.role != role:
            role = row.role
            table.add_row(f"[bold]{role}[/bold], honest: {row.honest_ev:.4g}")
        said = "" if row.holds else "[bold]pays[/bold]"
        said += "" if row.agrees else " differs"
        table.add_row(f"  {row.strategy}", *map(_figure, (row.ev, row.mean, row.high - row.mean)), said)
    console = Console(width=80, highlight=False)
    console.print(table)
    day = delay(game)
    gains = day.solver <= 0
    said = f"gains the solver {-day.solver:.3g}" if gains else f"costs the solver {day.solver:.3g}"
    console.print(f"A day of delay costs a challenger {day.challenger:.4g}, and {said}.")
    console.print(f"Stake {game.stake:.4g}, bond {game.bond:.4g}; a false interval is found with {game.found:.1%}.")


def _figure(amount: float) -> str:
    return f"{amount:.4f}" if abs(amount) < 10 else f"{amount:.2f}"


@click.command()
@game_options
@click.option("--rates", type=Numbers(6.5), default="0.05,0.1,0.25,0.5,1", show_default=True)
@click.option("--lengths", type=Numbers(10_000, whole=True), default="10,50,200", show_default=True,
              help="Numbers of intervals.")  # fmt: skip
@click.option("--honest", type=Numbers(1), default="0.1,0.25,0.5,1", show_default=True,
              help="Honest parts of verifiers' stakes, in fact.")  # fmt: skip
@plot_option
@json_option
def stake(
    game: Game, rates: tuple[float, ...], lengths: tuple[float, ...], honest: tuple[float, ...],
    plot: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """How much stake the rule asks for, and where cheating pays with it.

    The rule reckons with an honest part that the deployment names. In fact it may be another. The cheat is the best of
    those that commit false intervals.

    \b
    Example:  offchain economics stake --rates 0.1,0.25 --plot stake.svg
    """
    from offchain.economics import plot as drawing
    from offchain.economics.deterrence import varied
    from offchain.economics.drawings import draw_stake

    if plot is not None:
        drawing.check(plot)
    bps = [max(1, round(rate * 10_000)) for rate in rates]
    found = list(varied(game, bps, [round(number) for number in lengths], honest))
    if as_json:
        click.echo(json.dumps([asdict(row) | {"pays": row.pays} for row in found], indent=2))
    else:
        _show_stakes(found, honest)
    if plot is not None:
        with patience("drawing"):
            draw_stake(game, plot)


def _show_stakes(found: Sequence[Deterrence], honest: Sequence[float]) -> None:
    shares = [f"{share:.0%} honest" for share in honest[:5]]
    table = Table("intervals", "audits", "stake/price", *shares, box=None, pad_edge=False)
    for column in table.columns:
        column.justify = "right"
    width = len(honest)
    for start in range(0, len(found), width):
        group = found[start : start + width]
        first = group[0]
        best = (f"[bold]{row.ev:+.3g}[/bold]" if row.pays else f"{row.ev:+.3g}" for row in group[:5])
        table.add_row(str(first.intervals), f"{first.rate:g}", f"{first.stake:.3f}", *best)
    console = Console(width=80, highlight=False)
    console.print(table)
    console.print("What the best cheat earns, in tokens; above 0 it pays to cheat.")


@click.command()
@click.option("--solvers", type=click.IntRange(2, 10_000), default=1_000, show_default=True)
@click.option("--verifiers", type=click.IntRange(2, 10_000), default=1_000, show_default=True)
@click.option("--tasks", type=click.IntRange(1, 100_000), default=10_000, show_default=True)
@click.option("--intervals", type=click.IntRange(1, 10_000), default=50, show_default=True)
@click.option("--audit-rate", type=click.FloatRange(0.0001, 6.5), default=0.25, show_default=True)
@click.option("--cheats", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="Part of the solvers.")
@click.option("--lazy", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="Part of the verifiers that never look.")  # fmt: skip
@click.option("--load", type=click.FloatRange(0, 1, min_open=True), default=0.3, show_default=True,
              help="Part of all machines' capacity that tasks need.")  # fmt: skip
@click.option("--cost-spread", type=click.FloatRange(0, 3), default=0.5, show_default=True,
              help="Of what machines cost for a unit of work: standard deviation of its logarithm.")  # fmt: skip
@click.option("--urgency-spread", type=click.FloatRange(0, 3), default=1.5, show_default=True,
              help="Likewise of requesters' urgency.")  # fmt: skip
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@plot_option
@json_option
def network(seed: int, audit_rate: float, plot: Path | None, as_json: bool, **options: Any) -> None:
    """Simulate solvers and verifiers over many tasks: pay by work, idle machines, detection, losses.

    Machines and tasks differ as in `economics market`. Cheats falsify one interval of each of their tasks.

    \b
    Example:  offchain economics network --tasks 1000
    """
    from offchain.economics import plot as drawing
    from offchain.economics.drawings import draw_network
    from offchain.economics.network import Network, Plan, summary

    if plot is not None:
        drawing.check(plot)
    plan = Plan(rate_bps=max(1, round(audit_rate * 10_000)), **options)
    with patience("simulating"):
        ran = Network(plan, seed).run()
    found = summary(ran)
    if as_json:
        click.echo(json.dumps(asdict(found), indent=2))
    else:
        show([(name.replace("_", " "), _rounded(value)) for name, value in asdict(found).items()], False)
    if plot is not None:
        draw_network(ran, plot)


def _rounded(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
