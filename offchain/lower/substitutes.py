"""Substitutes for functions of torch that look at values or cannot be captured as they are."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from math import log, pi
from types import FrameType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd.function import BackwardCFunction
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from offchain.errors import Unsupported
from offchain.lines import own
from offchain.lower.batch_norm import batch_norm, instance_norm
from offchain.lower.ctc import ctc_loss
from offchain.lower.grid_sample import grid_sample, grid_sampler
from offchain.lower.inner import requires_grad_
from offchain.lower.restated import RESTATED
from offchain.lower.subscripts import getitem, setitem


class Substituted(TorchFunctionMode):
    """While on, calls of these functions go to their substitutes. `adding`: whether gradients of several steps are
    added, so that a step of plain torch would find those of the steps before."""

    def __init__(self, adding: bool = False) -> None:
        super().__init__()
        self.adding = adding

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.is_autocast_enabled("cpu"):
            raise Unsupported("torch.autocast: leave it out, `bits` sets the precision of matrix products")
        if self.adding and func == _GRAD and _is_own(sys._getframe(1), "zero_grad"):
            raise Unsupported(
                "the gradient of the steps before is read or cleared: with accumulate= the steps between two updates "
                "see nothing of it; leave it out, or let an optimizer of your own change parameter.grad in its step"
            )
        return _SUBSTITUTES.get(func, func)(*args, **(kwargs or {}))


@contextmanager
def substituted(adding: bool) -> Iterator[None]:
    """While open, Substituted is on; also while a function's own backward runs, where torch turns it off."""
    usual: Callable[..., Any] = BackwardCFunction.apply

    def apply(function: Any, *args: Any) -> Any:
        with Substituted(adding):
            return usual(function, *args)

    BackwardCFunction.apply = apply  # type: ignore[method-assign]
    try:
        with Substituted(adding):
            yield
    finally:
        BackwardCFunction.apply = usual  # type: ignore[method-assign]


def _is_own(frame: FrameType | None, through: str = "") -> bool:
    """Whether a frame is of the requester's own code, or called by it, perhaps by a function of this name."""
    while frame is not None and frame.f_code.co_name in ("__torch_function__", through):
        frame = frame.f_back
    return frame is not None and own(frame.f_code.co_filename)


def _version(x: Tensor) -> int:
    if _is_own(sys._getframe(1)):
        raise Unsupported(
            "_version counts writes, and a step that is captured writes otherwise than plain torch; leave it out, and "
            "count in a buffer of the model"
        )
    return x._version


def _register_hook(x: Tensor, hook: Callable[..., Any]) -> Any:
    """A hook on what a step computes goes with it; one on a parameter stays."""
    _refuse_parameter(x)
    return torch.Tensor.register_hook(x, hook)  # type: ignore[no-untyped-call]


def _register_post_accumulate_grad_hook(x: Tensor, hook: Callable[..., Any]) -> Any:
    _refuse_parameter(x)
    return torch.Tensor.register_post_accumulate_grad_hook(x, hook)  # type: ignore[no-untyped-call]


def _refuse_parameter(x: Tensor) -> None:
    if isinstance(x, nn.Parameter):
        raise Unsupported(
            "a hook on the gradient of a parameter stays there, so that each step adds another; let an optimizer of "
            "your own change parameter.grad in its step"
        )


def _set_data(x: Tensor, value: Tensor) -> None:
    """`x.data = value` as a copy into x, which a buffer or a frozen parameter keeps for the next step."""
    if x.requires_grad or (x.shape, x.dtype) != (value.shape, value.dtype):
        raise Unsupported(
            "a tensor is replaced: write to buffers, and to parameters that require no gradient, with .copy_() under "
            "torch.no_grad(); to those that are trained in the step of an optimizer of your own, or before the job is "
            "built. Of what a step computes make another: x = (x + d).detach()"
        )
    with torch.no_grad():
        x.copy_(value)


def _pad(x: Tensor, pad: Sequence[int], mode: str = "constant", value: float | None = None) -> Tensor:
    """Reflected, repeated and circular borders as slices, whose gradients are slices too."""
    if mode == "constant":
        return F.pad(x, list(pad), mode, value)
    for i in range(len(pad) // 2):
        d, (before, after) = x.ndim - 1 - i, pad[2 * i : 2 * i + 2]
        size = x.shape[d]
        if min(before, after) < 0 or (mode != "replicate" and max(before, after) > size - (mode == "reflect")):
            raise Unsupported(
                f"{mode} padding of {before} and {after} around {size} elements; pad by less, and index to crop"
            )
        borders = [[_border(x, mode, d, n, first)] if n else [] for n, first in ((before, True), (after, False))]
        x = torch.cat([*borders[0], x, *borders[1]], d)
    return x


def _border(x: Tensor, mode: str, d: int, count: int, first: bool) -> Tensor:
    """The border before (`first`) or after x along axis d."""
    size = x.shape[d]
    if mode == "circular":
        return x.narrow(d, size - count if first else 0, count)
    if mode == "reflect":
        return x.narrow(d, 1 if first else size - 1 - count, count).flip(d)
    return x.narrow(d, 0 if first else size - 1, 1).expand([*x.shape[:d], count, *x.shape[d + 1 :]])


def _one_hot(labels: Tensor, num_classes: int = -1) -> Tensor:
    """Labels outside the range give zeros, where torch looks at values to refuse them."""
    if num_classes < 1:
        raise Unsupported("one_hot without num_classes; give num_classes, since it cannot depend on values")
    torch.zeros(num_classes).index_select(0, labels.reshape(-1))  # no part of the step, but ranges.py checks it
    return (labels.unsqueeze(-1) == torch.arange(num_classes, dtype=labels.dtype)).to(torch.int64)


def _binary_cross_entropy(x: Tensor, target: Tensor, *args: Any, **options: Any) -> Tensor:
    """As torch's, which refuses targets outside of 0 to 1 in the first batch: ranges.py looks at those of all rows."""
    loss = F.binary_cross_entropy(x, target, *args, **options)
    torch.zeros(1).index_select(0, ((target < 0) | (target > 1)).to(torch.int64).reshape(-1))
    return loss


def _gaussian_nll(
    x: Tensor, target: Tensor, var: Tensor | float, full: bool = False, eps: float = 1e-6, reduction: str = "mean"
) -> Tensor:
    """As torch's, which refuses variances below 0 in the first batch: ranges.py looks at those of all rows."""
    var = var * torch.ones_like(x) if isinstance(var, float) else var
    torch.zeros(1).index_select(0, (var < 0).to(torch.int64).reshape(-1))
    if var.shape != x.shape and var.ndim == x.ndim - 1:
        var = var.unsqueeze(-1)
    var = var + (var.detach().clamp(min=eps) - var.detach())  # the gradient passes the clamp
    loss = 0.5 * (var.log() + (x - target) ** 2 / var) + (0.5 * log(2 * pi) if full else 0.0)
    return _reduced(loss, reduction)


def _embedding(
    rows: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Tensor:
    """As torch's, where it writes nothing and its gradient is dense."""
    if max_norm is not None:
        raise Unsupported("max_norm writes to the rows that are read; leave it out, or divide the rows by their norm")
    if sparse:
        raise Unsupported("a sparse gradient; leave sparse=True out, and use an optimizer of dense gradients")
    return F.embedding(rows, weight, padding_idx, None, norm_type, scale_grad_by_freq)


def _embedding_bag(
    rows: Tensor,
    weight: Tensor,
    offsets: Tensor | None = None,
    max_norm: float | None = None,
    norm_type: float = 2,
    scale_grad_by_freq: bool = False,
    mode: str = "mean",
    sparse: bool = False,
    per_sample_weights: Tensor | None = None,
    include_last_offset: bool = False,
    padding_idx: int | None = None,
) -> Tensor:
    """Bags as the rows of a 2-D tensor."""
    if rows.ndim != 2 or offsets is not None or max_norm is not None or scale_grad_by_freq:
        raise Unsupported("embedding_bag with offsets, max_norm or scale_grad_by_freq; give bags as rows of 2-D input")
    found = F.embedding(rows, weight)
    if per_sample_weights is not None:
        found = found * per_sample_weights.unsqueeze(-1)
    inside = (rows != (-1 if padding_idx is None else padding_idx % weight.shape[0])).unsqueeze(-1)
    if mode == "max":
        best = found.masked_fill(~inside, float("-inf")).amax(1)
        return best.masked_fill(~inside.any(1), 0.0)
    total = (found * inside).sum(1)
    return total / inside.sum(1).clamp(min=1) if mode == "mean" else total


def _pack(*_: Any) -> Tensor:
    raise Unsupported(
        "packed sequences have sizes that depend on values; call the layer on the padded batch, mask its outputs or "
        "gather the last valid one"
    )


def _multi_margin(
    x: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: None = None,
    reduce: None = None,
    reduction: str = "mean",
) -> Tensor:
    """torch's own has no backward that can be captured."""
    rows, labels = (x, target) if x.ndim == 2 else (x.unsqueeze(0), target.reshape(1))
    excess = (margin - rows.gather(1, labels.unsqueeze(1)) + rows).clamp(min=0.0) ** p
    if weight is not None:
        excess = excess * weight[labels].unsqueeze(1)
    loss = (excess * (1 - _one_hot(labels, rows.shape[1]))).sum(1) / rows.shape[1]
    return _reduced(loss.reshape(target.shape), reduction)


def _cdist(x1: Tensor, x2: Tensor, p: float = 2.0, compute_mode: str | None = None) -> Tensor:
    """Never torch's shortcut by a product, in which near rows lose their distance."""
    return torch.cdist(x1, x2, p, "donot_use_mm_for_euclid_dist")


def _ctc_loss(
    log_probs: Tensor,
    targets: Tensor,
    input_lengths: Tensor | Sequence[int],
    target_lengths: Tensor | Sequence[int],
    blank: int = 0,
    reduction: int = 1,
    zero_infinity: bool = False,
) -> Tensor:
    """torch.ctc_loss, whose reductions are numbers."""
    name = ("none", "mean", "sum")[reduction]
    return ctc_loss(log_probs, targets, input_lengths, target_lengths, blank, name, zero_infinity)


def _logcumsumexp(x: Tensor, dim: int) -> Tensor:
    """By log2(n) steps of logaddexp, whose gradient is a quotient; torch's is an exponential of large differences."""
    never = -1e30
    y = x.masked_fill(x == float("-inf"), never)
    size, reach = (x.shape[dim], 1) if x.ndim else (1, 1)
    while reach < size:
        rest = torch.logaddexp(y.narrow(dim, reach, size - reach), y.narrow(dim, 0, size - reach))
        y = torch.cat([y.narrow(dim, 0, reach), rest], dim)
        reach *= 2
    return y.masked_fill(y < never / 2, float("-inf"))


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return loss
    return loss.mean() if reduction == "mean" else loss.sum()


_GRAD: Final = vars(torch._C.TensorBase)["grad"].__get__
_SUBSTITUTES: Final[dict[Any, Callable[..., Any]]] = {
    **RESTATED,
    F.pad: _pad,
    F.one_hot: _one_hot,
    F.binary_cross_entropy: _binary_cross_entropy,
    F.gaussian_nll_loss: _gaussian_nll,
    F.embedding: _embedding,
    F.embedding_bag: _embedding_bag,
    F.multi_margin_loss: _multi_margin,
    torch.cdist: _cdist,
    torch.logcumsumexp: _logcumsumexp,
    torch.Tensor.logcumsumexp: _logcumsumexp,
    F.grid_sample: grid_sample,
    torch.grid_sampler: grid_sampler,
    torch.grid_sampler_2d: grid_sampler,
    torch.grid_sampler_3d: grid_sampler,
    F.ctc_loss: ctc_loss,
    torch.ctc_loss: _ctc_loss,
    F.batch_norm: batch_norm,
    F.instance_norm: instance_norm,
    torch.Tensor.requires_grad_: requires_grad_,
    torch.Tensor.register_hook: _register_hook,
    torch.Tensor.register_post_accumulate_grad_hook: _register_post_accumulate_grad_hook,
    vars(torch._C.TensorBase)["_version"].__get__: _version,
    vars(torch._C.TensorBase)["data"].__set__: _set_data,
    torch.Tensor.__getitem__: getitem,
    torch.Tensor.__setitem__: setitem,
    torch._VF._pack_padded_sequence: _pack,
}
