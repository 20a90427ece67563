"""Gradients of a compiled step against torch autograd in float64, and the same bits from every executor and graph."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from offchain.exec.make import make_executor
from offchain.job import Job
from offchain.lower import compile
from offchain.task import Task

Loss = Callable[[Any, dict[str, Tensor]], Tensor]
State = dict[str, np.ndarray[Any, Any]]


def gradient_job(model: nn.Module, loss: Loss, dataset: Mapping[str, Tensor], **changes: Any) -> Job:
    """A job whose step reads the whole dataset in order. After one step, `momentum.NAME` is the gradient of NAME."""
    rows = next(iter(dataset.values())).shape[0]
    fields: dict[str, Any] = {
        "model": model,
        "loss": loss,
        "optimizer": (torch.optim.SGD, {"lr": 0.01, "momentum": 0.9}),
        "dataset": dict(dataset),
        "batch_size": rows,
        "steps": 2,
        "interval": 2,
        "bits": 21,  # as precise as plain torch, beside which gradients are compared
        "order": lambda t: torch.arange(rows, dtype=torch.int32),
    }
    return Job(**{**fields, **changes})


def run(task: Task, executor: str = "torch", steps: int = 1) -> State:
    """The state after some steps, by name."""
    engine = make_executor(executor, task.graph, task.constants, task.datasets)
    state = engine.load(task.state)
    for t in range(steps):
        state = engine.step(state, t)
    return task.tensors(engine.dump(state))


def assert_same_bits(job: Job, steps: int = 2) -> Task:
    """Reference and torch executor reach the same bits, on the fused and the unfused graph. Returns the task."""
    task = compile(job)
    wanted = run(task, "reference", steps)
    for other in (run(task, "torch", steps), run(compile(job, fused=False), "torch", steps)):
        for name, value in wanted.items():
            np.testing.assert_array_equal(other[name].view(np.int32), value.view(np.int32), err_msg=name)
    return task


def gradients64(model: nn.Module, loss: Loss, dataset: Mapping[str, Tensor]) -> State:
    """Gradients by autograd in float64."""
    model = deepcopy(model).double()
    batch = {name: t.double() if t.is_floating_point() else t for name, t in dataset.items()}
    loss(model, batch).backward()
    return {n: p.grad.numpy() for n, p in model.named_parameters() if p.grad is not None}


def assert_gradients(
    model: nn.Module,
    loss: Loss,
    dataset: Mapping[str, Tensor],
    tolerance: float = 1e-5,
    reference: bool = True,
    **changes: Any,
) -> Task:
    """The compiled step's gradients differ from autograd's in float64 by `tolerance` of the tensor's largest at most.

    With `reference`, executors and the unfused graph are compared too. Returns the task.
    """
    job = gradient_job(model, loss, dataset, **changes)
    wanted = gradients64(model, loss, dataset)
    task = assert_same_bits(job) if reference else compile(job)
    state = run(task)
    assert wanted, "no parameter had a gradient"
    for name, gradient in wanted.items():
        scale = float(np.abs(gradient).max()) or 1.0
        np.testing.assert_allclose(
            state[f"momentum.{name}"], gradient, rtol=0, atol=tolerance * scale, err_msg=f"gradient of {name}"
        )
    return task
