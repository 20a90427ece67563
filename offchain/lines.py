"""Lines of a requester's code, for error messages: which frames are theirs, where a function or a field was written."""

from __future__ import annotations

import ast
import inspect
import linecache
import sys
import sysconfig
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from traceback import FrameSummary, StackSummary, extract_tb, format_exception_only
from types import CodeType, FrameType
from typing import Any, Final

_HERE: Final = Path(__file__).parent
_RUNNING: Final = (
    "lower",
    "job.py",
    "evaluation.py",
    "generation.py",
    "inference.py",
    "jobfile.py",
    "modes.py",
    "program.py",
    "lines.py",
    "schedules.py",
    "columns.py",
    "groups.py",
    "closeness.py",
    "plain.py",
    "training.py",
)
_OURS: Final = tuple(_HERE / name for name in _RUNNING)
_LIBRARY: Final = Path(sysconfig.get_paths()["stdlib"])


@cache
def foreign(filename: str) -> bool:
    """Whether a file is the requester's: not Python's, torch's or ours. A notebook's cell counts, `<string>` not."""
    return bool(linecache.getlines(filename)) and not ours(filename) and not of_python(filename)


@cache
def ours(filename: str) -> bool:
    """Whether a file is torch's, or one of ours that runs a requester's code."""
    return any(Path(filename).is_relative_to(folder) for folder in (*_OURS, _torch()))


@cache
def own(filename: str) -> bool:
    """Whether a file is the requester's own, and not of a library that is installed."""
    return foreign(filename) and "site-packages" not in Path(filename).parts


@cache
def of_python(filename: str) -> bool:
    """Whether a file is of Python's own library."""
    path = Path(filename)
    return filename.startswith("<frozen") or (path.is_relative_to(_LIBRARY) and "site-packages" not in path.parts)


@cache
def _torch() -> Path:
    spec = find_spec("torch")
    return Path(spec.origin or "").parent if spec else _HERE / "lower"


def line_of_caller(end: CodeType | None = None) -> str:
    """`FILE:LINE` of the requester's innermost running frame, searched up to the frame of `end`; else ""."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code is not end:
        if foreign(frame.f_code.co_filename):
            return f"{frame.f_code.co_filename}:{frame.f_lineno}"
        frame = frame.f_back
    return ""


def raised_at(error: BaseException) -> FrameSummary | None:
    """The innermost frame of the requester's in which an error was raised."""
    return next((frame for frame in reversed(extract_tb(error.__traceback__)) if foreign(frame.filename)), None)


def users_traceback(error: BaseException) -> list[str]:
    """The lines of the traceback of an error's first cause, without the frames of torch, Python's library and ours."""
    while error.__cause__ is not None:
        error = error.__cause__
    frames = extract_tb(error.__traceback__)
    theirs = StackSummary.from_list([frame for frame in frames if foreign(frame.filename)] or list(frames))
    told = ["Traceback (most recent call last):\n", *theirs.format(), *format_exception_only(error)]
    return [line for part in told for line in part.rstrip().splitlines()]


def line_of(function: Callable[..., Any]) -> str:
    """`FILE:LINE` where a function, or the class of a callable object, begins; else ""."""
    function = inspect.unwrap(function)  # of a decorator, as torch.no_grad()
    code = getattr(function, "__code__", None) or getattr(type(function).__call__, "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code and foreign(code.co_filename) else ""


def at(line: str) -> str:
    """` at FILE:LINE`, or "" if the line is unknown."""
    return f" at {line}" if line else ""


def line_of_argument(call: str, name: str) -> str:
    """`FILE:LINE` of a keyword argument of the call that begins at the line `call`; that line where it has none."""
    filename, _, line = call.rpartition(":")
    try:
        tree = ast.parse("".join(linecache.getlines(filename)))
    except SyntaxError:  # a notebook's cell may hold more than Python
        return call
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and str(node.lineno) == line)
    given = (word.value.lineno for node in calls for word in node.keywords if word.arg == name)
    return next((f"{filename}:{lineno}" for lineno in given), call)
