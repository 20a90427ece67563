"""Batch and instance normalisation, written so that their changes of the running statistics are captured.

torch's `native_batch_norm` changes them without declaring it in its schema; `_native_batch_norm_legit` declares it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from offchain.errors import BadInput

_legit = torch.ops.aten._native_batch_norm_legit


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch.nn.functional.batch_norm. x: (n, c, …). Raises BadInput where a variance would be of one value."""
    if training and x.numel() == x.shape[1]:
        raise BadInput(
            f"batch normalisation in training of one value a channel, shape {tuple(x.shape)}; use larger batches"
        )
    out: Tensor
    if running_mean is None or running_var is None:
        out = _legit.no_stats(x, weight, bias, training, momentum, eps)[0]
    elif training:
        out = _legit.default(x, weight, bias, running_mean, running_var, training, momentum, eps)[0]
    else:  # torch's own also returns empty tensors, which no graph can hold
        shape = (-1, *(1,) * (x.ndim - 2))
        out = (x - running_mean.reshape(shape)) * (running_var + eps).rsqrt().reshape(shape)
        out = out if weight is None else out * weight.reshape(shape)
        out = out if bias is None else out + bias.reshape(shape)
    return out


def instance_norm(
    x: Tensor,
    running_mean: Tensor | None = None,
    running_var: Tensor | None = None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    use_input_stats: bool = True,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """As torch.nn.functional.instance_norm: batch normalisation in which each row has channels of its own."""
    rows, channels = x.shape[:2]
    running = (running_mean, running_var)
    weight, bias, mean, var = (t if t is None else t.repeat(rows) for t in (weight, bias, *running))
    wide = x.reshape(1, rows * channels, *x.shape[2:])
    out = batch_norm(wide, mean, var, weight, bias, use_input_stats, momentum, eps)
    for kept, moved in zip(running, (mean, var), strict=True):
        if kept is not None and moved is not None and use_input_stats:
            kept.copy_(moved.reshape(rows, channels).mean(0))
    return out.reshape(x.shape)
