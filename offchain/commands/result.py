"""`offchain task result`, and how a trained model is fetched and saved."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from safetensors import safe_open

from offchain.chain.client import Chain
from offchain.commands.common import TASK, Connection, check_output, connection_options, json_option, show
from offchain.commands.fetching import fetching, private_option
from offchain.ir.arrays import Array
from offchain.market.view import TaskView
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import save_model
from offchain.store.taskfile import load_task, require_seal
from offchain.task import Task
from offchain.worker.gathered import Gathered
from offchain.worker.holders import Holders, registered
from offchain.worker.names import task_name
from offchain.worker.posting import completed, state
from offchain.worker.results import Validated, curves

FILE = click.Path(path_type=Path, dir_okay=False)
Known = tuple[Task, Validated, Gathered]  # what a requester has learnt of its task
task_file_option = click.option(
    "--file", "task_file", type=FILE, help="The task file. Default: it is fetched from whoever has it."
)


def save_result(
    chain: Chain,
    task_id: int,
    known: Known,
    blobs: BlobStore,
    output: Path,
    look: bool = False,
) -> TaskView:
    """Write the model, or what a program's steps changed and output, with its whole loss curve, and what is known of
    the validation set.

    With `look` the states before the last one are looked for.
    """
    loaded, validated, gathered = known
    view = completed(chain, task_id)
    final = _final(view, known, blobs)
    for _ in gathered.look(view):
        pass
    if look:
        validated.look(view)
    outputs, log = gathered.joined(view), curves(view, loaded, blobs, validated.holders)
    save_model(output, loaded, final, log, validated.curves(view), outputs)
    return view


def _final(view: TaskView, known: Known, blobs: BlobStore) -> list[Array]:
    """The final state. Where the result has nothing of it, as of a generation, whose cache it may hold, and all outputs
    are here, it is not fetched: the first state stands in its place."""
    loaded, validated, gathered = known
    if loaded.outputs and not loaded.validation and all(entry.source != "state" for entry in loaded.model):
        for _ in gathered.look(view):
            pass
        if len(gathered.begun(view)) == len(view.checkpoints):
            return list(loaded.state)
    found = state(view, loaded, blobs, validated.holders)
    for one in (validated, gathered):
        one.add(view.checkpoints[-1].root, found)
    return found


def show_result(view: TaskView, validated: Validated, output: Path, as_json: bool) -> None:
    """Where the model is, the figures of its evaluation, and those on the validation set at each checkpoint, if any."""
    found, unseen, evaluated = validated.curves(view), validated.unseen(view), _evaluated(output)
    if as_json:
        finite = {name: [_finite(value) for value in values] for name, values in found.items()}
        figures = {"validation": finite, "unseen": unseen}
        click.echo(json.dumps({"file": str(output), **(figures if found else {}), **evaluated}))
        return
    interval = view.terms.interval
    show(
        [
            *(
                (f"evaluation {name}", f"{value:.6g}")
                for name, value in evaluated.get("evaluation", {}).items()
                if isinstance(value, float)
            ),
            *(
                (f"validation {name} at {i * interval}", f"{value:.6g}")
                for name, values in found.items()
                for i, value in enumerate(values, 1)
                if value is not None
            ),
        ],
        as_json=False,
    )
    if unseen:
        click.echo(f"no figures at {', '.join(map(str, unseen))}: those states are no longer served", err=True)
    click.echo(f"model in {output}")


def _evaluated(output: Path) -> dict[str, Any]:
    """What the file says of an evaluation, under that name; {} without one."""
    with safe_open(output, "np") as file:
        said = (file.metadata() or {}).get("evaluation")
    if said is None:
        return {}
    figures = json.loads(said)
    return {
        "evaluation": {key: _finite(value) if isinstance(value, float) else value for key, value in figures.items()}
    }


def _finite(value: float | None) -> float | None:
    """JSON has no infinity and no NaN."""
    return value if value is not None and math.isfinite(value) else None


def load_posted(task: TaskView, file: Path | None, blobs: BlobStore, holders: Holders) -> Task:
    """A task that was posted, from a file, or from whoever has it.

    Raises BadBlob for a file of another task, and Unreachable.
    """

    def load(path: Path) -> Task:
        loaded = load_task(path, validated=True)
        loaded.verify(task.terms.graph_root, task.terms.state_root)
        require_seal(loaded, task.terms.uri)
        return loaded

    return load(file or blobs.fetch(holders.of_file(task), task_name(task.terms), load))


@click.command("result")
@click.argument("task_id", type=TASK)
@click.option("-o", "--output", required=True, type=FILE)
@task_file_option
@private_option
@connection_options
@json_option
def result_of(
    task_id: int, output: Path, task_file: Path | None, allow_private: bool, connection: Connection, as_json: bool
) -> None:
    """Fetch a completed task's model, and what its steps output, check them against its checkpoints, and save them.

    It comes from whoever has it: the solver, the keepers, the requester, any worker in the register. So does the task
    file, unless you have it.

    Its metadata has every metric at every step whose log is still served. A validation set is in the file that was
    built (--file), and is evaluated at the last checkpoint and at each before it whose state is still served: a solver
    keeps the last one alone. `task post -o` evaluates each while it is there.

    \b
    Example:  offchain task result 0 -o model.safetensors
    """
    check_output(output, *([task_file] if task_file else []))
    chain = connection.chain(signing=False)
    task, holders = chain.task(task_id, chain.terms(task_id)), Holders(registered(chain))
    with TemporaryDirectory(prefix="offchain-") as folder:
        blobs = BlobStore(Path(folder), options=fetching(connection, allow_private))
        loaded = load_posted(task, task_file, blobs, holders)
        validated, gathered = Validated(loaded, blobs, holders), Gathered(loaded, blobs, holders)
        view = save_result(chain, task_id, (loaded, validated, gathered), blobs, output, look=True)
        show_result(view, validated, output, as_json)
