"""The peers: an ordinary training step of plain torch, and plain torch under bfloat16 autocast."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor

from offchain.groups import ParameterGroup, optimizer_over
from offchain.job import Batch, Job


def ordinary_step(job: Job, device: str = "cpu", fused: bool = False) -> Callable[[], None]:
    """What a training loop in plain torch does, on copies of the job's model and data: eager float32 and autograd.

    Batches are rows at random; the schedule is left out. `fused`: the optimizer's own fused kernel, where it has one.
    """
    model, compute = copy.deepcopy(job.model).to(device), cast("Any", job.loss)
    dataset = {name: data.to(device, copy=True) for name, data in job.dataset.items()}
    kind, groups = job.groups
    optimizer = optimizer_over(kind, [_fused(g) for g in groups] if fused else groups, dict(model.named_parameters()))
    trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]

    def step() -> None:
        rows = torch.randint(job.rows, (job.batch_size,), device=device)
        compute(model, job.given({name: data[rows] for name, data in dataset.items()})).backward()
        if job.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(trained, job.clip_norm)
        optimizer.step()
        optimizer.zero_grad()

    return step


def autocast(job: Job) -> Job:
    """The job with its loss under bfloat16 autocast, as people train with less precision in plain torch."""

    def loss(model: Any, batch: Batch) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return job.loss(model, batch)

    return replace(job, loss=loss)


def deterministic(step: Callable[[], None]) -> Callable[[], None]:
    """The same with torch's deterministic algorithms: equal bits on this machine, with this version."""

    def step_deterministically() -> None:
        torch.use_deterministic_algorithms(True)
        try:
            step()
        finally:
            torch.use_deterministic_algorithms(False)

    return step_deterministically


def _fused(group: ParameterGroup) -> ParameterGroup:
    if "fused" not in group.options:
        return group
    return replace(group, options={**group.options, "fused": True, "foreach": False})
