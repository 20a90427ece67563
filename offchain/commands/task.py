"""`offchain task …`: the group, and `task build`, `inspect` and `status`."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from offchain.commands.acknowledge import acknowledge_task
from offchain.commands.building import build_file
from offchain.commands.common import TASK, Connection, connection_options, json_option, show, table_of
from offchain.commands.follow import follow_task, task_facts
from offchain.commands.post import post_task
from offchain.commands.quote import quote
from offchain.commands.result import result_of
from offchain.commands.verbs import VERBS
from offchain.commands.why import why
from offchain.ir.encoding import encode_graph
from offchain.ir.graph import TensorSpec, work_units
from offchain.ir.kinds import Kind
from offchain.ir.moves import largest
from offchain.market.money import about, balance
from offchain.market.stages import stage
from offchain.market.view import ChainView, TaskView
from offchain.moments import moment
from offchain.store.taskfile import load_task
from offchain.task import Task

FILE = click.Path(path_type=Path, dir_okay=False)
WORD = 4  # bytes of an element


@click.group()
def task() -> None:
    """Build, quote, post, follow, end and fetch training tasks.

    \b
    Example:  offchain task build job.py -o digits.task
              offchain task quote digits.task
              offchain task post digits.task --max-price 100 --account me
              offchain task status
    """


for command in (quote, post_task, follow_task, result_of, acknowledge_task, why, *VERBS):
    task.add_command(command)


@task.command()
@click.argument("job", type=FILE)
@click.option("-o", "--output", required=True, type=FILE)
@json_option
def build(job: Path, output: Path, as_json: bool) -> None:
    """Make a task file: trace a job, lower it to a step graph, check it, add its data.

    The job file is your own code, and runs only here. Workers get data, not code. Matrix products have 13 bits, the
    class of TF32, unless the job says precision="float32" (21 bits), "int8" (8 bits) or bits=N.

    \b
    Example:  offchain task build job.py -o digits.task
    """
    began = time.perf_counter()
    built, apart = build_file(job, output)
    seconds = round(time.perf_counter() - began, 1)
    known = [] if apart is None else [("first update", apart if as_json else f"{apart:.1g} from plain torch's")]
    show([*facts(built, output, as_json), *known, ("file", str(output)), ("seconds", seconds)], as_json)


@task.command()
@click.argument("file", type=FILE)
@json_option
def inspect(file: Path, as_json: bool) -> None:
    """Check a task file and show what is in it.

    \b
    Example:  offchain task inspect digits.task
    """
    show(facts(load_task(file, validated=True), file, as_json), as_json)


def facts(of: Task, file: Path, as_json: bool) -> list[tuple[str, object]]:
    """What a task file holds, as rows. With `as_json`, groups of numbers are objects."""
    kinds = Counter(node.kind.name.lower() for node in of.graph.nodes)
    products = Counter(node.bits for node in of.graph.nodes if node.kind is Kind.DOT)
    slots = [slot.spec for slot in of.graph.slots]
    groups = {"constants": of.graph.constants, "datasets": of.graph.datasets, "state": slots}
    tensors = {what: _size(specs) for what, specs in groups.items()}
    longest, dearest = largest(of.graph)
    move = {"bytes": longest.calldata, "gas": dearest.gas}
    count = int if as_json else "{:,}".format
    return [
        ("name", of.name),
        ("graph root", of.graph_root.hex()),
        ("state root", of.state_root.hex()),
        ("steps", of.steps),
        ("interval", of.interval),
        ("nodes", sum(kinds.values())),
        ("nodes by kind", dict(sorted(kinds.items())) if as_json else _listed(dict(kinds.most_common()))),
        ("products", products if as_json else ", ".join(f"{n} of {bits} bits" for bits, n in products.most_common())),
        *((what, size if as_json else _listed(size)) for what, size in tensors.items()),
        *([("validation rows", sum(p.graph.datasets[0].shape[0] for p in of.validation))] if of.validation else []),
        ("parameters", count(sum(int(array.size) for array in of.parameter_arrays(of.state).values()))),
        ("work units a step", count(work_units(of.graph))),
        ("largest move", move if as_json else _listed(move)),
        ("graph bytes", count(len(encode_graph(of.graph)))),
        ("file bytes", count(file.stat().st_size)),
    ]


def _size(specs: Sequence[TensorSpec]) -> dict[str, int]:
    elements = sum(spec.length for spec in specs)
    return {"tensors": len(specs), "elements": elements, "bytes": elements * WORD}


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items())


@task.command()
@click.argument("task_id", type=TASK, required=False)
@connection_options
@json_option
def status(task_id: int | None, connection: Connection, as_json: bool) -> None:
    """Show one task, or all of them: how far they are, and until when what may happen.

    \b
    Example:  offchain task status 0
    """
    from offchain.chain.reader import Reader

    only = None if task_id is None else [task_id]
    view = Reader(connection.chain(signing=False), only=only, ended=True).read()
    if task_id is None:
        if as_json:
            click.echo(json.dumps([task_facts(task) for task in view.tasks], indent=2))
            return
        rows = [(v.id, v.status.name.lower(), about(v.price), _progress(v), v.solver[:10]) for v in view.tasks]
        table_of(["task", "status", "price", "checkpoints", "solver"], rows)
        return
    facts = task_facts(view.task(task_id))
    if as_json:
        show(facts.items(), as_json)
        return
    facts |= {name: balance(int(str(facts[name]))) for name in ("price", "max_price", "stake")}
    shown = [(name.replace("_", " "), value) for name, value in facts.items() if name != "checkpoint_roots"]
    show([*shown, *_times(view, view.task(task_id))], as_json)


def _progress(view: TaskView) -> str:
    return f"{len(view.checkpoints)} of {view.terms.intervals}, {view.paid} paid"


def _times(view: ChainView, task: TaskView) -> list[tuple[str, str]]:
    """What happens now, and what is expected."""
    now, at = view.now, stage(task, view.now)
    rows = [("now", at.words + (f" until {moment(at.until, now)}" if at.until else ""))]
    return [*rows, ("result", f"about {moment(at.result, now)}")] if at.result else rows
