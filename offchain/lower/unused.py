"""Parameters that the loss does not depend on: torch's optimizers leave them as they are, weight decay and all. And
losses whose gradient is 0 wherever it is tried, which train nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

import torch
from torch import Tensor

from offchain.errors import BadInput
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.capture import tracing
from offchain.lower.losses import losses_at
from offchain.lower.origin import Origins
from offchain.lower.random import replayed
from offchain.lower.refusals import refusal

_SCALES: Final = (0.1, 1.0, 10.0, 100.0)  # of what is added to parameters where a gradient is tried again


def without_gradient(job: Job) -> frozenset[str]:
    """Names of the parameters whose `.grad` is None after a step of plain torch.

    Raises BadInput if all gradients are 0: in the first step, and in others at other values of the parameters too.

    For a job that was captured: that has shown that a step writes to nothing outside.
    """
    trained = [name for group in job.groups[1] for name in group.names]
    tensors = {name: t.detach() for name, t in (*job.model.named_parameters(), *job.model.named_buffers())}
    try:
        first = _gradients(job, tensors, trained, 0)
        if not _moves(first) and not any(_moves(gradients) for gradients in _elsewhere(job, tensors, trained)):
            _refuse_flat(job)
    except BadInput:
        raise
    except Exception as error:  # of the requester's code, which did not raise it before
        raise refusal(error, Origins(), job.model) from error
    return frozenset(name for name, gradient in zip(trained, first, strict=True) if gradient is None)


def _gradients(job: Job, tensors: dict[str, Tensor], trained: Sequence[str], step: int) -> Sequence[Tensor | None]:
    """Of the trained parameters, in a step that finds these tensors in the model, and leaves it its own buffers."""
    own = {name: tensor.clone().requires_grad_(name in trained) for name, tensor in tensors.items()}
    t = torch.tensor(step, dtype=torch.int32)
    with tracing(job), replayed(job.seed, t), torch.enable_grad():
        named = {f"model.{name}": tensor for name, tensor in own.items()}
        loss, _ = losses_at(job, named, t)
        gradients = torch.autograd.grad(loss, [own[name] for name in trained], allow_unused=True)
    tensors |= {name: named[f"model.{name}"].detach() for name in tensors if name not in trained}
    return gradients


def _moves(gradients: Sequence[Tensor | None]) -> bool:
    return any(bool((gradient != 0).any()) for gradient in gradients if gradient is not None)  # NaN too


def _elsewhere(job: Job, tensors: dict[str, Tensor], trained: Sequence[str]) -> Iterator[Sequence[Tensor | None]]:
    """Gradients in further steps, at parameters that are moved at random."""
    generator = torch.Generator().manual_seed(0)
    for step, scale in enumerate(_SCALES, 1):
        for name in trained:
            tensors[name] = tensors[name] + scale * torch.randn(tensors[name].shape, generator=generator)
        yield _gradients(job, tensors, trained, step % job.steps)


def _refuse_flat(job: Job) -> NoReturn:
    raise BadInput(
        f"job: loss{at(line_of(job.loss))} has the gradient 0 for every parameter, so that nothing would be trained; "
        "round, floor, sign and comparisons have no other: let the gradient pass them, as in "
        "x + (x.round() - x).detach()"
    )
