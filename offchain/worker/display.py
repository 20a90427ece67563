"""What a worker shows of its events: log lines for people or machines, and bars of progress on a terminal."""

from __future__ import annotations

import logging
import sys
from dataclasses import fields
from io import StringIO
from types import TracebackType
from typing import Any, Final, Self, TextIO

import structlog
from rich.console import Console
from rich.progress import TaskID
from structlog.typing import ExcInfo

from offchain.market.money import tokens
from offchain.progress import bars
from offchain.text import printable
from offchain.worker.events import Progress, WorkerEvent

MOST_OF_A_LINE: Final = 1_000  # characters of one value
MONEY: Final = "Units"  # the type of a field, as its class has it: market.money.Units
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(json_lines: bool = False, level: str = "info") -> None:
    """Log to standard error, in lines for people or, with `json_lines`, as one JSON object a line."""
    colours = sys.stderr.isatty() and not json_lines
    renderer: Any = (
        structlog.processors.JSONRenderer(default=str)
        if json_lines
        else structlog.dev.ConsoleRenderer(colors=colours, pad_event_to=16, exception_formatter=_traceback)
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


def _traceback(out: TextIO, raised: ExcInfo) -> None:
    """A traceback without the values of variables, some of which are secrets, and without a stranger's escapes."""
    lines = StringIO()
    structlog.dev.plain_traceback(lines, raised)
    out.write("\n".join(printable(line, MOST_OF_A_LINE) for line in lines.getvalue().split("\n")))


class _Lines:
    """Writes to the present sys.stderr, which bars of progress replace by their own."""

    def msg(self, message: str) -> None:
        print(message, file=sys.stderr, flush=True)

    log = debug = info = warning = warn = error = critical = fatal = exception = failure = msg


def write_line(log: Any, event: WorkerEvent, traceback: bool | str = False) -> None:
    """An event's line in a structlog logger, with a traceback: this one, or, if True, that of the exception at hand."""
    if event.level is not None:
        money = {field.name for field in fields(event) if field.type == MONEY}
        facts = {name: tokens(value) if name in money else _text(value) for name, value in event.facts().items()}
        more = {"exception": traceback} if isinstance(traceback, str) else {"exc_info": True} if traceback else {}
        getattr(log, event.level)(event.name, **facts, **more)


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return printable(value, MOST_OF_A_LINE)
    return ", ".join(value) if isinstance(value, tuple) else value


class Display:
    """A bar for every task that is trained or audited, on a terminal; elsewhere nothing."""

    def __init__(self, console: Console | None = None) -> None:
        self._progress = bars(console)
        self._bars: dict[tuple[str, int], TaskID] = {}

    def on_event(self, event: WorkerEvent) -> None:
        """For `Worker(on_event=…)`: shows Progress. Everything else has its line in the log."""
        if not isinstance(event, Progress):
            return
        key = (event.purpose, event.task)
        if key not in self._bars:
            self._bars[key] = self._progress.add_task(f"{event.purpose} task {event.task}", total=event.of)
        self._progress.update(self._bars[key], completed=event.steps)
        if event.steps == event.of:
            self._progress.remove_task(self._bars.pop(key))

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
