"""A small network learns from a larger one that is frozen: its softened scores beside the labels (Hinton et al. 2015).

The teacher is the perceptron of `mlp_digits`, trained here in plain torch; its weights are constants of the graph.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn.functional import cross_entropy, kl_div, log_softmax, softmax

from offchain import Program
from offchain.job import DEFAULT_BITS

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbours, however this file is run
import evaluate_digits
import mlp_digits

STUDENT = nn.Sequential(nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
RATE, SOFT, SHARE = 0.2, 3.0, 0.7  # temperature of the scores, and what they count for


def job(seed: int = 0, steps: int = 300, bits: int = DEFAULT_BITS, batch_size: int = 64) -> Program:
    images, labels, _, _ = mlp_digits.split()
    teacher = evaluate_digits.trained(200).requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        wanted = softmax(teacher(batch["image"]) / SOFT, 1)

        def loss(weights: dict[str, Tensor]) -> Tensor:
            scores = functional_call(STUDENT, weights, (batch["image"],))
            soft = kl_div(log_softmax(scores / SOFT, 1), wanted, reduction="batchmean")
            return SHARE * SOFT**2 * soft + (1 - SHARE) * cross_entropy(scores, batch["label"])

        gradients, value = grad_and_value(loss)(state)
        return {name: weight - RATE * gradients[name] for name, weight in state.items()}, {"loss": value}

    return Program(
        step,
        {name: torch.randn(w.shape, generator=generator) * 0.15 for name, w in STUDENT.named_parameters()},
        {"image": images, "label": labels},
        steps=steps,
        interval=steps // 10 or 1,
        batch_size=batch_size,
        seed=seed,
        bits=bits,
        name="digits, distillation",
    )


def evaluate(state: dict[str, Tensor]) -> dict[str, float]:
    """Share of the test digits that the student classifies correctly."""
    _, _, images, labels = mlp_digits.split()
    with torch.no_grad():
        return {"accuracy": float((functional_call(STUDENT, state, (images,)).argmax(1) == labels).float().mean())}
