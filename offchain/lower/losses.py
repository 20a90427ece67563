"""A job's training step as a function of tensors: the loss, its gradient, the optimizer's update."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from offchain.errors import BadInput
from offchain.job import Job, Loss
from offchain.lines import at, line_of
from offchain.lower.capture import Form, Told, batch_of, inputs_of, tracing
from offchain.lower.host import Run
from offchain.lower.optim import Functional, functional
from offchain.lower.origin import Origins, Step, within
from offchain.lower.packs import Pack, packed_tensors
from offchain.lower.random import replayed


class Losses(nn.Module):
    """Loss and metrics as a module over the model, so that `functional_call` can replace the model's tensors."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.model, self.loss, self.metrics, self.given = job.model, job.loss, dict(job.metrics), job.given

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        loss = self._scalar("loss", self.loss, batch)
        values = [self._scalar(f"metric {name!r}", fn, batch).detach() for name, fn in self.metrics.items()]
        return loss, (loss.detach(), *values)

    def _scalar(self, name: str, function: Loss, batch: dict[str, Tensor]) -> Tensor:
        line = line_of(function)
        with within(name, line):
            value = function(self.model, self.given(batch))
            if not isinstance(value, Tensor) or value.numel() != 1:
                gave = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
                raise BadInput(f"job: {name}{at(line)} gave {gave}, must give one number as a tensor; use .mean()")
            if value.is_complex():
                raise BadInput(
                    f"job: {name}{at(line)} gave {value.dtype}, must give one real number; use .abs() or .real"
                )
            return value.reshape(())


def losses_at(job: Job, named: dict[str, Tensor], t: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Loss and all metrics of step t, of the model with these tensors, whose names begin with `model.`.

    Buffers that the model replaces are replaced in `named`.
    """
    batch = batch_of(job, job.dataset, t)
    given: tuple[Tensor, tuple[Tensor, ...]] = torch.func.functional_call(
        Losses(job), as_parameters(job, named), (batch,)
    )
    return given


def as_parameters(job: Job, named: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same, where those that stand for parameters of the model say that they are ones (`isinstance`)."""
    for name, _ in job.model.named_parameters():
        named[f"model.{name}"]._is_param = True  # as torch marks parameters of other classes
    return named


def training_form(job: Job) -> Form:
    """A training step. Raises BadInput, Unsupported."""
    optimizer = functional(job)
    weights = {name: parameter.detach() for name, parameter in job.model.named_parameters()}
    packs, optimizer = optimizer.packed(weights)
    trained = {pack.slot: pack.joined(weights) for pack in packs}
    members = {name for pack in packs for name, _ in pack.members}
    fixed = {name: tensor for name, tensor in weights.items() if name not in members}
    fixed |= {n: b.detach() for n, b in job.model.named_buffers()}
    slots = optimizer.initial(trained)
    tensors = packed_tensors(packs, {**trained, **slots})
    for name, uses in Counter([*(tensor.name for tensor in tensors), *trained, *slots, *fixed]).items():
        if uses > 1:
            line = job.line_of("model")
            raise BadInput(f"job{at(line)}: both model and optimizer have a tensor {name!r}; rename the module")
    state = {**trained, **fixed, **slots}
    origins = Origins()
    gradient = _Gradient(job, packs, tuple(fixed), origins)
    step = _step(gradient, optimizer, tuple(slots))
    names = tuple(name for pack in packs for name, _ in pack.members)
    eager = Run(partial(_eagerly, job, gradient), (*trained.values(), *fixed.values(), *inputs_of(job)))
    return Form(job, state, step, Told(("loss", *job.metrics)), origins, names, tensors, eager)


def metrics_form(job: Job) -> Form:
    """Loss and metrics of one batch, which change nothing. What is read of the model is then what they depend on."""
    tensors = (*job.model.named_parameters(), *job.model.named_buffers())
    state = {name: tensor.detach() for name, tensor in tensors}
    losses = Losses(job)

    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        named = {f"model.{name}": tensor.clone() for name, tensor in zip(state, flat, strict=False)}
        batch = batch_of(job, dict(zip(job.dataset, flat[len(state) :], strict=False)), flat[-1])
        _, metrics = torch.func.functional_call(losses, as_parameters(job, named), (batch,))
        return (*flat[: len(state)], *metrics)

    return Form(job, state, step, Told(("loss", *job.metrics)), dead=True)


def _check_trains(job: Job, loss: Tensor) -> None:
    """Raise BadInput for a loss without a gradient; torch.func.grad wraps what depends on a trained parameter."""
    line = line_of(job.loss)
    if not loss.is_floating_point():
        raise BadInput(
            f"job: loss{at(line)} gave {loss.dtype}, which has no gradient; give float32 from functions that have one, "
            "as F.cross_entropy, not argmax"
        )
    if not (torch._C._functorch.is_gradtrackingtensor(loss) and loss.requires_grad):
        raise BadInput(
            f"job: loss{at(line)} depends on no trained parameter, so that nothing would be trained; compute it from "
            "the model that the loss is given, without .detach(), torch.no_grad() and comparisons"
        )


class _Gradient:
    """The gradient of a job's loss in its packs, next values of all other tensors of the model, and the metrics."""

    def __init__(self, job: Job, packs: Sequence[Pack], others: Sequence[str], origins: Origins) -> None:
        self.job, self.packs, self.others, self.origins = job, packs, others, origins
        self.losses = Losses(job)

    def of(self, *flat: Tensor) -> tuple[dict[str, Tensor], dict[str, Tensor], tuple[Tensor, ...]]:
        """From the packs, the others, the dataset and t."""
        tensors, job = iter(flat), self.job
        trained, others, data = (
            {name: next(tensors) for name in names}
            for names in ([pack.slot for pack in self.packs], self.others, job.dataset)
        )
        batch = batch_of(job, data, next(tensors))

        def value(weights: dict[str, Tensor]) -> tuple[Tensor, tuple[Any, Any]]:
            moving = {name: tensor.clone() for name, tensor in others.items()}  # a model may change its buffers
            named = {f"model.{name}": tensor for name, tensor in {**weights, **moving}.items()}
            own = {name: rows.clone() for name, rows in batch.items()}  # so that the loss can take gradients of them
            loss, metrics = torch.func.functional_call(self.losses, as_parameters(job, named), (own,))
            _check_trains(job, loss)
            share = loss / job.accumulate if job.accumulate > 1 else loss
            self.origins.follow(share)
            torch.autograd.set_detect_anomaly(False)  # it looks at values in the backward pass
            moved = {name: named[f"model.{name}"].detach() for name in moving}  # new ones included
            return share, (metrics, moved)

        weights = {name: tensor for pack in self.packs for name, tensor in pack.split(trained[pack.slot]).items()}
        with within("the backward pass", line_of(job.loss)):
            gradients, (_, (metrics, moved)) = torch.func.grad_and_value(value, has_aux=True)(weights)
        return {pack.slot: pack.joined(gradients) for pack in self.packs}, moved, metrics


def _step(gradient: _Gradient, optimizer: Functional, slots: Sequence[str]) -> Step:
    def step(*flat: Tensor) -> tuple[Tensor, ...]:
        """From the packs, the others, the optimizer's slots, the dataset and t, as the captured graph."""
        packs, kept = len(gradient.packs), len(gradient.packs) + len(gradient.others)
        old = dict(zip(slots, flat[kept:], strict=False))
        gradients, others, metrics = gradient.of(*flat[:kept], *flat[kept + len(slots) :])
        trained = {pack.slot: tensor for pack, tensor in zip(gradient.packs, flat[:packs], strict=True)}
        trained, moved = optimizer.step(trained, gradients, old, flat[-1])
        return (*trained.values(), *others.values(), *(moved[name] for name in slots), *metrics)

    return step


def _eagerly(job: Job, gradient: _Gradient, *flat: Tensor) -> list[Tensor]:
    """The gradients, next values and metrics of a step, as eager torch computes them."""
    with tracing(job), replayed(job.seed, flat[-1]):
        gradients, others, metrics = gradient.of(*flat)
    return [*gradients.values(), *others.values(), *metrics]
