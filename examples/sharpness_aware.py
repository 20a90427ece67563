"""Sharpness-aware minimisation (Foret et al. 2021): the gradient is taken where the loss near the weights is greatest.

Each step computes two gradients: one says where to go up by RADIUS, the other, taken there, moves the weights. With
momentum, on the perceptron of `mlp_digits`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad, grad_and_value
from torch.nn.functional import cross_entropy

from offchain import Program
from offchain.job import DEFAULT_BITS

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
import mlp_digits

MODEL = mlp_digits.model()
RATE, MOMENTUM, RADIUS = 0.1, 0.9, 0.05


def step(state: Any, batch: Any, t: Tensor) -> Any:
    def loss(weights: dict[str, Tensor]) -> Tensor:
        return cross_entropy(functional_call(MODEL, weights, (batch["image"],)), batch["label"])

    weights, velocity = state["weights"], state["velocity"]
    gradients, value = grad_and_value(loss)(weights)
    norm = torch.sqrt(sum(g.square().sum() for g in gradients.values()) + 1e-12)
    above = {name: weight + RADIUS * gradients[name] / norm for name, weight in weights.items()}
    gradients = grad(loss)(above)
    velocity = {name: MOMENTUM * velocity[name] + gradients[name] for name in weights}
    moved = {name: weight - RATE * velocity[name] for name, weight in weights.items()}
    return {"weights": moved, "velocity": velocity}, {"loss": value, "sharpness": loss(above) - value}


def job(seed: int = 0, steps: int = 300, bits: int = DEFAULT_BITS, batch_size: int = 64) -> Program:
    images, labels, _, _ = mlp_digits.split()
    weights = dict(mlp_digits.model(seed).named_parameters())
    return Program(
        step,
        {"weights": weights, "velocity": {name: torch.zeros_like(weight) for name, weight in weights.items()}},
        {"image": images, "label": labels},
        steps=steps,
        interval=steps // 10 or 1,
        batch_size=batch_size,
        seed=seed,
        bits=bits,
        name="digits, sharpness-aware",
    )


def evaluate(state: dict[str, Any]) -> dict[str, float]:
    """Share of the test digits that are classified correctly."""
    return mlp_digits.evaluate(state["weights"])
