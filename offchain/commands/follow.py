"""`offchain task follow`, and how a task is followed to its end, by whoever posted it or comes back to it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import current_thread, main_thread
from types import FrameType
from typing import Final
from urllib.parse import urlsplit

import click
import numpy as np

from offchain.chain.client import Chain
from offchain.commands.common import Connection, HostPort, check_output, connection_options, json_option
from offchain.commands.fetching import fetching, private_option
from offchain.commands.result import load_posted, save_result, show_result
from offchain.commands.story import Teller
from offchain.errors import BadInput, NoResult
from offchain.market.money import about
from offchain.market.stages import stage, way_back
from offchain.market.view import ChainView, Status, TaskView, Terms
from offchain.moments import moment
from offchain.progress import watching
from offchain.store.addresses import is_loopback
from offchain.store.blobs import BlobStore
from offchain.store.names import without_seal
from offchain.store.serve import BlobServer
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.worker.gathered import Came, Gathered
from offchain.worker.holders import Holders, registered
from offchain.worker.names import task_name
from offchain.worker.posting import Have, follow, state
from offchain.worker.results import PATIENCE, Validated

FILE = click.Path(path_type=Path, dir_okay=False)
SHOWN: Final = 4096  # numbers of an output that a line of JSON has


@dataclass
class Follower:
    """Follows a task to its end and tells its story; whoever stops it hears what stays locked.

    Attributes:
        again: the command that takes up what this one leaves.
        look: is called with the task, again and again.
        have: fetches a checkpoint, where the requester is to say that it can be had.
        serving: whether the task file is served from here.
    """

    chain: Chain
    teller: Teller
    as_json: bool
    again: str
    look: Callable[[TaskView], None] = lambda task: None
    have: Have | None = None
    serving: bool = False
    _said: str = ""

    def run(self, act: bool = True) -> TaskView:
        """The task as it ended. `act`: do what its requester may. Raises KeyboardInterrupt when it is stopped."""
        number, view = self.teller.task_id, None
        with watching("bidding") as watch, stopped_by_signals():
            try:
                for view in follow(self.chain, number, act=act, have=self.have):
                    task = view.task(number)
                    news = self.teller.news(self.as_json)
                    for line in news:
                        click.echo(line)
                    said = self._stage(view, task, quiet=bool(news))  # the news may be later than the view
                    self.look(task)
                    watch(said, len(task.checkpoints), task.terms.intervals)
            except KeyboardInterrupt:
                click.echo(self._left(view), err=True)
                raise
        assert view is not None
        return view.task(number)

    def _stage(self, view: ChainView, task: TaskView, quiet: bool) -> str:
        """Say once where the task stands, unless a bar shows it, or it is to be `quiet`. Returns what the bar says."""
        at, now = stage(task, view.now), view.now
        until = f" until {moment(at.until, now)}" if at.until else ""
        if at.words != self._said and not task.status.ended and not quiet:
            self._said = at.words
            if self.as_json:
                body = {"event": "Stage", "task": task.id, "stage": at.words, "until": at.until, "result": at.result}
                click.echo(json.dumps(body))
            elif not sys.stderr.isatty():
                click.echo(f"now {at.words}{until}{f'; result about {moment(at.result, now)}' if at.result else ''}")
        return f"{at.words}{until}"

    def _left(self, view: ChainView | None) -> str:
        """What goes on without this command, and how to take it up again."""
        number, locked = self.teller.task_id, self.teller.locked
        lines = [f"task {number} goes on, and {about(locked)} stays locked in it"]
        if view is not None and (back := way_back(view, view.task(number))):
            lines.append(back)
        if self.serving:
            lines.append("its file is served no more: workers that do not have it cannot bid")
        return "\n".join([*lines, f"`{self.again}` takes this up again"])


@contextmanager
def stopped_by_signals() -> Iterator[None]:
    """In the main thread, SIGTERM counts as Ctrl-C, which also counts where a shell has it ignored."""
    if current_thread() is not main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def taken_up(task_id: int, file: Path | None, output: Path | None) -> str:
    """The command that follows a task from now on."""
    words = [f"offchain task follow {task_id}"]
    words += [f"--serve {file}"] if file else []
    words += [f"-o {output}"] if output else []
    return " ".join(words)


def requested(task: Task, blobs: BlobStore, holders: Holders) -> tuple[Validated, Gathered]:
    """What a requester learns while its task runs."""
    return Validated(task, blobs, holders), Gathered(task, blobs, holders)


def looking(known: tuple[Validated, Gathered], as_json: bool) -> Callable[[TaskView], None]:
    """For `Follower.look`: evaluate and gather what is new, and say what steps have output."""
    validated, gathered = known

    def look(task: TaskView) -> None:
        validated.look(task)
        for came in gathered.look(task):
            click.echo(_output(task, came, as_json))

    return look


def _output(task: TaskView, came: Came, as_json: bool) -> str:
    if not as_json:
        rows = ", ".join(f"{len(array):,} rows of {name}" for name, array in came.arrays.items())
        return f"checkpoint {came.checkpoint}: {rows}"
    shapes = {name: array.shape for name, array in came.arrays.items()}
    small = {name: array.astype(object) for name, array in came.arrays.items() if array.size <= SHOWN}
    for name, array in small.items():
        array[~np.isfinite(came.arrays[name])] = None  # JSON has no infinity and no NaN
    values = {name: array.tolist() for name, array in small.items()}
    body = {"event": "Outputs", "task": task.id, "checkpoint": came.checkpoint}
    return json.dumps({**body, "shapes": shapes, "values": values})


def fetches(task: Task | None, blobs: BlobStore, holders: Holders) -> Have:
    """Fetches checkpoints of a task, and its file where it is not at hand. Who is slow must not keep a requester from
    acting for long."""
    known = [] if task is None else [task]

    def have(view: TaskView, checkpoint: int) -> object:
        if not known:
            known.append(load_posted(view, None, blobs, holders))
        return state(view, known[0], blobs, holders, checkpoint, PATIENCE)

    return have


def serve_task(stack: ExitStack, blobs: BlobStore, task: Task, name: str, listen: tuple[str, int]) -> BlobServer:
    """Serve a task's file, without its validation set, until the stack is closed. Sets the address of `blobs`."""
    server = stack.enter_context(BlobServer(blobs.folder, *listen))
    blobs.base = server.url
    blobs.publish(name, lambda path: save_task(replace(task, validation=()), path))
    return server


def require_completed(task: TaskView, as_json: bool) -> None:
    """Say how a task ended. Raises NoResult where it has no result."""
    click.echo(json.dumps(task_facts(task)) if as_json else f"task {task.id} is {task.status.name.lower()}")
    if task.status is not Status.COMPLETED:
        raise NoResult(f"task {task.id} is {task.status.name.lower()}: it has no result")


@click.command("follow")
@click.argument("task_id", type=int)
@connection_options
@click.option("--serve", "file", type=FILE, help="Serve this task file, where the task says that it lies.")
@click.option("--listen", type=HostPort(), help="Where to serve it. Default: the port that the task names.")
@click.option("-o", "--output", type=FILE, help="File for the trained model.")
@click.option("--only-look", is_flag=True, help="Send nothing, as where another process follows it too.")
@private_option
@json_option
def follow_task(
    task_id: int,
    connection: Connection,
    file: Path | None,
    listen: tuple[str, int] | None,
    output: Path | None,
    only_look: bool,
    allow_private: bool,
    as_json: bool,
) -> None:
    """Take up a task that was posted: say what happens to it, and do what its requester may, until it ends.

    Without an account, or with one that did not post the task, it only looks. The exit code is 0 if it is completed.

    \b
    Example:  offchain task follow 0 --serve digits.task -o model.safetensors
    """
    if output:
        check_output(output, *([file] if file else []))
    chain = connection.chain(signing=connection.identity.given and not only_look)
    terms = chain.terms(task_id)
    task, holders = chain.task(task_id, terms), Holders(registered(chain))
    act = not only_look and chain.address == task.requester
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="offchain-")))
        blobs = BlobStore(folder, options=fetching(connection, allow_private))
        loaded = load_posted(task, file, blobs, holders) if file else None
        if loaded:
            serve_task(stack, blobs, loaded, task_name(terms), listen or _where(terms))
        known = requested(loaded, blobs, holders) if loaded and output else None
        follower = Follower(chain, Teller.resumed(chain, task_id, terms), as_json, taken_up(task_id, file, output))
        follower.look = looking(known, as_json) if known else follower.look
        follower.serving = file is not None
        if output:
            follower.have = fetches(loaded, blobs, holders)
        require_completed(follower.run(act), as_json)
        if output:
            loaded = loaded or load_posted(chain.task(task_id, terms), None, blobs, holders)
            known = known or requested(loaded, blobs, holders)
            view = save_result(chain, task_id, known, loaded, blobs, output, look=True)
            show_result(view, known[0], output, as_json)


def _where(terms: Terms) -> tuple[str, int]:
    """Where the terms say that the file is served, as an address to listen at."""
    parts = urlsplit(without_seal(terms.uri))
    if not parts.hostname or not parts.port:
        raise BadInput(f"{terms.uri}: names no port of this machine; say where to serve the file with --listen")
    return "127.0.0.1" if is_loopback(parts.hostname) else "0.0.0.0", parts.port


def task_facts(view: TaskView) -> dict[str, object]:
    """A task for machines: amounts as strings, in the smallest unit."""
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
