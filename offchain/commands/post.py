"""`offchain task post`."""

from __future__ import annotations

import json
import os
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import click

from offchain.chain.client import Chain
from offchain.commands.building import task_file
from offchain.commands.common import TOKENS, Connection, HostPort, check_output, connection_options, json_option, say
from offchain.commands.detached import Detached
from offchain.commands.fetching import fetching, private_option
from offchain.commands.follow import (
    Follower,
    Requested,
    had_later,
    left,
    require_completed,
    serve_task,
    taken_up,
    told_when_stopped,
)
from offchain.commands.quote import (
    Wish,
    bill_of,
    keepers_of,
    offer_options,
    windows_named,
    windows_reckoned,
    with_keepers,
)
from offchain.commands.result import save_result, show_result
from offchain.commands.story import Teller
from offchain.market.stages import cancelled
from offchain.market.view import Terms
from offchain.moments import moment
from offchain.store.blobs import BlobStore
from offchain.store.names import sealed, task_name
from offchain.store.taskfile import load_task, seal
from offchain.task import Task
from offchain.worker.holders import Holders, registered
from offchain.worker.posting import post, time_limits
from offchain.worker.windows import TIMES

FILE = click.Path(path_type=Path, dir_okay=False)
UNDER_WAY: Final = (
    "the post may be mined yet: `offchain task status` shows whether it was, and then `offchain task cancel ID` gets "
    "back what it locks"
)


@dataclass(frozen=True)
class Order:
    """What the options of `task post` say beside the offer."""

    file: Path
    connection: Connection
    max_price: int
    uri: str | None
    listen: tuple[str, int]
    public_url: str | None
    output: Path | None
    detach: bool
    allow_private: bool
    as_json: bool


@click.command("post")
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
@click.option("-o", "--output", type=FILE, help="File for the trained model; before that, for what steps output.")
@click.option("--detach", is_flag=True, help="Once it is posted, go on without this terminal, and log to task-ID.log.")
@private_option
@json_option
def post_task(wish: Wish, **options: Any) -> None:
    """Post a task, serve its file, follow it to its end, and fetch the model.

    The file is checked before any money is locked; of a job (JOB.py), JOB.task is built here first. Windows that you do
    not name follow from what the task takes on this machine. With --uri and without -o, the command ends once the task
    is posted. Otherwise it runs until the task ends, because workers fetch the file from here, and says at each step
    what is paid, what is locked, what came back.
    Ctrl-C says what stays locked, and how to go on or to get it back.

    \b
    Example:  offchain task post digits.task --max-price 100 --key me.key \\
                -o model.safetensors
    """
    _post(Order(**options), wish)


def _post(order: Order, wish: Wish) -> None:
    file, output, as_json = order.file, order.output, order.as_json
    if output:
        check_output(output, file)
    detached = Detached() if order.detach else None
    file = task_file(file)
    loaded = load_task(file, validated=output is not None)
    chain = order.connection.chain()
    named = windows_named(wish)
    chosen, found = (named, None) if named else windows_reckoned(file, loaded, wish, time_limits(chain))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="offchain-")))
        blobs, uri = BlobStore(folder, options=fetching(order.connection, order.allow_private)), order.uri
        if uri is None:
            uri = _served(stack, blobs, loaded, order)
        uri = sealed(uri, seal(loaded))
        wish, why = with_keepers(chain, wish)
        since, terms = chain.head().number, wish.terms(chain, loaded, order.max_price, chosen, found, uri)
        with told_when_stopped(lambda: UNDER_WAY):
            task_id = post(chain, terms)
        serving = order.uri is None
        again = taken_up(task_id, file if serving else None, output)
        with told_when_stopped(lambda: left(task_id, "what it locks stays", cancelled(task_id), again, serving)):
            _say_posted(chain, task_id, terms, why, as_json)
            if blobs.base is None and output is None:
                return
            if detached:
                _leave(detached, task_id, as_json)
            learned = Requested(loaded, blobs, Holders(registered(chain)), output, as_json)
            teller, have = Teller.of(chain, task_id, terms, since), learned.have if output else None
            follower = Follower(chain, teller, as_json, again, learned.look, have, serving, lambda: learned.kept)
        require_completed(follower.run(), as_json)
        if output:
            with told_when_stopped(lambda: had_later(task_id, output)):
                known = learned.known(chain.task(task_id, terms))
                show_result(save_result(chain, task_id, known, blobs, output), known[1], output, as_json)


def _served(stack: ExitStack, blobs: BlobStore, task: Task, order: Order) -> str:
    """Serve the task's file until the stack is closed. Returns its address."""
    name = task_name(task.graph_root, task.state_root, task.steps, task.interval, seal(task))
    server = serve_task(stack, blobs, task, name, order.listen)
    blobs.base = order.public_url or server.url
    return blobs.uri(name)


def _leave(detached: Detached, task_id: int, as_json: bool) -> None:
    log = Path(f"task-{task_id}.log")
    if as_json:
        click.echo(json.dumps({"task": task_id, "process": os.getpid(), "log": str(log)}))
    else:
        look = f"`offchain task follow {task_id} --only-look` shows it too"
        say(f"process {os.getpid()} goes on with it, and says what happens in {log}; {look}")
    detached.leave(log)


def _say_posted(chain: Chain, task_id: int, terms: Terms, why: str, as_json: bool) -> None:
    """What is locked now, for how long each part may take, and how to take it back."""
    if as_json:
        click.echo(json.dumps({"task": task_id}))
        return
    times = ", ".join(f"{name.replace('_', ' ')} {getattr(terms, name):,} s" for name in TIMES)
    now = chain.head().timestamp
    shown = moment(now + terms.bidding_time, now)
    back = f"`offchain task cancel {task_id}` takes it back, until a bid is shown, from {shown}"
    bill, kept = bill_of(chain, terms), f"keepers: {keepers_of(terms, why)}"
    say(f"task {task_id} posted, {terms.uri}\n{bill}\n{kept}\n{times}\n{back}")
