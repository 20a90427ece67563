"""`offchain adjudicate`."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from secrets import randbits
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from offchain.commands.common import json_option, table_of
from offchain.errors import BadInput, OffchainError
from offchain.exec.base import Executor
from offchain.exec.make import EXECUTORS, make_executor
from offchain.progress import watching

if TYPE_CHECKING:
    from offchain.adjudicate import Report
    from offchain.task import Task

SHOWN = 20  # faults; --json has them all


class Asked(NamedTuple):
    step: int
    samples: int
    seed: int


class Misjudged(OffchainError):
    """The contracts and the executor disagree."""


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option("--step", type=int, required=True, help="The step to judge, from 0.")
@click.option("--samples", type=click.IntRange(min=1), default=200, show_default=True, help="Elements to judge.")
@click.option("--seed", type=int, help="Repeats a run. Default: another one each time; the report names it.")
@click.option(
    "--executor", type=click.Choice(list(EXECUTORS)), default="torch", show_default=True, help="Computes the steps."
)
@click.option("--rpc-url", help="Deploy to this node, from an account that it holds. Default: start a Ganache.")
@click.option("--dispute", is_flag=True, help="Also play one whole dispute about each node kind, move by move.")
@json_option
def adjudicate(
    file: Path,
    step: int,
    samples: int,
    seed: int | None,
    executor: str,
    rpc_url: str | None,
    dispute: bool,
    as_json: bool,
) -> None:
    """Have deployed contracts judge a step of a task, and compare with the executor.

    The task is computed up to the step. Samples are random elements of its nodes, taken in turn: with as many samples
    as nodes, every node is judged. Each sample is sent to the contract with its inputs, opened against the committed
    roots. As computed, it must be upheld. Falsified, it must be rejected: by computation, counter-example, missing
    witness or rounding; for a sum also by a false exponent and by one term of a false total. Once per node, it is sent
    with an input that was never committed, and must be refused.

    Exits with 0 if every judgement is right; otherwise it lists the wrong ones and exits with 1.

    \b
    Example:  offchain adjudicate digits.task --step 7 --samples 200
    """
    from offchain.adjudicate import require_step
    from offchain.store.taskfile import load_task

    if dispute and rpc_url:
        raise BadInput("--dispute moves the chain's clock: it needs its own chain: leave out --rpc-url")
    task = load_task(file)
    require_step(task, step)
    runs = make_executor(executor, task.graph, task.constants, task.datasets)
    report = _judged(task, Asked(step, samples, randbits(32) if seed is None else seed), runs, rpc_url, dispute)
    _print(report, as_json)
    if not report.right:
        raise Misjudged(_complaint(report))


def _judged(task: Task, asked: Asked, runs: Executor[Any], rpc_url: str | None, dispute: bool) -> Report:
    """The report, computed with a bar on stderr."""
    from offchain.adjudicate import adjudicate as judge
    from offchain.adjudicate import court
    from offchain.adjudicate.trial import Arena, Interval

    with court(rpc_url) as chain, watching("traced") as watch:
        report = judge(task, asked.step, asked.samples, asked.seed, chain, runs, watch)
        if dispute:
            arena = Arena(chain, Interval.around(task, asked.step, runs))
            kinds = len({node.kind for node in task.graph.nodes})
            watch("disputed", 0, kinds)
            for trial in arena.trials(Random(asked.seed)):
                report.trials.append(trial)
                watch("disputed", len(report.trials), kinds)
        return report


def _print(report: Report, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(report.facts(), indent=2))
        return
    rows = [
        (name, t["claims"], t["upheld"], t["falsified"], t["convicted"], t["forged"], t["refused"], gas)
        for name, t, gas in _rows(report)
    ]
    table_of(("node kind", "claims", "upheld", "falsified", "convicted", "forged", "refused", "gas"), rows)
    if report.trials:
        click.echo()
        ended = [(t.kind.name.lower(), t.node, t.element, t.ending or "no effect on the checkpoint", t.moves, t.gas)
                 for t in report.trials]  # fmt: skip
        table_of(("dispute", "node", "element", "ended by", "moves", "gas"), ended)
    click.echo(f"\nstep {report.step}, seed {report.seed}, {report.seconds:.1f} s")


def _rows(report: Report) -> list[tuple[str, dict[str, int], str]]:
    facts = report.facts()
    gas = {name: f"{used:,}" for name, used in facts["gas"].items()}
    kinds = [(name, tally, gas.get(name, "")) for name, tally in facts["by_node_kind"].items()]
    return [*kinds, ("all", facts, "")]


def _complaint(report: Report) -> str:
    wrong = report.wrong
    more = f"\n  and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
    return f"{len(wrong)} wrong:" + "".join(f"\n  {line}" for line in wrong[:SHOWN]) + more
