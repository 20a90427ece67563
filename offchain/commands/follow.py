"""`offchain task follow`, and how a task is followed to its end, by whoever posted it or comes back to it."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
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
from offchain.commands.common import TASK, Connection, HostPort, check_output, connection_options, json_option, say
from offchain.commands.fetching import fetching, private_option
from offchain.commands.result import Known, load_posted, save_result, show_result
from offchain.commands.story import Teller
from offchain.errors import BadInput, NoResult, NoRoom, Unreachable
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
from offchain.worker.growing import Growing
from offchain.worker.holders import Holders, registered
from offchain.worker.names import task_name
from offchain.worker.posting import Have, follow, state
from offchain.worker.results import PATIENCE, Validated

FILE = click.Path(path_type=Path, dir_okay=False)
TRIES: Final = 3  # to fetch a task's file while it runs
SHOWN: Final = 4096  # numbers of an output that a line of JSON has


@dataclass
class Follower:
    """Follows a task to its end and tells its story; whoever stops it hears what stays locked.

    Attributes:
        again: the command that takes up what this one leaves.
        look: is called with the task, again and again.
        have: fetches a checkpoint, where the requester is to say that it can be had.
        kept: the file that grows with what the task outputs.
        serving: whether the task file is served from here.
    """

    chain: Chain
    teller: Teller
    as_json: bool
    again: str
    look: Callable[[TaskView], None] = lambda task: None
    have: Have | None = None
    serving: bool = False
    kept: Callable[[], Growing | None] = lambda: None
    _said: str = ""

    def run(self, act: bool = True) -> TaskView:
        """The task as it ended. `act`: do what its requester may. Raises KeyboardInterrupt when it is stopped."""
        number, view = self.teller.task_id, None
        with watching("bidding", lines=False) as watch, told_when_stopped(lambda: self._left(view)):
            try:
                for view in follow(self.chain, number, act=act, have=self.have):
                    task = view.task(number)
                    news = self.teller.news(self.as_json)
                    for line in news:
                        (click.echo if self.as_json else say)(line)
                    said = self._stage(view, task, quiet=bool(news))  # the news may be later than the view
                    self.look(task)
                    watch(said, len(task.checkpoints), task.terms.intervals)
            finally:
                self._keep()
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

    def _keep(self) -> Growing | None:
        if grown := self.kept():
            grown.flush()
        return grown

    def _left(self, view: ChainView | None) -> str:
        """What goes on without this command, and how to take it up again."""
        number, more = self.teller.task_id, []
        back = way_back(view, view.task(number)) if view is not None else ""
        if (grown := self._keep()) and grown.steps:
            more = [f"what its first {grown.steps:,} steps have output is in {grown.path}"]
        return left(number, f"{about(self.teller.locked)} stays", back, self.again, self.serving, more)


def left(task_id: int, locked: str, back: str, again: str, serving: bool, more: Iterable[str] = ()) -> str:
    """What goes on without a command that is stopped.

    Args:
        back: how to get back what is locked; "": unknown.
        again: the command that takes it up again.
        serving: whether the task's file was served from here.
    """
    lines = [f"task {task_id} goes on, and {locked} locked in it", *([back] if back else [])]
    if serving:
        lines.append("its file is served no more: workers that do not have it cannot bid")
    return "\n".join([*lines, *more, f"`{again}` takes this up again"])


@contextmanager
def told_when_stopped(what: Callable[[], str]) -> Iterator[None]:
    """Whoever stops the block, by Ctrl-C or SIGTERM, hears what is left of it."""
    with stopped_by_signals():
        try:
            yield
        except KeyboardInterrupt:
            say(what(), err=True)
            raise


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


def had_later(task_id: int, output: Path) -> str:
    """What is said where the fetching of a result is stopped."""
    return f"task {task_id} is completed; `offchain task result {task_id} -o {output}` fetches its model"


def taken_up(task_id: int, file: Path | None, output: Path | None) -> str:
    """The command that follows a task from now on."""
    words = [f"offchain task follow {task_id}"]
    words += [f"--serve {file}"] if file else []
    words += [f"-o {output}"] if output else []
    return " ".join(words)


class Requested:
    """What a requester learns while its task runs: figures on its validation set, and what steps output.

    The task's file is fetched where it is not at hand. With `output`, what is output is kept there as it comes.

    Attributes:
        kept: the file that grows.
    """

    def __init__(
        self, task: Task | None, blobs: BlobStore, holders: Holders, output: Path | None, as_json: bool
    ) -> None:
        self._blobs, self._holders, self._output, self._as_json = blobs, holders, output, as_json
        self.kept: Growing | None = None
        self._known: Known | None = None if task is None else self._begun(task)
        self._tries = 0

    def known(self, view: TaskView) -> Known:
        """The task, and what is known of it. Raises Unreachable, BadBlob where its file is to be fetched and cannot."""
        if self._known is None:
            self._known = self._begun(load_posted(view, None, self._blobs, self._holders))
        return self._known

    def look(self, view: TaskView) -> None:
        """For `Follower.look`: evaluate, gather and keep what is new, and say what steps have output."""
        if self._known is None and (self._output is None or self._tries >= TRIES):
            return
        self._tries += 1
        with suppress(Unreachable, NoRoom, BadInput):  # whoever has the file may be there later
            self.known(view)
        if self._known is None:
            return
        _, validated, gathered = self._known
        validated.look(view)
        for came in gathered.look(view):
            click.echo(_output(view, came, self._as_json))
        if self.kept is not None:
            self.kept.look(view)

    def have(self, view: TaskView, checkpoint: int) -> object:
        """For `Follower.have`: fetch a checkpoint. Who is slow must not keep a requester from acting for long."""
        task, *_ = self.known(view)
        return state(view, task, self._blobs, self._holders, checkpoint, PATIENCE)

    def _begun(self, task: Task) -> Known:
        gathered = Gathered(task, self._blobs, self._holders)
        if self._output is not None and task.outputs:
            self.kept = Growing(self._output, task, gathered)
        return task, Validated(task, self._blobs, self._holders), gathered


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
@click.argument("task_id", type=TASK)
@connection_options
@click.option("--serve", "file", type=FILE, help="Serve this task file, where the task says that it lies.")
@click.option("--listen", type=HostPort(), help="Where to serve it. Default: the port that the task names.")
@click.option("-o", "--output", type=FILE, help="File for the trained model; before that, for what steps output.")
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
        learned = Requested(loaded, blobs, holders, output, as_json)
        follower = Follower(chain, Teller.resumed(chain, task_id, terms), as_json, taken_up(task_id, file, output))
        follower.serving = file is not None
        if output:
            follower.look, follower.have, follower.kept = learned.look, learned.have, lambda: learned.kept
        require_completed(follower.run(act), as_json)
        if output:
            with told_when_stopped(lambda: had_later(task_id, output)):
                known = learned.known(chain.task(task_id, terms))
                show_result(save_result(chain, task_id, known, blobs, output, look=True), known[1], output, as_json)


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
