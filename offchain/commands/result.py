"""`offchain task result`, and how a trained model is fetched and saved."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from offchain.chain.client import Chain
from offchain.commands.common import Connection, check_output, connection_options, json_option, show
from offchain.commands.fetching import fetching, private_option
from offchain.market.view import TaskView, Terms
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import save_model
from offchain.store.names import task_name
from offchain.store.taskfile import load_task
from offchain.task import Task
from offchain.worker.posting import result
from offchain.worker.results import Validated, curves

FILE = click.Path(path_type=Path, dir_okay=False)


def save_result(
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


def show_result(view: TaskView, validated: Validated, output: Path, as_json: bool) -> None:
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


def load_posted(terms: Terms, file: Path | None, blobs: BlobStore) -> Task:
    """The task that was posted with these terms, from a file, or from where the terms say that it lies.

    Raises BadBlob for a file of another task, and Unreachable.
    """
    name = task_name(terms.graph_root, terms.state_root, terms.steps, terms.interval)
    loaded = load_task(file or blobs.fetch(terms.uri, name, load_task), validated=True)
    loaded.verify(terms.graph_root, terms.state_root)
    return loaded


@click.command("result")
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
        loaded = load_posted(terms, task_file, blobs)
        validated = Validated(loaded, blobs)
        view = save_result(chain, task_id, validated, loaded, blobs, output, look=True)
        show_result(view, validated, output, as_json)
