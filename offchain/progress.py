"""How far something has come: told by whoever does it, shown as bars to whoever waits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

Watch = Callable[[str, int, int], None]  # what is being done, how much of it is, of how much
Count = Callable[[int, int], None]  # the same where it can only be one thing


def unwatched(*told: object) -> None:
    """Shows nobody: for a `Watch` or a `Count`."""


def bars(console: Console | None = None, *, shown: bool = True, clock: ProgressColumn | None = None) -> Progress:
    """Bars on a console, by default stderr, where that is a terminal; they go when they are done.

    `clock` is how they tell the time, by default that which is left.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), clock or TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))


@contextmanager
def watching(what: str = "", clock: ProgressColumn | None = None) -> Iterator[Watch]:
    """One bar for all that is told, which begins with `what`."""
    with bars(clock=clock) as progress:
        bar = progress.add_task(what, total=None)

        def watch(what: str, done: int, of: int) -> None:
            progress.update(bar, description=what, completed=done, total=of)

        yield watch
