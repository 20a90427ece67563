"""What a trained perceptron is worth: accuracy, loss, perplexity and confusion matrix on digits that it never saw.

Whoever runs the task gets the same figures, and anybody can dispute one down to a single operation.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from offchain import Evaluation
from offchain.job import DEFAULT_BITS

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
import mlp_digits


def trained(steps: int) -> nn.Module:
    """The perceptron of `mlp_digits` after so many steps of plain torch."""
    model, (images, labels, _, _) = mlp_digits.model(), mlp_digits.split()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
    generator = torch.Generator().manual_seed(0)
    for _ in range(steps):
        rows = torch.randint(len(images), (64,), generator=generator)
        mlp_digits.loss(model, {"image": images[rows], "label": labels[rows]}).backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def job(steps: int = 100, bits: int = DEFAULT_BITS, batch_size: int = 64, interval: int = 2) -> Evaluation:
    _, _, images, labels = mlp_digits.split()
    return Evaluation(
        trained(steps),
        {"image": images, "label": labels},
        ["accuracy", "loss", "perplexity", "confusion"],
        batch_size,
        lambda model, batch: model(batch["image"]),
        target="label",
        classes=10,
        interval=interval,
        bits=bits,
        name="digits, evaluation",
    )
