"""Progress of anything that takes long: reported through a function, shown as bars on a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn

Watch = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is
Count = Callable[[int, int], None]  # how much is done, how much there is


def unwatched(*told: object) -> None:
    """A `Watch` or `Count` that shows nothing."""


def bars(console: Console | None = None, *, shown: bool = True, clock: ProgressColumn | None = None) -> Progress:
    """Bars on a console, by default stderr; nothing if it is no terminal. They disappear at the end.

    `clock` is the column that shows time, by default the time that is left.
    """
    console = console or Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), clock or TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))


@contextmanager
def watching(what: str = "", clock: ProgressColumn | None = None) -> Iterator[Watch]:
    """One bar for everything that is reported; its first label is `what`."""
    with bars(clock=clock) as progress:
        bar = progress.add_task(what, total=None)

        def watch(what: str, done: int, of: int) -> None:
            progress.update(bar, description=what, completed=done, total=of)

        yield watch
