"""What a step that is being captured tells the requester's own code about itself: what plain torch would tell it.

Libraries that are installed hear that torch compiles: they leave out shortcuts that depend on a tensor's values then,
and compute the same. The requester's own code, which may compute something else, takes the way of plain torch.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import torch

from offchain.lines import own


def _is_compiling() -> bool:
    from offchain.lower.answers import compiling_for  # runs with the global variables of torch.compiler

    return compiling_for()


def compiling_for() -> bool:
    """Whether torch compiles, as far as the code that asks is concerned."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_code.co_name in (_is_compiling.__name__, "is_compiling"):  # torch has three
        frame = frame.f_back
    return frame is None or not own(frame.f_code.co_filename)


@contextmanager
def plain_answers() -> Iterator[None]:
    """While open, torch.compiler.is_compiling and its like answer so, under whatever name they were imported."""
    usual = torch.compiler.is_compiling.__code__
    torch.compiler.is_compiling.__code__ = _is_compiling.__code__
    try:
        yield
    finally:
        torch.compiler.is_compiling.__code__ = usual
