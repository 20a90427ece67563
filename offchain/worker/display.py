"""What a worker shows of its events: log lines for people or machines, and bars of progress on a terminal."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from io import StringIO
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TextIO

import structlog
from rich.console import Console
from rich.progress import TaskID
from structlog.typing import ExcInfo

from offchain.errors import BadInput
from offchain.market.money import GWEI, plain
from offchain.progress import bars
from offchain.text import printable
from offchain.worker.events import Progress, WorkerEvent

MOST_OF_A_LINE: Final = 1_000  # characters of one value
LEVELS: Final = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure_logging(json_lines: bool = False, level: str = "info", file: LogFile | None = None) -> None:
    """Log to standard error or to a file, in lines for people or, with `json_lines`, as one JSON object a line."""
    lines = _Lines(file.open() if file else None)
    colours = sys.stderr.isatty() and not json_lines and file is None
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
        logger_factory=lambda *args: lines,
        cache_logger_on_first_use=False,
    )


def _traceback(out: TextIO, raised: ExcInfo) -> None:
    """A traceback without the values of variables, some of which are secrets, and without a stranger's escapes."""
    lines = StringIO()
    structlog.dev.plain_traceback(lines, raised)
    out.write("\n".join(printable(line, MOST_OF_A_LINE) for line in lines.getvalue().split("\n")))


@dataclass(frozen=True, slots=True)
class LogFile:
    """A log that is kept in bounds: beyond `size` bytes it is renamed to FILE.1, FILE.1 to FILE.2, and so on.

    `keep` of the renamed ones are kept.
    """

    path: Path
    size: int
    keep: int

    def open(self) -> RotatingFileHandler:
        """Raises BadInput where it cannot be written."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_fifo():  # opening it waits for a reader
                raise BadInput(f"{self.path}: a pipe; name another --log-file")
            return _Rotating(self.path, maxBytes=self.size, backupCount=self.keep, encoding="utf-8")
        except OSError as error:
            raise BadInput(f"{self.path}: {error.strerror}; name another --log-file") from error


class _Rotating(RotatingFileHandler):
    """A full disk ends no worker: it is told of once, on standard error, and lines are lost until there is room."""

    _told = False

    def handleError(self, record: logging.LogRecord) -> None:
        if not self._told:
            self._told = True
            print(f"{self.baseFilename}: the log cannot be written: {sys.exception()}", file=sys.stderr, flush=True)


class _Lines:
    """Writes to a file or to the present sys.stderr, which bars of progress replace by their own."""

    def __init__(self, file: RotatingFileHandler | None = None) -> None:
        self._file = file

    def msg(self, message: str) -> None:
        if self._file is not None:
            self._file.handle(logging.makeLogRecord({"msg": message}))
        else:
            print(f"{message}\n", end="", file=sys.stderr, flush=True)  # at once: others write there too

    log = debug = info = warning = warn = error = critical = fatal = exception = failure = msg


def write_line(log: Any, event: WorkerEvent, traceback: bool | str = False) -> None:
    """An event's line in a structlog logger, with a traceback: this one, or, if True, that of the exception at hand."""
    if event.level is not None:
        more = {"exception": traceback} if isinstance(traceback, str) else {"exc_info": True} if traceback else {}
        getattr(log, event.level)(event.name, **readable(event), **more)


def readable(event: WorkerEvent) -> dict[str, Any]:
    """An event's fields as a line shows them: amounts as numbers of whole tokens in strings, nothing in wei."""
    kinds = {field.name: SHOWN.get(str(field.type), _text) for field in fields(event)}
    return {name: kinds[name](value) for name, value in event.facts().items()}


def _text(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, str):
        return printable(value, MOST_OF_A_LINE)
    return ", ".join(value) if isinstance(value, tuple) else value


# types of fields, as their classes have them -> how a line shows them
SHOWN: Final[dict[str, Callable[[Any], Any]]] = {"Units": plain, "GasPrice": lambda fee: f"{fee / GWEI:.6g} gwei"}


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
