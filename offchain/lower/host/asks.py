"""Functions whose answer is no constant of a step, and not held by its tensors: how torch runs the step, what lies on
the stack and in memory, what the disk has of a file."""

from __future__ import annotations

import os
from pathlib import PurePath
from types import FrameType
from typing import Any, Final

from offchain.lines import of_python, own

STACK: Final = "the stack"  # what a sight of each kind begins with
TRACER: Final = "the tracer"
DISK: Final = "the disk"
_LISTS: Final = frozenset({"stat", "lstat", "fstat", "listdir", "scandir"})  # of the system
_FRAMES: Final = frozenset({"_getframe", "getrefcount", "getallocatedblocks", "_current_frames"})  # of sys
_TRACING: Final = frozenset(
    {
        "maybe_current_level",
        "is_functorch_wrapped_tensor",
        "is_gradtrackingtensor",
        "is_batchedtensor",
        "_is_functional_tensor",
        "_len_torch_dispatch_stack",
        "_len_torch_function_stack",
    }
)
ASKING: Final = _LISTS | _FRAMES | _TRACING  # the names of all of them, functions of C
_WALKS: Final = ("inspect", "traceback")  # of Python's library, for whoever asks for the stack
_PATHS: Final = ("genericpath", "posixpath", "pathlib", "os", "glob", "fnmatch")
_CONSTANT: Final = ("exists", "lexists", "isfile", "isdir", "islink", "is_file", "is_dir", "is_symlink", "realpath")


def asked(function: Any, frame: FrameType) -> tuple[str, str] | None:
    """What a function of C tells, and the line of the requester's own code that asks for it; None if it is not theirs.

    Whether a path exists may be asked: a step that makes it is found by its second run.
    """
    name, owner = function.__name__, getattr(function.__self__, "__name__", "")
    if name in _FRAMES and owner == "sys":
        return _said(f"{STACK} (sys.{name})", _past(frame, _WALKS))
    if name in _LISTS and (owner == os.name or isinstance(function.__self__, os.DirEntry)):
        return _said(f"{DISK} (os.{name})", _past(frame, _PATHS))
    if name in _TRACING and not of_python(frame.f_code.co_filename):
        return _said(f"{TRACER} ({name})", frame)
    return None


def _said(what: str, frame: FrameType | None) -> tuple[str, str] | None:
    if frame is None or not own(frame.f_code.co_filename):
        return None
    return what, f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _past(frame: FrameType | None, modules: tuple[str, ...]) -> FrameType | None:
    """The frame that called these modules of Python's library; None if it did so to see whether a path is there."""
    while frame is not None and of_python(frame.f_code.co_filename):
        name = PurePath(frame.f_code.co_filename.removeprefix("<frozen ").removesuffix(">")).name
        if name.removesuffix(".py") not in modules or frame.f_code.co_name in _CONSTANT:
            return None
        frame = frame.f_back
    return frame
