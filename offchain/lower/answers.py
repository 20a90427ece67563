"""What a step that is being captured tells the requester's own code about itself: what plain torch would tell it.

Libraries that are installed hear that torch compiles: they leave out shortcuts that depend on a tensor's values then,
and compute the same. The requester's own code, which may compute something else, takes the way of plain torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

import torch
from torch.fx import _symbolic_trace

from offchain.lines import own


def _is_compiling() -> bool:
    from offchain.lower.answers import compiling_for  # runs with the global variables of torch.compiler

    return compiling_for()


def _is_fx_tracing() -> bool:
    from offchain.lower.answers import fx_for  # runs with the global variables of torch.fx

    return fx_for()


def compiling_for() -> bool:
    """Whether torch compiles, as far as the code that asks is concerned."""
    return not _asked_by_own(sys._getframe(1))


def fx_for() -> bool:
    """Whether torch.fx traces, as far as the code that asks is concerned."""
    return bool(_symbolic_trace._is_fx_tracing_flag) and not _asked_by_own(sys._getframe(1))


def _asked_by_own(frame: FrameType | None) -> bool:
    while frame is not None and frame.f_code.co_name in _ASKING:
        frame = frame.f_back
    return frame is not None and own(frame.f_code.co_filename)


_ANSWERS: Final = {  # torch has three functions that ask the first
    torch.compiler.is_compiling: _is_compiling.__code__,
    _symbolic_trace.is_fx_tracing: _is_fx_tracing.__code__,
    _symbolic_trace.is_fx_symbolic_tracing: _is_fx_tracing.__code__,
}
_ASKING: Final = frozenset({"is_compiling", *(code.co_name for code in _ANSWERS.values())})


@contextmanager
def plain_answers() -> Iterator[None]:
    """While open, torch.compiler.is_compiling and its like answer so, under whatever name they were imported."""
    usual = {function: function.__code__ for function in _ANSWERS}
    for function, code in _ANSWERS.items():
        function.__code__ = code
    try:
        yield
    finally:
        for function, code in usual.items():
            function.__code__ = code
