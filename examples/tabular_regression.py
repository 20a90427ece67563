"""A small network predicts the course of diabetes from ten measurements: scikit-learn's `load_diabetes`."""

from __future__ import annotations

from typing import Any

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

from offchain.job import DEFAULT_BITS, Batch, Job


def split() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training rows (331, 10) and targets, test rows (111, 10) and targets; standardised by the training rows."""
    rows, targets = load_diabetes(return_X_y=True, scaled=False)
    order = torch.randperm(len(targets), generator=torch.Generator().manual_seed(0))
    table = torch.cat([torch.tensor(rows), torch.tensor(targets).unsqueeze(1)], 1)[order]
    train = len(targets) * 3 // 4
    table = ((table - table[:train].mean(0)) / table[:train].std(0)).float()
    x, y = table[:, :-1].contiguous(), table[:, -1].contiguous()
    return x[:train], y[:train], x[train:], y[train:]


def model(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(10, 32), nn.SiLU(), nn.Linear(32, 1))


def loss(model: Any, batch: Batch) -> Tensor:
    return nn.functional.smooth_l1_loss(model(batch["row"]).squeeze(1), batch["target"])


def job(seed: int = 0, steps: int = 300, bits: int = DEFAULT_BITS) -> Job:
    rows, targets, _, _ = split()
    return Job(
        model=model(seed),
        loss=loss,
        optimizer=(torch.optim.AdamW, {"lr": 3e-3, "weight_decay": 1e-2}),
        dataset={"row": rows, "target": targets},
        batch_size=32,
        steps=steps,
        interval=steps // 10 or 1,
        seed=seed,
        bits=bits,
        name="diabetes",
    )


def evaluate(state: dict[str, Tensor]) -> dict[str, float]:
    """Share of the test targets' variance that the predictions explain."""
    network = model().eval()
    network.load_state_dict(state)
    _, _, rows, targets = split()
    with torch.no_grad():
        left = (network(rows).squeeze(1) - targets).square().mean()
    return {"R²": float(1 - left / targets.var(correction=0))}
