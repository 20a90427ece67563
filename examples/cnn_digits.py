"""A convolutional network with batch normalisation and dropout learns scikit-learn's handwritten digits."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from offchain.job import DEFAULT_BITS, Batch, Job


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images (1,438, 1, 8, 8) and labels, test images and labels; every fifth row is a test row."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.tensor(images / 16, dtype=torch.float32).reshape(-1, 1, 8, 8), torch.tensor(labels)
    test = torch.arange(len(y)) % 5 == 4
    return x[~test], y[~test], x[test], y[test]


def model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 16, 3, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1, bias=False),
            nn.BatchNorm2d(32),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Dropout(0.2),
            nn.Linear(128, 10),
        )


def loss(model: Any, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch["image"]), batch["label"], label_smoothing=0.05)


def job(seed: int = 0, steps: int = 200, bits: int = DEFAULT_BITS, batch_size: int = 64) -> Job:
    images, labels, _, _ = split()
    return Job(
        model=model(seed),
        loss=loss,
        optimizer=(torch.optim.Adam, {"lr": 3e-3}),
        schedule=lambda t: 1 - t / steps,
        dataset={"image": images, "label": labels},
        batch_size=batch_size,
        steps=steps,
        interval=steps // 10 or 1,
        seed=seed,
        bits=bits,
        name="digits, convolutional",
    )


def evaluate(state: dict[str, Tensor]) -> dict[str, float]:
    """Share of the test digits that are classified correctly, with running statistics and without dropout."""
    network = model().eval()
    network.load_state_dict(state)
    _, _, images, labels = split()
    with torch.no_grad():
        return {"accuracy": float((network(images).argmax(1) == labels).float().mean())}
