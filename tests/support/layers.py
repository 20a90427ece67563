"""One layer at a time: gradients of its input and parameters against float64, and training beside plain torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offchain.job import Job
from offchain.lower import compile
from offchain.task import Task
from tests.support.gradients import assert_gradients, gradient_job, run

Shape = tuple[int, ...]
Case = tuple[Callable[[], nn.Module], Shape]
LINE, PLANE, SPACE = (2, 3, 7), (2, 4, 4, 5), (1, 2, 3, 4, 3)


class Fed(nn.Module):
    """A layer whose input is a parameter, so that the gradient of the input is tested too."""

    def __init__(self, layer: nn.Module, shape: Shape) -> None:
        super().__init__()
        self.layer, self.image = layer, nn.Parameter(torch.randn(shape))

    def forward(self) -> Tensor:
        out: Tensor = self.layer(self.image)
        return out


def weighted(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return (model() * batch["w"]).sum()


def assert_layer(layer: Callable[[], nn.Module], shape: Shape, **options: Any) -> Task:
    """The gradients of input and parameters are right, under random weights of the output. Returns the task."""
    torch.manual_seed(0)
    model = Fed(layer(), shape)
    with torch.no_grad():
        rows = {"w": torch.randn(model().shape)}
    return assert_gradients(model, weighted, rows, **options)


def trained(job: Job, steps: int) -> tuple[list[float], Mapping[str, Tensor]]:
    """Losses and tensors of ordinary float32 training over the whole dataset."""
    kind, options = job.optimizer
    optimizer, losses = kind(job.model.parameters(), **options), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = job.loss(job.model, job.dataset)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, job.model.state_dict()


def assert_trains_alike(
    model: nn.Module, loss: Callable[..., Tensor], data: dict[str, Tensor], tolerance: float
) -> None:
    """Three steps end as plain torch's do: losses within `tolerance`, buffers within 1e-5, counters equal."""
    job = gradient_job(model, loss, data, steps=3, interval=3)
    fixed = {name: buffer.clone() for name, buffer in model.named_buffers()}
    state = {**fixed, **run(compile(job), steps=3)}
    losses, wanted = trained(job, 3)
    np.testing.assert_allclose(state["log"][:, 0], losses, atol=tolerance, rtol=tolerance)
    for name, _ in model.named_buffers():
        exact = wanted[name].dtype is torch.int64
        np.testing.assert_allclose(state[name], wanted[name], rtol=0, atol=0 if exact else 1e-5, err_msg=name)
