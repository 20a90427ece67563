"""A training step that ends with an evaluation: after the job's steps come others, which read the evaluation's rows and
leave the model as it is.

A step graph has one F for all t, so each step holds both, and chooses by its number (docs/decisions/0034).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from offchain.errors import BadInput
from offchain.evaluation import Evaluation
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.capture import Form, Told, batch_of, eagerly
from offchain.lower.host import Run
from offchain.lower.origin import within
from offchain.lower.stepping import results
from offchain.task import EVALUATION

_LAST = f"{EVALUATION}last"  # the training's metrics in its last step, which the log repeats


class _Reading(nn.Module):
    """A step of an evaluation as a module over its model, so that `functional_call` can replace the model's tensors."""

    def __init__(self, evaluation: Evaluation, told: Told) -> None:
        super().__init__()
        self.model, self.evaluation, self.told = evaluation.model, evaluation, told

    def forward(self, own: Mapping[str, Tensor], columns: dict[str, Tensor], t: Tensor) -> tuple[Tensor, ...]:
        name, function = self.evaluation.theirs
        with within(name, line_of(function)):
            return results(self.evaluation, own, batch_of(self.evaluation, columns, t), t, self.told)


def evaluated(form: Form) -> Form:
    """The form of a job's step with the job's evaluation, or without one the form itself. Raises BadInput."""
    job = form.asked
    if not isinstance(job, Job) or job.evaluation is None:
        return form
    own = {f"{EVALUATION}{name}": tensor for name, tensor in job.evaluation.tensors.items()}
    own[_LAST] = torch.zeros(len(form.told.metrics))
    for name in own:
        if name in form.state:
            raise BadInput(
                f"job{at(job.line_of('model'))}: the model has a tensor {name!r}, as the evaluation; rename it"
            )
    if len(own) == len(job.evaluation.tensors):
        raise BadInput(f"job{at(job.line_of('evaluation'))}: a metric of the evaluation is named 'last'; rename it")
    told = Told(form.told.metrics)
    step = partial(_step, job, form, _Reading(job.evaluation, Told()), told)
    ended = replace(form, state={**form.state, **own}, step=step, told=told, eager=None)
    return replace(ended, eager=Run(partial(eagerly, ended), ended.inputs))


def _step(job: Job, form: Form, reading: _Reading, told: Told, *flat: Tensor) -> tuple[Tensor, ...]:
    """From the training's state, the evaluation's, the columns of both, and t."""
    count, (before, t) = len(form.state), (flat[: len(form.state)], flat[-1])
    own = dict(zip(job.evaluation.tensors, flat[count:], strict=False))
    last, columns = flat[count + len(own)], flat[count + len(own) + 1 : -1]
    trains = t < job.steps
    after = form.step(*before, *columns[: len(job.dataset)], t.clamp(max=job.steps - 1))
    metrics = torch.where(trains, torch.stack([value.float().reshape(()) for value in after[count:]]), last)
    read = dict(zip(job.evaluation.dataset, columns[len(job.dataset) :], strict=True))
    arguments = {name: tensor.clone() for name, tensor in own.items()}, read, (t - job.steps).clamp(min=0)
    made = torch.func.functional_call(reading, _model(job, form, before), arguments)
    told.metrics = (*form.told.metrics, *(f"{EVALUATION}{name}" for name in reading.told.metrics))
    return (
        *(torch.where(trains, new, old) for new, old in zip(after, before, strict=False)),
        *(torch.where(trains, old, new) for new, old in zip(made, own.values(), strict=False)),
        metrics,
        *metrics.unbind(),
        *(torch.where(trains, torch.zeros_like(figure), figure) for figure in made[len(own) :]),
    )


def _model(job: Job, form: Form, before: tuple[Tensor, ...]) -> dict[str, Any]:
    """The model's tensors before a step, each its own, by the names that `_Reading` has for them."""
    held = dict(zip(form.state, before, strict=True))
    split = {
        tensor.name: held[tensor.slot]
        .reshape(-1)[tensor.offset : tensor.offset + prod(tensor.shape)]
        .view(tensor.shape)
        for tensor in form.packed
        if tensor.name in form.parameters
    }
    named = (*job.model.named_parameters(), *job.model.named_buffers())
    return {f"model.{name}": (split[name] if name in split else held[name]).clone() for name, _ in named}
