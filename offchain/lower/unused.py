"""Parameters that the loss does not depend on: torch's optimizers leave them as they are, weight decay and all."""

from __future__ import annotations

import torch

from offchain.job import Job
from offchain.lower.capture import Losses, batch_of, tracing
from offchain.lower.origin import Origins
from offchain.lower.random import replayed
from offchain.lower.refusals import refusal


def without_gradient(job: Job) -> frozenset[str]:
    """Names of the parameters whose `.grad` is None after a step of plain torch.

    For a job that was captured: that has shown that a step writes to nothing outside.
    """
    trained = [name for group in job.groups[1] for name in group.names]
    tensors = {
        name: tensor.detach().clone().requires_grad_(name in trained)
        for name, tensor in (*job.model.named_parameters(), *job.model.named_buffers())
    }
    t = torch.zeros((), dtype=torch.int32)
    try:
        with tracing(job), replayed(job.seed, t), torch.enable_grad():
            named = {f"model.{name}": tensor for name, tensor in tensors.items()}
            loss, _ = torch.func.functional_call(Losses(job), named, (batch_of(job, job.dataset, t),))
            gradients = torch.autograd.grad(loss, [tensors[name] for name in trained], allow_unused=True)
    except Exception as error:  # of the requester's code, which did not raise it before
        raise refusal(error, Origins(), job.model) from error
    return frozenset(name for name, gradient in zip(trained, gradients, strict=True) if gradient is None)
