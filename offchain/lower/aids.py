"""Aids of plain torch that do not change what is computed: off, or no-ops, while a step is captured."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.utils.checkpoint
from torch.distributions import Distribution
from torch.fx import GraphModule


class _Called:
    """Stands for the function behind `checkpoint(..., use_reentrant=True)`: calls without saving memory."""

    @staticmethod
    def apply(function: Callable[..., Any], preserve: bool, *args: Any) -> Any:
        return function(*args)


def _nothing_before_or_after(*_: Any, **__: Any) -> Iterator[None]:
    """Stands for what `checkpoint(..., use_reentrant=False)` does around a call."""
    yield


@contextmanager
def without_checkpoints() -> Iterator[None]:
    """While open, torch.utils.checkpoint only calls its function: it saves memory and changes no number.

    The function would run again in the backward pass, where functorch has no place for it, and where random operations
    would be counted twice.
    """
    module = torch.utils.checkpoint
    with (
        _replaced(module, "CheckpointFunction", _Called),
        _replaced(module, "_checkpoint_without_reentrant_generator", _nothing_before_or_after),
    ):
        yield


@contextmanager
def without_validation() -> Iterator[None]:
    """While open, torch.distributions do not check their arguments, for which they would look at values."""
    with _replaced(Distribution, "_validate_args", False):
        yield


def without_profiling(module: GraphModule) -> None:
    """Takes the marks of torch.profiler.record_function out of a captured step."""
    for node in reversed(module.graph.nodes):
        if getattr(node.target, "namespace", "") == "profiler":
            module.graph.erase_node(node)


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    before = getattr(owner, name)
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, before)
