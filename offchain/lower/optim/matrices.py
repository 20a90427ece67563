"""Rules of optimizers that need each parameter as a matrix of its own, in the order of operations of torch.optim's."""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor
from torch.optim import Optimizer

from offchain.lower.optim.rules import Buffers, Options, Rate, Rule

_EPS: Final = torch.finfo(torch.float32).eps


def _adafactor_buffers(o: Options, parameter: Tensor) -> Buffers:
    if parameter.ndim < 2:
        return {"variance": torch.zeros_like(parameter)}
    shape = parameter.shape
    return {"row_var": parameter.new_zeros(*shape[:-1], 1), "col_var": parameter.new_zeros(*shape[:-2], 1, shape[-1])}


def _rms(x: Tensor) -> Tensor:
    return x.square().sum().sqrt() / math.sqrt(x.numel())


def _adafactor(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    """torch.optim.Adafactor, whose norms stay tensors."""
    g = -g if o["maximize"] else g
    eps1, eps2 = o["eps"]
    eps1 = _EPS if eps1 is None else eps1
    step = (count + 1).to(torch.float32)
    part = step.pow(o["beta2_decay"])
    rate = torch.minimum(torch.as_tensor(lr, dtype=torch.float32), step.rsqrt())
    rate = _rms(p).clamp(min=eps2) * rate
    p = p * (1 - lr * o["weight_decay"]) if o["weight_decay"] else p
    if g.ndim > 1:
        rows, columns = (
            b[name] + (g.square().mean(dim, keepdim=True) - b[name]) * part
            for name, dim in (("row_var", -1), ("col_var", -2))
        )
        b = {"row_var": rows, "col_var": columns}
        variance = rows * columns / rows.mean(dim=-2, keepdim=True).clamp(min=eps1)
    else:
        variance = b["variance"] + (g * g - b["variance"]) * part
        b = {"variance": variance}
    move = variance.clamp(min=eps1 * eps1).rsqrt() * g
    return p - move * (rate / (_rms(move) / o["d"]).clamp(min=1.0)), b


def _muon_buffers(o: Options, parameter: Tensor) -> Buffers:
    return {"momentum_buffer": torch.zeros_like(parameter)}


def _muon(p: Tensor, g: Tensor, b: Buffers, o: Options, lr: Rate, count: Tensor) -> tuple[Tensor, Buffers]:
    """torch.optim.Muon, whose products have the job's precision here; torch takes bfloat16."""
    mean = b["momentum_buffer"] + (g - b["momentum_buffer"]) * (1 - o["momentum"])
    move = g + (mean - g) * o["momentum"] if o["nesterov"] else mean
    rows, columns = p.shape
    like_adamw = o["adjust_lr_fn"] == "match_rms_adamw"
    ratio = 0.2 * math.sqrt(max(rows, columns)) if like_adamw else math.sqrt(max(1, rows / columns))
    p = p * (1 - lr * o["weight_decay"]) if o["weight_decay"] else p
    return p - _orthogonal(move, o) * (lr * ratio), {"momentum_buffer": mean}


def _orthogonal(x: Tensor, o: Options) -> Tensor:
    """Newton and Schulz's iteration: a matrix with nearly the singular vectors of x, and singular values near 1."""
    a, b, c = o["ns_coefficients"]
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.square().sum().sqrt().clamp(min=o["eps"])
    for _ in range(o["ns_steps"]):
        gram = x @ x.T
        x = x * a + (gram * b + (gram @ gram) * c) @ x
    return x.T if tall else x


def _options(names: str) -> frozenset[str]:
    return frozenset(("lr", "weight_decay", *names.split()))


MATRIX_RULES: Final[dict[type[Optimizer], Rule]] = {
    torch.optim.Adafactor: Rule(_options("beta2_decay eps d maximize"), _adafactor_buffers, _adafactor, whole=True),
    torch.optim.Muon: Rule(
        _options("momentum nesterov ns_coefficients eps ns_steps adjust_lr_fn"), _muon_buffers, _muon, whole=True
    ),
}
