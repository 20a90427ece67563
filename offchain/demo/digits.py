"""The demo's job file: a small network learns scikit-learn's handwritten digits (1,797 images of 8×8 pixels).

`offchain.jobfile.load("offchain/demo/digits.py")` reads it like any requester's file. Rows of the test split stay out
of the dataset; `accuracy` measures a trained state on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offchain.ir.arrays import Array
from offchain.job import Batch, Job

HIDDEN = 64
STEPS = 300
INTERVAL = 50


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training images and labels, test images and labels; every fifth row is a test row."""
    from sklearn.datasets import load_digits  # an optional dependency, and slow to import

    images, labels = load_digits(return_X_y=True)
    x = torch.tensor(images / 16.0, dtype=torch.float32)
    y = torch.tensor(labels, dtype=torch.int64)
    test = torch.arange(len(y)) % 5 == 4
    return x[~test], y[~test], x[test], y[test]


def model() -> nn.Module:
    """Two layers, initialised from a fixed seed."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(64, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, 10))


def loss(model: Any, batch: Batch) -> Tensor:
    scores: Tensor = model(batch["image"])
    return nn.functional.cross_entropy(scores, batch["label"])


def batch_accuracy(model: Any, batch: Batch) -> Tensor:
    """Share of the batch that the model gets right, before the step."""
    scores: Tensor = model(batch["image"])
    return (scores.argmax(1) == batch["label"]).float().mean()


def job(steps: int = STEPS, interval: int = INTERVAL) -> Job:
    """The job; shorter ones serve tests."""
    images, labels, _, _ = split()

    def decaying(t: Tensor) -> Tensor:
        """Factor on the learning rate at step t, falling to zero."""
        return 1 - t / steps

    return Job(
        model=model(),
        loss=loss,
        optimizer=(torch.optim.SGD, {"lr": 0.3, "momentum": 0.9, "weight_decay": 1e-3}),
        schedule=decaying,
        dataset={"image": images, "label": labels},
        batch_size=64,
        steps=steps,
        interval=interval,
        seed=1,
        metrics={"accuracy": batch_accuracy},
        name="digits",
    )


def accuracy(parameters: dict[str, Array]) -> float:
    """Share of the test split that a trained model gets right (`Task.parameter_arrays` of a state)."""
    network = model()
    network.load_state_dict({name: torch.from_numpy(np.array(value)) for name, value in parameters.items()})
    _, _, images, labels = split()
    with torch.no_grad():
        return float((network(images).argmax(1) == labels).float().mean())
