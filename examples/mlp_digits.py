"""A perceptron with one hidden layer learns handwritten digits: 8×8 pixels, scikit-learn's `load_digits`."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from offchain.job import DEFAULT_BITS, Batch, Job


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images (1,438, 64) and labels, test images (359, 64) and labels; every fifth row is a test row."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32), torch.tensor(labels)
    test = torch.arange(len(y)) % 5 == 4
    return x[~test], y[~test], x[test], y[test]


def model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 10))


def loss(model: Any, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch["image"]), batch["label"])


def job(seed: int = 0, steps: int = 300, bits: int = DEFAULT_BITS) -> Job:
    images, labels, _, _ = split()
    return Job(
        model=model(seed),
        loss=loss,
        optimizer=(torch.optim.SGD, {"lr": 0.2, "momentum": 0.9, "weight_decay": 1e-4}),
        schedule=lambda t: 1 - t / steps,
        dataset={"image": images, "label": labels},
        batch_size=64,
        steps=steps,
        interval=steps // 10 or 1,
        seed=seed,
        bits=bits,
        name="digits, perceptron",
    )


def evaluate(state: dict[str, Tensor]) -> dict[str, float]:
    """Share of the test digits that are classified correctly."""
    network = model().eval()
    network.load_state_dict(state)
    _, _, images, labels = split()
    with torch.no_grad():
        return {"accuracy": float((network(images).argmax(1) == labels).float().mean())}
