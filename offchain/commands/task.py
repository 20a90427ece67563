"""`offchain task build`, `inspect`, `quote`, `post`, `status` and `result`."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from offchain.chain.client import Chain
from offchain.commands.common import (
    TOKENS,
    Connection,
    HostPort,
    check_output,
    connection_options,
    json_option,
    patience,
    printing_aside,
    show,
    table_of,
    tokens,
)
from offchain.commands.fetching import fetching, private_option
from offchain.commands.quote import Wish, bill_of, offer_options, quote, windows_named, windows_reckoned
from offchain.commands.story import Teller
from offchain.errors import NoResult
from offchain.ir.encoding import encode_graph
from offchain.ir.graph import TensorSpec, work_units
from offchain.ir.kinds import Kind
from offchain.ir.moves import largest
from offchain.market.view import Status, TaskView, Terms
from offchain.progress import watching
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import save_model
from offchain.store.names import task_name
from offchain.store.serve import BlobServer
from offchain.store.taskfile import load_task, save_task
from offchain.task import Task
from offchain.worker.posting import follow, post, result, terms_of, time_limits
from offchain.worker.results import Validated, curves
from offchain.worker.windows import TIMES

FILE = click.Path(path_type=Path, dir_okay=False)
WORD = 4  # bytes of an element


@click.group()
def task() -> None:
    """Build, quote, post, follow and fetch training tasks."""


task.add_command(quote)


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
    from offchain.closeness import first_update, warning
    from offchain.job import load
    from offchain.lower import compile as lower

    check_output(output, job)
    began = time.perf_counter()
    with patience(f"tracing and lowering {job.name}"), printing_aside():  # of the job's own code
        loaded = load(job)
        built = lower(loaded)
        save_task(built, output)
        apart = first_update(loaded, built)
    if apart is not None and (said := warning(apart, loaded.bits)):
        click.echo(f"warning: {job}: {said}", err=True)
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
        ("parameters", sum(int(array.size) for array in of.parameter_arrays(of.state).values())),
        ("work units a step", work_units(of.graph)),
        ("largest move", move if as_json else _listed(move)),
        ("graph bytes", len(encode_graph(of.graph))),
        ("file bytes", file.stat().st_size),
    ]


def _size(specs: Sequence[TensorSpec]) -> dict[str, int]:
    elements = sum(spec.length for spec in specs)
    return {"tensors": len(specs), "elements": elements, "bytes": elements * WORD}


def _listed(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{number:,} {what}" for what, number in numbers.items())


@task.command("post")
@click.argument("file", type=FILE)
@connection_options
@click.option(
    "--max-price", type=TOKENS, required=True, help="For the whole task; locked at once, with what a standby earns."
)
@offer_options
@click.option("--uri", help="URL of the file, if you serve it yourself (http, https).")
@click.option(
    "--listen", type=HostPort(), default="127.0.0.1:0", show_default=True, help="Otherwise it is served here."
)
@click.option("--public-url", help="Where others reach that address, if elsewhere.")
@click.option("-o", "--output", type=FILE, help="File for the trained model.")
@private_option
@json_option
def post_task(
    file: Path,
    connection: Connection,
    wish: Wish,
    max_price: int,
    uri: str | None,
    listen: tuple[str, int],
    public_url: str | None,
    output: Path | None,
    allow_private: bool,
    as_json: bool,
) -> None:
    """Post a task, serve its file, follow it to its end, and fetch the model.

    The file is checked before any money is locked. Windows that you do not name follow from what the task takes on this
    machine. With --uri and without -o, the command ends once the task is posted. Otherwise it runs until the task
    ends, because workers fetch the file from here, and says at each step what is paid, what is locked, what came back.

    \b
    Example:  offchain task post digits.task --max-price 100 --key me.key \\
                -o model.safetensors
    """
    if output:
        check_output(output, file)
    loaded = load_task(file, validated=output is not None)
    chain = connection.chain()
    chosen = windows_named(wish) or windows_reckoned(file, loaded, wish, time_limits(chain))[0]
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="offchain-")))
        blobs = BlobStore(folder, options=fetching(connection, allow_private))
        if uri is None:
            server = stack.enter_context(BlobServer(folder, *listen))
            blobs.base = public_url or server.url
            name = task_name(loaded.graph_root, loaded.state_root, loaded.steps, loaded.interval)
            uri = blobs.publish(name, lambda path: save_task(replace(loaded, validation=()), path))
        since, terms = chain.head().number, terms_of(chain, loaded, wish.offer(max_price, chosen), uri)
        task_id = post(chain, terms)
        click.echo(json.dumps({"task": task_id}) if as_json else _posted(chain, task_id, terms))
        if blobs.base is None and output is None:
            return
        validated = Validated(loaded, blobs)
        ended = _watch(connection, validated, Teller.of(chain, task_id, terms, since), as_json)
        click.echo(json.dumps(_facts(ended)) if as_json else f"task {task_id} is {ended.status.name.lower()}")
        if ended.status is not Status.COMPLETED:
            raise NoResult(f"task {task_id} is {ended.status.name.lower()}: it has no result")
        if output:
            ended = _save_result(chain, task_id, validated, loaded, blobs, output)
            _show_result(ended, validated, output, as_json)


def _posted(chain: Chain, task_id: int, terms: Terms) -> str:
    """What is locked now, and for how long each part may take."""
    times = ", ".join(f"{name.replace('_', ' ')} {getattr(terms, name):,} s" for name in TIMES)
    return f"task {task_id} posted, {terms.uri}\n{bill_of(chain, terms.max_price)}\n{times}"


def _save_result(
    chain: Chain, task_id: int, validated: Validated, loaded: Task, blobs: BlobStore, output: Path, look: bool = False
) -> TaskView:
    """Write the model with its whole loss curve, and what is known of the validation set.

    With `look` the states before the last one are looked for.
    """
    view, state = result(chain, task_id, loaded, blobs)
    validated.add(view.checkpoints[-1].root, state)
    if look:
        validated.look(view)
    save_model(output, loaded, state, curves(view, loaded, blobs), validated.curves(view))
    return view


def _show_result(view: TaskView, validated: Validated, output: Path, as_json: bool) -> None:
    """Where the model is, and its figures on the validation set, if there is one, at each checkpoint."""
    found, unseen = validated.curves(view), validated.unseen(view)
    if as_json:
        finite = {name: [_finite(value) for value in values] for name, values in found.items()}
        figures = {"validation": finite, "unseen": unseen}
        click.echo(json.dumps({"file": str(output), **(figures if found else {})}))
        return
    interval = view.terms.interval
    show(
        [
            (f"validation {name} at {i * interval}", f"{value:.6g}")
            for name, values in found.items()
            for i, value in enumerate(values, 1)
            if value is not None
        ],
        as_json=False,
    )
    if unseen:
        click.echo(f"no figures at {', '.join(map(str, unseen))}: those states are no longer served", err=True)
    click.echo(f"model in {output}")


def _finite(value: float | None) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if value is not None and math.isfinite(value) else None


def _watch(connection: Connection, validated: Validated, teller: Teller, as_json: bool) -> TaskView:
    """Follow a task to its end, with a bar of its checkpoints, which are evaluated as they come, and tell its story."""
    with watching("bidding") as watch:
        for view in follow(connection.chain(), teller.task_id):
            for line in teller.news(as_json):
                click.echo(line)
            validated.look(view)
            watch(f"{view.status.name.lower()}, {view.paid} paid", len(view.checkpoints), view.terms.intervals)
    return view


@task.command()
@click.argument("task_id", type=int, required=False)
@connection_options
@json_option
def status(task_id: int | None, connection: Connection, as_json: bool) -> None:
    """Show one task, or all of them.

    \b
    Example:  offchain task status 0
    """
    from offchain.chain.reader import Reader

    only = None if task_id is None else [task_id]
    view = Reader(connection.chain(signing=False), only=only, ended=True).read()
    if task_id is None:
        if as_json:
            click.echo(json.dumps([_facts(task) for task in view.tasks], indent=2))
            return
        rows = [(v.id, v.status.name.lower(), tokens(v.price), _progress(v), v.solver[:10]) for v in view.tasks]
        table_of(["task", "status", "price", "checkpoints", "solver"], rows)
        return
    facts = _facts(view.task(task_id))
    if not as_json:
        facts |= {name: tokens(int(str(facts[name]))) for name in ("price", "max_price", "stake")}
    show([(name, value) for name, value in facts.items() if as_json or name != "checkpoint_roots"], as_json)


def _progress(view: TaskView) -> str:
    return f"{len(view.checkpoints)} of {view.terms.intervals}, {view.paid} paid"


def _facts(view: TaskView) -> dict[str, object]:
    return {
        "task": view.id,
        "status": view.status.name.lower(),
        "requester": view.requester,
        "solver": view.solver,
        "price": str(view.price),
        "max_price": str(view.terms.max_price),
        "stake": str(view.terms.stake),
        "steps": view.terms.steps,
        "checkpoints": len(view.checkpoints),
        "intervals": view.terms.intervals,
        "paid": view.paid,
        "disputes": sum(point.holds for point in view.checkpoints),
        "checkpoint_roots": [point.root.hex() for point in view.checkpoints],
    }


@task.command("result")
@click.argument("task_id", type=int)
@click.option("-o", "--output", required=True, type=FILE)
@click.option("--file", "task_file", type=FILE, help="The task file. Default: it is fetched from its URI.")
@private_option
@connection_options
@json_option
def result_of(
    task_id: int, output: Path, task_file: Path | None, allow_private: bool, connection: Connection, as_json: bool
) -> None:
    """Fetch a completed task's model, check it against the last checkpoint, and save it.

    Its metadata has every metric at every step whose log the solver serves. A validation set is in the file that was
    built (--file), and is evaluated at the last checkpoint and at each before it whose state is still served: a solver
    keeps the last one alone. `task post -o` evaluates each while it is there.

    \b
    Example:  offchain task result 0 -o model.safetensors
    """
    check_output(output, *([task_file] if task_file else []))
    chain = connection.chain(signing=False)
    terms = chain.terms(task_id)
    with TemporaryDirectory(prefix="offchain-") as folder:
        blobs = BlobStore(Path(folder), options=fetching(connection, allow_private))
        name = task_name(terms.graph_root, terms.state_root, terms.steps, terms.interval)
        path = task_file or blobs.fetch(terms.uri, name, load_task)
        loaded = load_task(path, validated=True)
        loaded.verify(terms.graph_root, terms.state_root)
        validated = Validated(loaded, blobs)
        view = _save_result(chain, task_id, validated, loaded, blobs, output, look=True)
        _show_result(view, validated, output, as_json)
