"""Aids of plain torch that do not change what is computed: off, or no-ops, while a step is captured; and one that does:
a shortcut in evaluation, of which the result stays."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch.utils.checkpoint
from torch import Tensor, nn
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


@contextmanager
def padded_encoders() -> Iterator[None]:
    """While open, nn.TransformerEncoder gives what its shortcut gives in plain torch, which a step cannot take: in
    evaluation mode, without gradients of its weights, padded places are 0."""
    usual = nn.TransformerEncoder.forward

    def forward(
        encoder: Any,
        src: Tensor,
        mask: Tensor | None = None,
        src_key_padding_mask: Tensor | None = None,
        is_causal: bool | None = None,
    ) -> Tensor:
        padding = src_key_padding_mask
        if padding is None or mask is not None or not _takes_shortcut(encoder, src):
            return usual(encoder, src, mask, padding, is_causal)
        made = src
        for layer in encoder.layers:
            made = layer(made, is_causal=is_causal is True, src_key_padding_mask=padding)
        padded = padding if padding.dtype is torch.bool else padding != 0
        if getattr(encoder, "mask_check", True):  # unless padding follows each row
            padded = padded & (padded.int().diff(dim=1) >= 0).all()
        made = made.masked_fill(padded.unsqueeze(-1), 0.0)
        return made if encoder.norm is None else encoder.norm(made)

    with _replaced(nn.TransformerEncoder, "forward", forward):
        yield


def _takes_shortcut(encoder: Any, src: Tensor) -> bool:
    """Whether nn.TransformerEncoder of plain torch computes without the padding."""
    first = encoder.layers[0]
    possible = torch.backends.mha.get_fastpath_enabled() and getattr(encoder, "use_nested_tensor", False)
    if not possible or first.training or src.ndim != 3:
        return False
    return not (torch.is_grad_enabled() and any(x.requires_grad for x in (src, *first.parameters())))


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
