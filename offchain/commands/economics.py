"""`offchain economics`: what the market's rules do to those who follow them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from offchain.commands.common import json_option
from offchain.commands.strategies import network, stake, strategies
from offchain.progress import watching

if TYPE_CHECKING:
    from offchain.economics.comparison import Figures


class Loads(click.ParamType[tuple[float, ...]]):
    """Numbers such as 0.1,0.3,0.6."""

    name = "loads"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[float, ...]:
        if isinstance(value, tuple):
            return value
        try:
            loads = tuple(float(part) for part in value.split(","))
        except ValueError:
            loads = ()
        if not loads or not all(0 < load <= 1 for load in loads):
            self.fail(f"{value!r} are not loads above 0 and at most 1, such as 0.1,0.3,0.6", param, ctx)
        return loads


@click.group()
def economics() -> None:
    """Simulate the market's rules, without a chain.

    \b
    Example:  offchain economics market
    """


economics.add_command(strategies)
economics.add_command(stake)
economics.add_command(network)


@economics.command()
@click.option(
    "--loads", type=Loads(), default="0.1,0.3,0.6", show_default=True, help="Shares of all machines' capacity."
)
@click.option("--machines", type=click.IntRange(2, 200), default=30, show_default=True)
@click.option(
    "--tasks", type=click.IntRange(1, 10_000), default=200, show_default=True, help="For each load, in a world."
)
@click.option("--worlds", type=click.IntRange(1, 1_000), default=6, show_default=True, help="Drawn for each scenario.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the first world.")
@click.option("--window", type=click.FloatRange(0, min_open=True), default=20, show_default=True,
              help="Seconds for commits, and again for reveals.")  # fmt: skip
@click.option("--plot", type=click.Path(path_type=Path, dir_okay=False), help="Also draw it: .svg, .png or .pdf.")
@json_option
def market(
    loads: tuple[float, ...], machines: int, tasks: int, worlds: int, seed: int, window: float,
    plot: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Compare auctions with the best assignments, among machines and tasks that differ.

    Throughputs are 100-fold apart; what an hour costs, the size of tasks and their urgency differ, too. Bids are true.
    In a burst, as many tasks as there are machines are posted at once. Strangers have never bid before.

    \b
    price only        the lowest price wins; idle machines bid for the oldest task
    score, one by one the contract's score; bids likewise
    score, forecast   each machine bids where it expects to be needed
    score, one ahead  and may hold one more task behind the one that it works on
    optimum           assigns all that waits to idle machines; knows true costs,
                      holds no auctions, does not know the future
    optimum, may wait may also keep a task for a machine that is busy

    \b
    optimum   cost of the optimum / cost, the mean over worlds; worst: the least
    may wait  cost of the optimum that may wait / cost
    bound     cost that no schedule goes below / cost
    wait      minutes from posting to the beginning of work
    idle      share of machines that work for less than 5 % of the time
    crowd     share of all work on the busiest tenth of the machines

    A cost is what work costs its machine, and each second until the result its requester. Needs scipy, and matplotlib
    for --plot: pip install '.[economics]' in the checkout.

    \b
    Example:  offchain economics market --loads 0.1,0.6 --plot market.svg
    """
    from offchain.economics import plot as drawing
    from offchain.economics.comparison import compare
    from offchain.economics.simulation import Windows

    if plot is not None:
        drawing.check(plot)
    found: list[Figures] = []
    with watching("simulating") as watch:
        scenarios = compare(loads, machines, tasks, worlds, seed, Windows(window, window))
        for done, figures in enumerate(scenarios, 1):
            found += figures
            watch("simulating", done, len(loads) + 2)
    if as_json:
        click.echo(json.dumps([row.row() for row in found], indent=2))
    else:
        _show(found)
    if plot is not None:
        drawing.draw(found, plot)


def _show(figures: list[Figures]) -> None:
    table = Table("", *("optimum", "worst", "may wait", "bound", "wait", "idle", "crowd"), box=None, pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    scenario = ""
    for row in figures:
        if row.scenario != scenario:
            scenario = row.scenario
            table.add_row(f"[bold]{scenario}[/bold]")
        ratios = (row.optimum, row.worst, row.waiting_optimum, row.bound)
        table.add_row(
            f"  {row.rule}", *(f"{ratio:.3f}" for ratio in ratios), f"{row.wait:.1f}",
            f"{row.idle:.0%}", f"{row.crowding:.0%}",
        )  # fmt: skip
    Console(width=80, highlight=False).print(table)
