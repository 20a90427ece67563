"""Builds jobs that are refused, and returns the line of the refusal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lower import compile

ROWS, WIDTH = 6, 4
GENERAL = "write it with elementwise operations, sums, products and indexing"
Forward = Callable[[Tensor], Tensor]
Batch = dict[str, Tensor]


class Odd(nn.Module):
    """Calls the function `forward` of a test."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.own = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.own(x)


def network(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *layers)


def square(model: Any, batch: Batch) -> Tensor:
    return model(batch["x"]).square().mean()


def fields(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": network(),
        "loss": square,
        "optimizer": (torch.optim.SGD, {"lr": 0.1}),
        "dataset": {"x": torch.ones(ROWS, WIDTH), "y": torch.zeros(ROWS, WIDTH, dtype=torch.int64)},
        "batch_size": 2,
        "steps": 4,
        "interval": 2,
        "bits": 21,
    }
    return {**given, **changes}


def line(function: Callable[..., Any], below: int = 0) -> str:
    """FILE:LINE of a function, or of a line below its first."""
    return f"{function.__code__.co_filename}:{function.__code__.co_firstlineno + below}"


def refused(kind: type[Exception] = Unsupported, **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        compile(Job(**fields(**changes)))
    text = str(caught.value)
    assert type(caught.value) is kind and "\n" not in text
    return text
