"""`offchain generate`."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from offchain.chain.client import Chain
from offchain.commands.common import TASK, Connection, connection_options, json_option
from offchain.commands.fetching import fetching, private_option
from offchain.commands.follow import stopped_by_signals
from offchain.commands.result import load_posted, task_file_option
from offchain.errors import NoResult
from offchain.market.stages import stage
from offchain.market.view import ChainView, Status, TaskView
from offchain.store.blobs import BlobStore
from offchain.text import one_line
from offchain.worker.gathered import Gathered
from offchain.worker.holders import Holders, registered
from offchain.worker.posting import follow
from offchain.worker.reading import Piece, Reading, Row, Withdrawn


@click.command()
@click.argument("task_id", type=TASK)
@task_file_option
@click.option("--now", "once", is_flag=True, help="Show what there is now, and end.")
@private_option
@connection_options
@json_option
def generate(
    task_id: int, task_file: Path | None, once: bool, allow_private: bool, connection: Connection, as_json: bool
) -> None:
    """Show the text of a generation's task as it grows, until the task ends.

    Each checkpoint's tokens are fetched from whoever has them, and checked against its root. They become text by the
    vocabulary that the task's file has; without one they stay numbers. On a terminal the whole text is shown, faint
    where it is not paid for yet: a dispute may still withdraw it. Elsewhere, or with --json, there is a line for what
    each checkpoint adds to a prompt, and at the end one for each prompt. Ends of lines are shown as \\n.

    The exit code is 0 if the task is completed, or with --now if there is any text.

    \b
    Example:  offchain generate 0
    """
    chain = connection.chain(signing=False)
    task, holders = chain.task(task_id, chain.terms(task_id)), Holders(registered(chain))
    with TemporaryDirectory(prefix="offchain-") as folder:
        blobs = BlobStore(Path(folder), options=fetching(connection, allow_private))
        loaded = load_posted(task, task_file, blobs, holders)
        gathered = Gathered(loaded, blobs, holders)
        reading = Reading(loaded, gathered)
        view = _read(chain, task_id, gathered, reading, (once, as_json))
        if once and not gathered.begun(view):
            raise NoResult(f"task {task_id} has no outputs yet; without --now this waits for them")
        if not once and view.status is not Status.COMPLETED:
            raise NoResult(f"task {task_id} is {view.status.name.lower()}: what it output counts no more")
        if not once:
            gathered.joined(view)


def _read(chain: Chain, number: int, gathered: Gathered, reading: Reading, how: tuple[bool, bool]) -> TaskView:
    """Show the text until the task has ended. `how`: whether only what there is now, and whether for machines."""
    once, as_json = how
    task: TaskView | None = None
    live = sys.stdout.isatty() and not as_json
    with _screen(live) as screen, stopped_by_signals():
        try:
            for view in follow(chain, number, act=False):
                task = view.task(number)
                for _ in gathered.look(task):
                    pass
                news = list(reading.news(task))
                if live:
                    screen.update(Group(_title(view, task), _table(reading.rows(task))), refresh=True)
                elif not once:
                    for piece in news:
                        click.echo(_line(number, piece, as_json))
                if once and not list(gathered.look(task)):
                    break
        finally:
            screen.stop()
            if task is not None and gathered.begun(task):
                _whole(task, reading.rows(task), live, as_json)
    assert task is not None
    return task


@contextmanager
def _screen(live: bool) -> Iterator[Live]:
    """What grows on a terminal; nothing elsewhere."""
    screen = Live(console=Console(highlight=False), transient=True, auto_refresh=False)
    if live:
        screen.start()
    try:
        yield screen
    finally:
        screen.stop()


def _title(view: ChainView, task: TaskView) -> str:
    return f"task {task.id}: {stage(task, view.now).words}, {task.paid} of {task.terms.intervals} checkpoints paid"


def _table(rows: Sequence[Row]) -> Table:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(justify="right", style="dim")
    table.add_column(overflow="fold")
    for number, row in enumerate(rows):
        text = Text(one_line(row.prompt), style="bold")
        text.append(one_line(row.text), style="not bold" if row.paid == len(row.tokens) else "not bold dim")
        table.add_row(str(number), text)
    return table


def _line(task_id: int, piece: Piece | Withdrawn, as_json: bool) -> str:
    if as_json:
        body: dict[str, Any] = {"event": type(piece).__name__, "task": task_id, "checkpoint": piece.checkpoint}
        if isinstance(piece, Piece):
            body |= {"row": piece.row, "tokens": piece.tokens, "text": piece.text, "done": piece.done}
        return json.dumps(body)
    if isinstance(piece, Withdrawn):
        return f"withdrawn from checkpoint {piece.checkpoint} on: its solver is not believed any more"
    return f"checkpoint {piece.checkpoint}, prompt {piece.row}: {one_line(piece.text)}"


def _whole(task: TaskView, rows: Sequence[Row], live: bool, as_json: bool) -> None:
    """All text, at the end."""
    if as_json:
        texts = [{"prompt": r.prompt, "text": r.text, "tokens": r.tokens, "done": r.done} for r in rows]
        body = {"event": "Texts", "task": task.id, "status": task.status.name.lower(), "paid": task.paid}
        click.echo(json.dumps({**body, "texts": texts}))
    elif live:
        Console(highlight=False).print(_table(rows))
    else:
        for number, row in enumerate(rows):
            click.echo(f"{number}: {one_line(row.prompt)}{one_line(row.text)}")
