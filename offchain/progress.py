"""Progress of anything that takes long: reported through a function, shown as bars on a terminal, else in lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

SILENT: Final = 10.0  # seconds until the first line, where nobody sees bars
OFTEN: Final = 30.0  # seconds between two

Watch = Callable[[str, int, int], None]  # what is being done, how much of it is done, how much there is
Count = Callable[[int, int], None]  # how much is done, how much there is


def unwatched(*told: object) -> None:
    """A `Watch` or `Count` that shows nothing."""


class Bars(Progress):
    """Bars on a terminal. Elsewhere `lines` says now and then, on stderr, how far the bar is that has just moved."""

    def __init__(self, *columns: ProgressColumn, console: Console, shown: bool, lines: bool) -> None:
        super().__init__(*columns, console=console, transient=True, disable=not (shown and console.is_terminal))
        self._lines = lines and shown and not console.is_terminal
        self._next = time.monotonic() + SILENT
        self._began: dict[str, tuple[float, float]] = {}  # what -> when it was reported first, and how much was done

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        if self._lines:
            self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        task, now = self._tasks[task_id], time.monotonic()
        since, first = self._began.setdefault(task.description, (now, task.completed))
        if now < self._next or task.total is None:
            return
        self._next = now + OFTEN
        done, left = task.completed - first, task.total - task.completed
        end = f", {_clock((now - since) / done * left)} left" if done > 0 else ""
        said = f"{task.description}: {task.completed:,.0f} of {task.total:,.0f} after {_clock(now - since)}{end}"
        self.console.print(said, markup=False, highlight=False, soft_wrap=True)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def bars(
    console: Console | None = None, *, shown: bool = True, clock: ProgressColumn | None = None, lines: bool = False
) -> Progress:
    """Bars on a console, by default stderr; nothing if it is no terminal, or `lines`. They disappear at the end.

    `clock` is the column that shows time, by default the time that is left.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), clock or TimeRemainingColumn())
    return Bars(*columns, console=console or Console(stderr=True), shown=shown, lines=lines)


@contextmanager
def watching(what: str = "", clock: ProgressColumn | None = None, lines: bool = True) -> Iterator[Watch]:
    """One bar, or lines, for everything that is reported; the first label is `what`."""
    with bars(clock=clock, lines=lines) as progress:
        bar = progress.add_task(what, total=None)

        def watch(what: str, done: int, of: int) -> None:
            progress.update(bar, description=what, completed=done, total=of)

        yield watch
