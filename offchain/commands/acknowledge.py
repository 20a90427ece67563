"""`offchain task acknowledge`."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import click

from offchain.chain.reader import Reader
from offchain.commands.common import TASK, Connection, answer, connection_options, json_option
from offchain.commands.fetching import fetching, private_option
from offchain.commands.follow import Requested
from offchain.errors import NoResult
from offchain.market.view import Status
from offchain.store.blobs import BlobStore
from offchain.worker.holders import Holders, registered
from offchain.worker.posting import acknowledge

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command("acknowledge")
@click.argument("task_id", type=TASK)
@private_option
@connection_options
@json_option
def acknowledge_task(task_id: int, allow_private: bool, connection: Connection, as_json: bool) -> None:
    """Fetch the last checkpoint of a task of yours, check it, and say that it and those before it can be had.

    Where keepers do not say so in time, this is what lets the solver be paid. `task post -o` and `task follow -o` do it
    by themselves, in the second half of a challenge window.

    \b
    Example:  offchain task acknowledge 0 --account requester
    """
    chain = connection.chain()
    task = Reader(chain, only=[task_id]).read().task(task_id)
    if task.status is not Status.TRAINING or task.keeping is None or task.available(len(task.checkpoints) - 1):
        raise NoResult(
            f"task {task_id}: nothing waits for it: there are no keepers, or all that is committed can be had"
        )
    last = len(task.checkpoints) - 1
    with TemporaryDirectory(prefix="offchain-") as folder:
        blobs = BlobStore(Path(folder), options=fetching(connection, allow_private))
        learned = Requested(None, blobs, Holders(registered(chain)), None, as_json)
        sent = acknowledge(chain, task, last, learned.have)
    line = f"task {task_id}: checkpoints up to {last} can be had, by your word; {sent.gas_used:,} gas"
    answer([line], as_json, task=task_id, checkpoint=last)
