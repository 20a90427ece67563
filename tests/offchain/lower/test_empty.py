"""Tensors without elements that are joined with others, and integers that follow from positions: as models of
`transformers` have them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import Unsupported
from offchain.inference import Inference
from offchain.lower import compile as lower
from offchain.training import Run

X = torch.randn(5, 6, generator=torch.Generator().manual_seed(0))


def agree(forward: Callable[[Any, Any], Tensor]) -> None:
    """Executors with each other, and with plain torch."""
    program = Inference(nn.Linear(6, 6), (X,), 2, lambda model, batch: forward(model, batch[0]), bits=21)
    run = offchain.compile(program, executor="torch", threads=1)
    run.run()
    reference = Run(run.task, "reference", threads=1)
    reference.run()
    assert reference.state_roots == run.state_roots
    with torch.no_grad():
        torch.testing.assert_close(run.outputs["prediction"], forward(program.model, X), rtol=1e-5, atol=1e-6)


def test_a_rotation_of_all_places_passes_none_by() -> None:
    """Phi-3's, whose share of rotated places may be 1."""
    agree(lambda model, x: torch.cat([x[..., :6] * 2, x[..., 6:]], -1))


def test_a_cache_that_begins_with_nothing() -> None:
    """DynamicCache of transformers, which a model makes where use_cache is left as it is."""
    agree(lambda model, x: torch.cat([torch.tensor([]), model(x)], -2))


def test_its_gradient() -> None:
    def step(state: Any, data: Any, t: Tensor) -> Any:
        def loss(w: Tensor) -> Tensor:
            y = torch.cat([w[:, :3] * 2, w[:, 3:3], w[:, 3:]], 1)
            return y.square().sum()

        gradient, value = torch.func.grad_and_value(loss)(state["w"])
        return {"w": state["w"] - 0.1 * gradient}, {"loss": value}

    run = offchain.compile(offchain.Program(step, {"w": X}, None, 2, 2, bits=21), executor="torch", threads=1)
    run.run()
    torch.testing.assert_close(run.state["w"], X * torch.tensor([0.2] * 3 + [0.8] * 3) ** 2, rtol=1e-5, atol=1e-6)


def test_one_that_is_read_otherwise_is_refused() -> None:
    program = Inference(nn.Identity(), (X,), 5, lambda model, batch: batch[0] + batch[0][:, 6:].sum())
    with pytest.raises(Unsupported, match=r"test_empty.py:\d+: makes an empty tensor of shape \(5, 0\); leave it out"):
        lower(program)


def bucket(distance: Tensor) -> Tensor:
    """T5's, whose logarithm of 0 is no place's."""
    far = 8 + (torch.log(distance.float() / 8) / math.log(128 / 8) * torch.tensor(8)).to(torch.long)
    return torch.where(distance < 8, distance, torch.min(far, torch.full_like(far, 15)))


def test_buckets_of_distances() -> None:
    """Of T5, MPNet and, much the same, DeBERTa."""
    table = torch.randn(16, 6, generator=torch.Generator().manual_seed(1))
    agree(lambda model, x: x + F.embedding(bucket(torch.arange(40)), table).sum(0))


def test_what_follows_from_data_still_has_no_bounds() -> None:
    program = Inference(nn.Identity(), (X,), 5, lambda model, batch: (8 + batch[0].exp().to(torch.long)).float())
    with pytest.raises(Unsupported, match=r"test_empty.py:\d+: 64-bit integers that may reach"):
        lower(program)


def test_a_row_of_a_constant() -> None:
    """Where Llama 4 subtracts each row's padding, of which there is none."""
    agree(lambda model, x: x + (torch.arange(6) - torch.zeros(3, dtype=torch.long)[torch.arange(6) % 3]) // 2)
