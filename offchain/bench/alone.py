"""Tasks of a single operation: their step graphs do little else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from offchain.exec.base import Limits
from offchain.ir.graph import Slot, Source
from offchain.job import Job
from offchain.lower import compile as lower
from offchain.lower.fuse import prune
from offchain.task import Task

RESULT: Final = "result"
ALL: Final = Limits(prepared=0)  # a step of these tasks, which changes no operand, does all the work each time


class _Computing(nn.Module):
    """Writes a function of its tensors to a buffer; its one parameter exists because a loss needs one."""

    result: Tensor

    def __init__(self, function: Callable[..., Tensor], tensors: Sequence[Tensor]) -> None:
        super().__init__()
        self.function, self.count = function, len(tensors)
        self.number = nn.Parameter(torch.zeros(1))
        for i, tensor in enumerate(tensors):
            self.register_buffer(f"x{i}", tensor)
        self.register_buffer(RESULT, torch.zeros_like(function(*tensors)))

    def forward(self) -> Tensor:
        self.result.copy_(self.function(*(getattr(self, f"x{i}") for i in range(self.count))))
        return self.number.sum()


class _Product(nn.Module):
    """A parameter whose gradient is a given tensor."""

    gradient: Tensor

    def __init__(self, gradient: Tensor) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros_like(gradient))
        self.register_buffer("gradient", gradient)

    def forward(self) -> Tensor:
        return (self.weight * self.gradient).sum()


def computing(function: Callable[..., Tensor], *tensors: Tensor, bits: int = 21) -> Task:
    """A task whose step writes `function(*tensors)` to the slot RESULT, and moves one number."""
    return _task(_Computing(function, tensors), (torch.optim.SGD, {"lr": 1.0}), bits)


def updating(gradient: Tensor, optimizer: type[torch.optim.Optimizer], **options: float) -> Task:
    """A task whose step is an optimizer's move by that gradient."""
    return _task(_Product(gradient), (optimizer, options), 21)


def _task(model: nn.Module, optimizer: tuple[type[torch.optim.Optimizer], dict[str, float]], bits: int) -> Task:
    """The job compiled without its loss: the log stays as it is."""
    nothing = {"nothing": torch.zeros(1)}
    job = Job(model, lambda model, batch: model(), optimizer, nothing, batch_size=1, steps=1, interval=1, bits=bits)
    task = lower(job)
    *slots, log = task.graph.slots
    nodes, slots = prune(task.graph.nodes, [*slots, Slot(log.spec, Source.STATE, len(slots))])
    return replace(task, graph=replace(task.graph, nodes=tuple(nodes), slots=tuple(slots)))
