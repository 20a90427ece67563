"""Errors of torch during capture, and wrong results of a job's functions: one line with operation, place and remedy."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

import offchain
from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.lower import compile
from tests.offchain.lower.refused import (
    WIDTH,
    Forward,
    Odd,
    fields,
    line,
    network,
    refused,
    square,
)

aten = torch.ops.aten
Patch = pytest.MonkeyPatch


def _raises(x: Tensor) -> Tensor:
    raise ValueError("of my own")


VALUE = "the step depends on a tensor's value: "


@pytest.mark.parametrize(
    ("forward", "operation", "words", "remedy"),
    [
        (lambda x: x if x.sum() > 0 else -x, "torch.Tensor.__bool__", VALUE, "use torch.where"),
        (lambda x: x * x.sum().item(), "torch.Tensor.item", VALUE, "keep the value a tensor"),
        (lambda x: x[: int(x.sum())], "torch.Tensor.__int__", VALUE, "keep the value a tensor"),
        (lambda x: x * x.sum().detach().numpy(), "torch.Tensor.numpy", VALUE, "torch's own functions"),
        (lambda x: x * x.sum(0).tolist()[0], "torch.Tensor.tolist", VALUE, "torch's own functions"),
    ],
    ids=["if", "item", "int", "numpy", "tolist"],
)
def test_what_cannot_be_traced(forward: Forward, operation: str, words: str, remedy: str) -> None:
    text = refused(model=network(nn.Sequential(Odd(forward))))
    assert text.startswith(f"{operation} in module 1.0 at {line(forward)}: ")
    assert words in text and remedy in text


@pytest.mark.parametrize(
    ("forward", "operation", "words", "remedy"),
    [
        (lambda x: x @ x, "torch.Tensor.matmul", "shapes cannot be multiplied", "make the shapes fit"),
        (lambda x: F.linear(x, x.T), "torch.nn.functional.linear", "shapes", "make the shapes fit"),
        (lambda x: x.T.view(-1), "torch.Tensor.view", "not compatible", "use .reshape"),
        (lambda x: x[:, 9], "torch.Tensor.__getitem__", "out of bounds", "index within the tensor's shape"),
        (lambda x: x @ x.T.long(), "torch.Tensor.matmul", "same dtype", "convert one of them"),
        (lambda x: x.to("cuda"), "torch.Tensor.to", "CUDA|NVIDIA", "leave .cuda() and .to(device) out"),
        (
            lambda x: x + x.sum().backward(),
            "torch.Tensor.backward",
            "backward()",
            "use torch.autograd.grad(..., create_graph=True)",
        ),
        (lambda x: F.relu(3) + x, "torch.nn.functional.relu", "TypeError", "arguments that torch documents"),
        (
            lambda x: torch.autograd.graph.save_on_cpu().__enter__(),
            "torch.autograd.graph.save_on_cpu()",
            "saved tensor hooks",
            "leave them out",
        ),
    ],
    ids=["product", "linear", "view", "index", "dtype", "device", "backward", "argument", "saved"],
)
def test_what_torch_refuses(forward: Forward, operation: str, words: str, remedy: str) -> None:
    text = refused(BadInput, model=network(nn.Sequential(Odd(forward))))
    assert text.startswith(operation) and f" in module 1.0 at {line(forward)}: " in text
    assert any(word in text for word in words.split("|")) and remedy in text


def test_what_the_requester_raises() -> None:
    text = refused(BadInput, model=network(Odd(_raises)))
    assert text.startswith(f'raise ValueError("of my own") in module 1 at {line(_raises, 1)}: ValueError: of my own; ')
    assert "runs in plain torch" in text


def test_what_torch_refuses_in_the_backward_pass() -> None:
    def forward(x: Tensor) -> Tensor:
        y = x.exp()
        y.mul_(2)
        return y

    text = refused(BadInput, model=network(Odd(forward)))
    assert text.startswith(f"backward of torch.Tensor.exp in module 1 at {line(forward, 1)}: RuntimeError: ")
    assert "modified by an inplace operation" in text and text.endswith("or work on a copy (.clone())")


def test_what_a_gradient_hook_raises() -> None:
    def hook(gradient: Tensor) -> Tensor:
        return gradient @ gradient

    def forward(x: Tensor) -> Tensor:
        x = x.exp()
        x.register_hook(hook)
        return x

    text = refused(BadInput, model=network(Odd(forward)))
    assert text.startswith(f"gradient @ gradient in the backward pass at {line(hook, 1)}: RuntimeError: ")
    assert text.endswith("make the shapes fit: change the sizes of the layer or of the dataset's rows")


def test_a_cumulative_average_names_the_layer() -> None:
    """The line is that of the requester's call, not of torch's code within it."""
    text = refused(model=network(nn.BatchNorm1d(WIDTH, momentum=None)))
    assert text.startswith(f"torch.Tensor.__float__ in module 1 at {line(square, 1)}: {VALUE}")
    assert text.endswith("give the layer a number, as momentum=0.1")


def test_one_value_a_channel_names_the_layer() -> None:
    text = refused(BadInput, model=network(nn.BatchNorm1d(WIDTH)), batch_size=1)
    assert text.startswith(f"torch.nn.functional.batch_norm in module 1 at {line(square, 1)}: batch normalisation")
    assert text.endswith("use larger batches")


def test_values_in_an_order() -> None:
    order = lambda t: torch.arange(t.item(), t.item() + 2)  # noqa: E731
    text = refused(order=order)
    assert text.startswith(f"torch.Tensor.item in order at {line(order)}: {VALUE}")


# --- what the job's functions return


def test_a_function_that_gives_something_else() -> None:
    rows = lambda m, b: m(b["x"])  # noqa: E731
    said = "gave a tensor of shape (2, 4), must give one number as a tensor; use .mean()"
    assert refused(BadInput, loss=rows) == f"job: loss at {line(rows)} {said}"
    assert refused(BadInput, metrics={"m": rows}) == f"job: metric 'm' at {line(rows)} {said}"
    number = lambda m, b: 3.0  # noqa: E731
    assert refused(BadInput, metrics={"m": number}).startswith(f"job: metric 'm' at {line(number)} gave float, must")
    order = lambda t: torch.arange(3, dtype=torch.int32) + t  # noqa: E731
    text = refused(BadInput, order=order)
    assert text == f"job: order(t) at {line(order)} gave torch.int32 of shape (3,); give 2 int32 rows"
    schedule = lambda t: torch.ones(3) * t  # noqa: E731
    assert refused(BadInput, schedule=schedule).startswith(f"job: schedule(t) at {line(schedule)} must return one")
    schedule = lambda t: [1.0][int(t)]  # noqa: E731
    text = refused(BadInput, schedule=schedule)
    assert text.startswith(f"[1.0][int(t)] in schedule at {line(schedule)}: IndexError: list index out of range")


# --- a loss that trains nothing

NOTHING = "depends on no trained parameter, so that nothing would be trained; compute it from the model"


@pytest.mark.parametrize(
    "loss",
    [
        lambda m, b: m(b["x"]).square().mean().detach(),
        lambda m, b: b["x"].sum(),
        lambda m, b: torch.tensor(1.0),
        lambda m, b: (m(b["x"]) > 0).float().mean(),
        lambda m, b: m(b["x"]).argmax(1).float().mean(),
        lambda m, b: OUTSIDE.square().sum(),
    ],
    ids=["detached", "data", "constant", "comparison", "argmax", "other-model"],
)
@pytest.mark.parametrize("accumulate", [1, 2])
def test_a_loss_that_trains_nothing(loss: Any, accumulate: int) -> None:
    text = refused(BadInput, loss=loss, accumulate=accumulate)
    assert f"job: loss at {line(loss)} {NOTHING}" in text


OUTSIDE = nn.Parameter(torch.ones(3))


def test_a_loss_under_no_grad_or_of_frozen_parameters() -> None:
    def without(m: Any, b: Any) -> Tensor:
        with torch.no_grad():
            return m(b["x"]).mean()

    assert f"job: loss at {line(without)} {NOTHING}" in refused(BadInput, loss=without)
    model = nn.ModuleDict({"a": nn.Linear(WIDTH, 1), "b": nn.Linear(WIDTH, 1).requires_grad_(False)})
    frozen = lambda m, b: m["b"](b["x"]).mean()  # noqa: E731
    assert f"job: loss at {line(frozen)} {NOTHING}" in refused(BadInput, loss=frozen, model=model)


FLAT = "has the gradient 0 for every parameter, so that nothing would be trained; round, floor, sign and comparisons"


@pytest.mark.parametrize(
    "loss",
    [
        lambda m, b: m(b["x"]).round().square().mean(),
        lambda m, b: m(b["x"]).sign().sum(),
        lambda m, b: (m(b["x"]) > 0).float().mean() + 0 * m(b["x"]).sum(),
        lambda m, b: F.mse_loss(m(b["x"]).floor(), b["x"]),
    ],
    ids=["round", "sign", "times-0", "floor"],
)
def test_a_loss_whose_gradient_is_always_0(loss: Any) -> None:
    text = refused(BadInput, loss=loss)
    assert f"job: loss at {line(loss)} {FLAT}" in text
    assert text.endswith("x + (x.round() - x).detach()")


def test_a_gradient_of_0_in_the_first_step_alone_and_one_that_passes_round() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH, bias=False), nn.Linear(WIDTH, 1, bias=False))
    for parameter in model.parameters():
        nn.init.zeros_(parameter)
    compile(
        Job(**fields(model=model, loss=lambda m, b: m(b["x"]).square().mean()))
    )  # plain torch trains nothing either
    x = lambda m, b: m(b["x"] / 3)  # noqa: E731
    agree(lambda m, b: (x(m, b) + (x(m, b).round() - x(m, b)).detach()).square().mean(), network())


@pytest.mark.parametrize(
    "loss", [lambda m, b: m(b["x"]).argmax(1).sum(), lambda m, b: (m(b["x"]) > 0).any()], ids=["int64", "bool"]
)
def test_a_loss_that_is_no_float(loss: Any) -> None:
    text = refused(BadInput, loss=loss)
    assert f"job: loss at {line(loss)} gave torch." in text
    assert "which has no gradient; give float32" in text


ROWS_OF_A_LOADER = DataLoader(TensorDataset(torch.ones(6, WIDTH)), batch_size=2, shuffle=True)


def _replaces(model: Any, batch: Any) -> Tensor:
    model[0].weight.data = model[0].weight.data * 0.5
    return square(model, batch)


def _keeps_a_gradient(model: Any, batch: Any) -> Tensor:
    y = model(batch["x"])
    y.retain_grad()
    return y.square().mean()


@pytest.mark.parametrize(
    ("loss", "below", "message"),
    [
        (
            _replaces,
            1,
            "a tensor is replaced: write to buffers, and to parameters that require no gradient, with .copy_() under",
        ),
        (
            _keeps_a_gradient,
            2,
            "the gradient of a tensor is kept: leave it out, a step has no .grad; for a gradient inside",
        ),
        (
            lambda m, b: m(next(iter(ROWS_OF_A_LOADER))[0]).square().mean(),
            0,
            "a DataLoader chooses rows while it runs: give its tensors as the job's dataset: batch_size= and order=",
        ),
    ],
    ids=["data", "retain_grad", "DataLoader"],
)
def test_what_only_a_training_loop_can_do(loss: Any, below: int, message: str) -> None:
    assert f"in loss at {line(loss, below)}: {message}" in refused(Unsupported, loss=loss)


def test_a_metric_that_is_complex() -> None:
    metric = lambda m, b: torch.complex(b["x"].sum(), b["x"].sum())  # noqa: E731
    text = refused(BadInput, metrics={"z": metric})
    assert f"metric 'z' at {line(metric)} gave torch.complex64, must give one real number; use .abs() or .real" in text
    compile(Job(**fields(metrics={"z": lambda m, b: metric(m, b).abs()})))


def test_a_parameter_that_is_read_around_the_model() -> None:
    model = network()
    weights = list(model.parameters())
    loss = lambda m, b: square(m, b) + 1e-3 * sum(w.square().sum() for w in weights)  # noqa: E731
    text = refused(Unsupported, model=model, loss=loss)
    what = f"in loss at {line(loss)}: reads '0.weight' of the model as it is before the first step"
    assert what in text
    assert text.endswith("take it from the model that the loss is given")
    own = lambda m, b: square(m, b) + 1e-3 * sum(w.square().sum() for w in m.parameters())  # noqa: E731
    agree(own, model)


def agree(loss: Any, model: nn.Module) -> None:
    training = offchain.compile(**fields(loss=loss, model=model), executor="reference")
    plain = training.plain()
    training.run()
    plain.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-5)
