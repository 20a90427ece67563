"""A small network tells malignant from benign tumours by 30 measurements: scikit-learn's `load_breast_cancer`."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_breast_cancer
from torch import Tensor, nn

from offchain.job import DEFAULT_BITS, Batch, Job


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training rows (426, 30) and labels, test rows (143, 30) and labels; standardised by the training rows."""
    rows, labels = load_breast_cancer(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    x, y = torch.tensor(rows)[order], torch.tensor(labels, dtype=torch.float32)[order]
    train = len(y) * 3 // 4
    x = ((x - x[:train].mean(0)) / x[:train].std(0)).float()
    return x[:train], y[:train], x[train:], y[train:]


def model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(30, 32), nn.GELU(), nn.Linear(32, 16), nn.GELU(), nn.Linear(16, 1))


def loss(model: Any, batch: Batch) -> Tensor:
    return nn.functional.binary_cross_entropy_with_logits(model(batch["row"]).squeeze(1), batch["label"])


def job(seed: int = 0, steps: int = 200, bits: int = DEFAULT_BITS) -> Job:
    rows, labels, _, _ = split()
    return Job(
        model=model(seed),
        loss=loss,
        optimizer=(torch.optim.RMSprop, {"lr": 1e-3, "momentum": 0.5}),
        dataset={"row": rows, "label": labels},
        batch_size=32,
        steps=steps,
        interval=steps // 10 or 1,
        seed=seed,
        bits=bits,
        name="tumours",
    )


def evaluate(state: dict[str, Tensor]) -> dict[str, float]:
    """Share of the test rows that are classified correctly."""
    network = model().eval()
    network.load_state_dict(state)
    _, _, rows, labels = split()
    with torch.no_grad():
        return {"accuracy": float(((network(rows).squeeze(1) > 0) == (labels > 0.5)).float().mean())}
