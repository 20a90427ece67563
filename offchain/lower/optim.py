"""Optimizers as pure functions. State is a tuple of tensors for each parameter, zero before the first step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from offchain.errors import Unsupported

Buffers = tuple[Tensor, ...]
Update = Callable[[Tensor, Tensor, Buffers, Tensor], tuple[Tensor, Buffers]]


@dataclass(frozen=True)
class Functional:
    """Names of the buffers of a parameter, and `update(parameter, gradient, buffers, t) -> (parameter, buffers)`."""

    buffers: tuple[str, ...]
    update: Update


def functional(optimizer: tuple[type, Mapping[str, Any]]) -> Functional:
    """The pure form of `(torch.optim.X, options)`. Raises Unsupported, naming the optimizer or the option."""
    kind, options = optimizer
    if kind not in _KNOWN:
        names = ", ".join(known.__name__ for known in _KNOWN)
        raise Unsupported(f"optimizer {getattr(kind, '__name__', kind)}; use one of: {names}")
    allowed, make = _KNOWN[kind]
    for name in options:
        if name not in allowed:
            raise Unsupported(f"option {name!r} of {kind.__name__}; supported are: {', '.join(sorted(allowed))}")
    if "lr" not in options:
        raise Unsupported(f"{kind.__name__} without lr; give one")
    return make(**options)


def sgd(
    lr: float | Callable[[Tensor], Tensor],
    momentum: float = 0.0,
    weight_decay: float = 0.0,
    dampening: float = 0.0,
    nesterov: bool = False,
    maximize: bool = False,
) -> Functional:
    """torch.optim.SGD, option by option."""
    if nesterov and (momentum <= 0 or dampening != 0):
        raise Unsupported("SGD with nesterov needs a momentum and no dampening")

    def update(parameter: Tensor, gradient: Tensor, buffers: Buffers, t: Tensor) -> tuple[Tensor, Buffers]:
        if maximize:
            gradient = -gradient
        if weight_decay:
            gradient = gradient + parameter * weight_decay
        if momentum:
            velocity = buffers[0] * momentum + gradient * (1 - dampening)
            if dampening:  # torch takes the first gradient whole
                velocity = torch.where(t == 0, gradient, velocity)
            buffers = (velocity,)
            gradient = gradient + velocity * momentum if nesterov else velocity
        rate = lr(t.to(torch.float32)) if callable(lr) else lr
        return parameter - gradient * rate, buffers

    return Functional(("momentum",) if momentum else (), update)


_KNOWN: Final[dict[type, tuple[frozenset[str], Callable[..., Functional]]]] = {
    torch.optim.SGD: (
        frozenset({"lr", "momentum", "weight_decay", "dampening", "nesterov", "maximize"}),
        sgd,
    ),
}
