"""The perceptron of `mlp_digits` without momentum, and the exponential moving average of its weights beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.func import functional_call, grad_and_value
from torch.nn.functional import cross_entropy

from offchain import Program
from offchain.job import DEFAULT_BITS

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
import mlp_digits

MODEL = mlp_digits.model()
RATE, KEPT = 0.5, 0.98  # of a step, and of the average


def step(state: Any, batch: Any, t: Tensor) -> Any:
    def loss(weights: dict[str, Tensor]) -> Tensor:
        return cross_entropy(functional_call(MODEL, weights, (batch["image"],)), batch["label"])

    gradients, value = grad_and_value(loss)(state["weights"])
    weights = {name: weight - RATE * gradients[name] for name, weight in state["weights"].items()}
    kept = torch.clamp((1.0 + t) / (10.0 + t), max=KEPT)  # little at first, when the average is of few
    average = {name: kept * state["average"][name] + (1 - kept) * weight for name, weight in weights.items()}
    return {"weights": weights, "average": average}, {"loss": value, "loss of the average": loss(average)}


def job(seed: int = 0, steps: int = 300, bits: int = DEFAULT_BITS, batch_size: int = 32) -> Program:
    images, labels, _, _ = mlp_digits.split()
    weights = dict(mlp_digits.model(seed).named_parameters())
    return Program(
        step,
        {"weights": weights, "average": weights},
        {"image": images, "label": labels},
        steps=steps,
        interval=steps // 10 or 1,
        batch_size=batch_size,
        seed=seed,
        bits=bits,
        name="digits, average of weights",
    )


def evaluate(state: dict[str, Any]) -> dict[str, float]:
    """Share of the test digits that the weights classify correctly, and their average."""
    return {name: mlp_digits.evaluate(state[name])["accuracy"] for name in ("weights", "average")}
