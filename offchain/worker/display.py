"""What a worker shows: log lines for people or machines, and bars of progress on a terminal."""

from __future__ import annotations

import logging
import sys
from types import TracebackType
from typing import Any, Final, Self

import structlog
from rich.console import Console
from rich.progress import TaskID

from offchain.progress import bars

LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(json_lines: bool = False, level: str = "info") -> None:
    """Log to standard error: a line for people, or a JSON object a line."""
    colours = sys.stderr.isatty() and not json_lines
    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=16)
    )
    exceptions = [structlog.processors.format_exc_info] if json_lines else []
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso" if json_lines else "%H:%M:%S", utc=json_lines),
            *exceptions,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level]),
        logger_factory=lambda *args: _Lines(),
        cache_logger_on_first_use=False,
    )


class _Lines:
    """Writes to what standard error is at that moment: bars of progress put themselves in its place."""

    def msg(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    log = debug = info = warning = warn = error = critical = fatal = exception = failure = msg


class Display:
    """A bar for every course of computing, on a terminal; elsewhere nothing. `on_event` is a worker's."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = bars(console)
        self._bars: dict[tuple[str, int], TaskID] = {}

    def on_event(self, name: str, **fields: Any) -> None:
        """Shows "progress" (task, purpose, steps, of); the rest is the log's."""
        if name != "progress":
            return
        key = (fields["purpose"], fields["task"])
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(f"{key[0]} task {key[1]}", total=fields["of"])
        self._progress.update(self._bars[key], completed=fields["steps"])
        if fields["steps"] == fields["of"]:
            self._progress.remove_task(self._bars.pop(key))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
