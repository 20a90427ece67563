"""Gradients inside of a loss, functions with a backward of their own, and remedies of what their neighbours refuse."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.lower import compile
from tests.support.beside import trained
from tests.support.gradients import assert_same_bits

Batch = dict[str, Tensor]


def a_job(loss: Any, model: nn.Module | None = None) -> Job:
    g = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    return Job(
        model=model or nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 2)),
        loss=loss,
        optimizer=(torch.optim.SGD, {"lr": 0.1}),
        dataset={"x": torch.randn(12, 4, generator=g), "y": torch.arange(12) % 2, "n": torch.arange(12) % 3 + 1},
        batch_size=6,
        steps=3,
        interval=3,
        bits=21,
    )


# --- torch.autograd.grad


def penalty(model: Any, batch: Batch) -> Tensor:
    """Of WGAN-GP, at points made inside of the loss."""
    x = (batch["x"] * 0.5).requires_grad_(True)
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def curvature(model: Any, batch: Batch) -> Tensor:
    """A second derivative at the rows themselves, as a physics-informed net takes it."""
    x = batch["x"]
    x.requires_grad = True
    (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
    (bend,) = torch.autograd.grad(slope.sum(), x, create_graph=True)
    return (bend + slope).square().mean()


def of_parameters(model: Any, batch: Batch) -> Tensor:
    loss = F.cross_entropy(model(batch["x"]), batch["y"])
    slopes = torch.autograd.grad(loss, list(model.parameters()), create_graph=True)
    return loss + 0.1 * sum(slope.square().sum() for slope in slopes)


def of_constants(model: Any, batch: Batch) -> Tensor:
    """Without create_graph, the gradient is a number that the step does not differentiate."""
    z = model(batch["x"])
    (slope,) = torch.autograd.grad(z.square().sum(), z, retain_graph=True)
    return (slope * z).mean()


def by_api(model: Any, batch: Batch) -> Tensor:
    found = torch.autograd.functional.jacobian(model, batch["x"][0], create_graph=True)
    return found.square().sum() if isinstance(found, Tensor) else found[0].sum()


@pytest.mark.parametrize("loss", [penalty, curvature, of_parameters, of_constants, by_api])
def test_gradients_inside_of_a_loss(loss: Any) -> None:
    job = a_job(loss)
    wants = {name: parameter.requires_grad for name, parameter in job.model.named_parameters()}
    trained(job)
    assert wants == {name: parameter.requires_grad for name, parameter in job.model.named_parameters()}
    assert not job.dataset["x"].requires_grad


def test_all_executors_give_the_same_bits() -> None:
    assert_same_bits(a_job(curvature), steps=1)


# --- writing to the batch, whose rows are the step's own


def doubled(model: Any, batch: Batch) -> Tensor:
    batch["x"].mul_(2)
    return F.cross_entropy(model(batch["x"]), batch["y"])


def through_a_view(model: Any, batch: Batch) -> Tensor:
    batch["x"][:, 0] = 0
    return F.cross_entropy(model(batch["x"]), batch["y"])


def through_data(model: Any, batch: Batch) -> Tensor:
    batch["x"].data.mul_(2)
    return F.cross_entropy(model(batch["x"]), batch["y"])


@pytest.mark.parametrize("loss", [doubled, through_a_view, through_data])
def test_writing_the_batch_is_as_in_plain_torch(loss: Any) -> None:
    trained(a_job(loss))


@pytest.mark.parametrize("metric", [doubled, through_a_view])
def test_writing_the_batch_before_its_gradient_is_torchs_error(metric: Any) -> None:
    job = replace(a_job(without_cast), metrics={"m": metric})
    with pytest.raises(BadInput, match=r"modified by an inplace operation.* work on a copy") as caught:
        compile(job)
    assert "\n" not in str(caught.value)


# --- functions with a backward of their own


class Reverse(torch.autograd.Function):
    """As published for domain adaptation: the context is filled in forward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, by: float) -> Tensor:
        ctx.by = by
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return -ctx.by * gradient, None


class Rounded(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x.round()

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        ctx.save_for_backward(inputs[0])

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        (x,) = ctx.saved_tensors
        return gradient * (x.abs() < 1).float()


class Swish(torch.autograd.Function):
    """Two inputs, two outputs, and a backward that is wrong on purpose: by 1.5."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        gate = torch.sigmoid(x)
        ctx.save_for_backward(x, gate, scale)
        return x * gate * scale, gate

    @staticmethod
    def backward(ctx: Any, one: Any, two: Any) -> Any:
        x, gate, scale = ctx.saved_tensors
        slope = gate * (1 - gate)
        return 1.5 * (one * scale * (gate + x * slope) + two * slope), (one * x * gate).sum(0)


reverse = Reverse.apply  # bound before any step is captured


def swished(model: Any, batch: Batch) -> Tensor:
    one, two = Swish.apply(model[0](batch["x"]), model[0].bias)
    return F.cross_entropy(model[2](one), batch["y"]) + two.mean()


def twice(model: Any, batch: Batch) -> Tensor:
    """The gradient of such a function's gradient, as plain torch takes it through the backward's operations."""
    x = batch["x"].requires_grad_()
    (slope,) = torch.autograd.grad(Swish.apply(model[0](x), model[0].bias)[0].sum(), x, create_graph=True)
    return slope.square().mean() + model(x).square().mean()


def evaluated(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        target = Rounded.apply(model(batch["x"]))
    return F.mse_loss(model(batch["x"]), target)


@pytest.mark.parametrize(
    "loss",
    [
        lambda model, batch: F.cross_entropy(model[2](reverse(model[0](batch["x"]), 0.3)), batch["y"]),
        lambda model, batch: F.cross_entropy(model[2](Rounded.apply(3 * model[0](batch["x"]))), batch["y"]),
        swished,
        twice,
        evaluated,
    ],
    ids=["reverse", "rounded", "swish", "twice", "no_grad"],
)
def test_a_function_with_a_backward_of_its_own(loss: Any) -> None:
    trained(a_job(loss))


def by_func(model: Any, batch: Batch) -> Tensor:
    slope = torch.func.grad(lambda x: Rounded.apply(model(x)).sum())(batch["x"])
    return slope.square().mean() + model(batch["x"]).mean()


def by_autograd(model: Any, batch: Batch) -> Tensor:
    """The remedy that the refusal names."""
    x = batch["x"].clone().requires_grad_()
    (slope,) = torch.autograd.grad(Rounded.apply(model(x)).sum(), x, create_graph=True)
    return slope.square().mean() + model(batch["x"]).mean()


def test_such_a_function_within_torch_func_is_refused_with_a_remedy() -> None:
    with pytest.raises(Unsupported, match=r"in loss at .*: a torch\.autograd\.Function has .* torch\.autograd\.grad"):
        compile(a_job(by_func))
    trained(a_job(by_autograd))  # the remedy


def test_torch_is_as_before_afterwards() -> None:
    before = torch._C._are_functorch_transforms_active
    compile(a_job(twice))
    with pytest.raises(Unsupported):
        compile(a_job(by_func))
    assert torch._C._are_functorch_transforms_active is before
    with pytest.raises(RuntimeError, match="requires_grad_"):
        torch.func.grad(lambda x: x.requires_grad_().sum())(torch.ones(2))


# --- autocast and packed sequences


def cast(model: Any, batch: Batch) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = model(batch["x"])
    return F.cross_entropy(z.float(), batch["y"])


def without_cast(model: Any, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def test_autocast_is_refused_and_may_be_left_out() -> None:
    """Without it the loss is the same up to bfloat16's rounding."""
    with pytest.raises(Unsupported, match=r"linear in module 0 at \S+: torch\.autocast: leave it out, `bits` sets"):
        compile(a_job(cast))
    job = a_job(without_cast)
    assert cast(job.model, job.dataset).item() == pytest.approx(without_cast(job.model, job.dataset).item(), rel=1e-2)
    trained(job)


class Padded(nn.Module):
    """A recurrent layer over sequences of 1 to 4 numbers."""

    def __init__(self, packed: bool) -> None:
        super().__init__()
        self.layer, self.last, self.packed = nn.GRU(1, 3, batch_first=True), nn.Linear(3, 2), packed

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        if self.packed:
            sequence = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            h = pad_packed_sequence(self.layer(sequence)[0], batch_first=True, total_length=x.shape[1])[0]
        else:
            h = self.layer(x)[0] * (torch.arange(x.shape[1]) < lengths.unsqueeze(1)).unsqueeze(-1)
        return self.last(h.sum(1))


def of_sequences(model: Any, batch: Batch) -> Tensor:
    return F.cross_entropy(model(batch["x"].unsqueeze(-1), batch["n"]), batch["y"])


def test_packed_sequences_are_refused_and_masked_ones_are_the_same() -> None:
    models = []
    for packed in (True, False):
        torch.manual_seed(0)
        models.append(Padded(packed))
    with pytest.raises(
        Unsupported, match=r"_pack_padded_sequence in module Padded at .*: .* mask its outputs or gather"
    ):
        compile(a_job(of_sequences, models[0]))
    training = trained(a_job(of_sequences, models[1]))
    batch = training.job.dataset
    assert of_sequences(models[0], batch).item() == pytest.approx(of_sequences(models[1], batch).item(), rel=1e-6)


# --- what an optimizer's closure, and torch's averaged model, are for


class Sharp(torch.optim.Optimizer):
    """SAM as it is usually written: its step wants the loss again."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, {"lr": lr})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        with torch.enable_grad():
            closure()


def ascended(model: Any, batch: Batch) -> Tensor:
    """SAM's loss: at the parameters that are moved by 0.05 along the gradient."""
    named = dict(model.named_parameters())
    gradients = torch.autograd.grad(F.cross_entropy(model(batch["x"]), batch["y"]), list(named.values()))
    norm = torch.stack([g.square().sum() for g in gradients]).sum().sqrt()
    moved = {name: p + 0.05 * g / norm for (name, p), g in zip(named.items(), gradients, strict=True)}
    return F.cross_entropy(torch.func.functional_call(model, moved, (batch["x"],)), batch["y"])


def test_an_optimizer_that_wants_the_loss_again_and_its_remedy() -> None:
    job = a_job(ascended)
    with pytest.raises(
        Unsupported, match=r"^job at \S+: optimizer Sharp takes the loss several times .*functional_call"
    ):
        compile(replace(job, optimizer=(Sharp, {"lr": 0.1})))
    training = trained(replace(job, order=lambda t: torch.arange(6, dtype=torch.int32)))
    model, rows = job.model, {name: column[:6] for name, column in job.dataset.items()}
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(3):  # as SAM does it: gradient, ascent, gradient, back, step
        F.cross_entropy(model(rows["x"]), rows["y"]).backward()
        with torch.no_grad():
            parameters = list(model.parameters())
            norm = torch.stack([p.grad.square().sum() for p in parameters]).sum().sqrt()  # type: ignore[union-attr]
            moves = [0.05 * p.grad / norm for p in parameters]  # type: ignore[operator]
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.add_(move)
        optimizer.zero_grad()
        F.cross_entropy(model(rows["x"]), rows["y"]).backward()
        with torch.no_grad():
            for parameter, move in zip(parameters, moves, strict=True):
                parameter.sub_(move)
        optimizer.step()
        optimizer.zero_grad()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(training.state_dict()[name], parameter.detach(), rtol=1e-4, atol=1e-6)


class Averaged(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.now, self.mean = nn.Linear(4, 2), nn.Linear(4, 2).requires_grad_(False)


def averaging(model: Any, batch: Batch) -> Tensor:
    with torch.no_grad():
        for mean, now in zip(model.mean.parameters(), model.now.parameters(), strict=True):
            mean.mul_(0.9).add_(now, alpha=0.1)
    return F.cross_entropy(model.now(batch["x"]), batch["y"])


def test_an_averaged_model_and_its_remedy() -> None:
    model = nn.Linear(4, 2)
    averaged = torch.optim.swa_utils.AveragedModel(model)

    def loss(m: Any, batch: Batch) -> Tensor:
        averaged.update_parameters(m)
        return F.cross_entropy(m(batch["x"]), batch["y"])

    with pytest.raises(
        Unsupported, match="AveragedModel looks at its count: keep the average in parameters of the model"
    ):
        compile(a_job(loss, model))
    trained(a_job(averaging, Averaged()))
