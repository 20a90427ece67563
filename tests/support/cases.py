"""Many small functions in one compiled step: a parameter for each, so that each has its own gradient."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from offchain.task import Task
from tests.support.gradients import Loss, assert_gradients

Batch = dict[str, Tensor]
Case = Callable[[Tensor, Batch], Tensor]


class Cases(nn.Module):
    """A parameter of the given values for each case."""

    def __init__(self, cases: Mapping[str, Case], values: Tensor) -> None:
        super().__init__()
        self.w = nn.ParameterDict({name: nn.Parameter(values.clone()) for name in cases})


def total(cases: Mapping[str, Case]) -> Loss:
    """A loss that reads every element of every case, each with a weight of its own."""

    def loss(model: Cases, batch: Batch) -> Tensor:
        losses = []
        for name, case in cases.items():
            out = case(model.w[name], batch).to(model.w[name].dtype)
            weights = torch.linspace(0.5, 1.5, out.numel(), dtype=out.dtype).reshape(out.shape)
            losses.append((out.square() * weights + out).sum())
        return torch.stack(losses).sum()

    return loss


def assert_cases(cases: Mapping[str, Case], values: Tensor, dataset: Mapping[str, Tensor]) -> Task:
    """Each case has autograd's float64 gradient; executors and the unfused graph agree bit for bit."""
    return assert_gradients(Cases(cases, values), total(cases), dataset)
