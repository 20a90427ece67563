"""What cannot be lowered is refused in one line: the operation, the module, the requester's line, what to use instead.

Each test asserts all four, the line as FILE:LINE of this file.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lower import compile
from offchain.lower.registry import REGISTRY
from tests.offchain.lower.refused import (
    GENERAL,
    ROWS,
    WIDTH,
    Batch,
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


# --- the forward pass


def test_an_operation_of_the_forward_pass() -> None:
    forward: Forward = lambda x: x.i0()  # noqa: E731
    text = refused(model=network(nn.Sequential(Odd(forward))))
    assert text == f"aten.i0.default in module 1.0 at {line(forward)}: not supported; {GENERAL}"


def test_an_operation_of_the_loss_and_of_a_metric() -> None:
    loss = lambda m, b: m(b["x"]).histc().sum() + m(b["x"]).sum()  # noqa: E731
    said = (
        "not supported; sum comparisons with the edges; for experts of transformers call "
        "model.set_experts_implementation('batched_mm')"
    )
    assert refused(loss=loss) == f"aten.histc.default in loss at {line(loss)}: {said}"
    assert refused(metrics={"middle": loss}) == f"aten.histc.default in metric 'middle' at {line(loss)}: {said}"


def test_an_operation_of_the_order_and_of_the_schedule() -> None:
    order = lambda t: torch.poisson(torch.ones(2)).int() + t  # noqa: E731
    text = refused(order=order)
    assert text.startswith(f"aten.poisson.default in order at {line(order)}: not supported; count gaps")
    schedule = lambda t: t.i0()  # noqa: E731
    text = refused(schedule=schedule)
    assert text == f"aten.i0.default in schedule at {line(schedule)}: not supported; {GENERAL}"


def test_a_part_of_an_operation_names_the_whole(monkeypatch: Patch) -> None:
    monkeypatch.delitem(REGISTRY, aten.rsqrt.default)
    text = refused(model=network(nn.LayerNorm(WIDTH)))
    part = "aten.rsqrt.default (of aten.native_layer_norm.default)"
    assert text == f"{part} in module 1 at {line(square, 1)}: not supported; {GENERAL}"


def test_a_substitute_names_the_function() -> None:
    forward: Forward = lambda x: x * F.one_hot(x.long()).sum()  # noqa: E731
    text = refused(model=network(Odd(forward)))
    assert text.startswith(
        f"torch.nn.functional.one_hot in module 1 at {line(forward)}: one_hot without num_classes; give"
    )


def test_a_tensor_of_another_type_from_outside() -> None:
    outside = torch.ones(WIDTH, dtype=torch.float64)
    forward: Forward = lambda x: x * outside  # noqa: E731
    text = refused(model=network(Odd(forward)))
    said = "reads torch.float64 from outside the model; use float32 (.float())"
    assert text == f"aten.mul.Tensor in module 1 at {line(forward)}: {said}"


def test_a_counter_that_outgrows_int32() -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

        def forward(self, x: Tensor) -> Tensor:
            self.seen += 1 << 29
            return x

    text = refused(model=network(Counting()))
    assert text.startswith(f"buffer '1.seen' in module 1 at {line(Counting.forward, 1)}: int64 state that may reach")
    assert text.endswith("use int32, which wraps")


def test_a_parameter_that_is_written() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        with torch.no_grad():
            model[0].weight.mul_(0.5)
        return square(model, batch)

    text = refused(loss=loss)
    assert text.startswith(f"aten.copy_.default in loss at {line(loss, 2)}: a parameter, or a tensor from outside")
    assert text.endswith("only to buffers of the model, and to parameters in the step of an optimizer of your own")


# --- the backward pass

MARGIN = "aten.multilabel_margin_loss_backward.default (backward of torch.nn.functional.multilabel_margin_loss)"


def test_an_operation_of_the_backward_pass() -> None:
    forward: Forward = lambda x: F.multilabel_margin_loss(x, torch.zeros(2, WIDTH, dtype=torch.int64))  # noqa: E731
    text = refused(model=network(nn.Sequential(Odd(forward))))
    assert text == f"{MARGIN} in module 1.0 at {line(forward)}: not supported; {GENERAL}"


@pytest.mark.parametrize("accumulate", [1, 2])
def test_an_operation_of_the_backward_pass_of_the_loss(accumulate: int) -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        out = model(batch["x"])
        return F.multilabel_margin_loss(out, batch["y"])

    text = refused(loss=loss, accumulate=accumulate)
    assert text == f"{MARGIN} in loss at {line(loss, 2)}: not supported; {GENERAL}"


def test_the_backward_pass_of_a_grouped_convolution() -> None:
    """Its forward pass lowers."""
    layer = nn.ConvTranspose3d(2, 4, 1, groups=2)
    model = network(nn.Unflatten(1, (2, 2, 1, 1)), layer)
    text = refused(model=model)
    what = "aten.convolution_backward.default (backward of torch.nn.functional.conv_transpose3d)"
    assert text.startswith(
        f"{what} in module 2 at {line(square, 1)}: a grouped convolution over three axes; use groups=1"
    )


def _in_a_row(x: Tensor) -> Tensor:
    y = x.exp()
    y = y.sin()
    return y.tanh() + y


def _in_place(x: Tensor) -> Tensor:
    y = x * 2
    y.sin_()
    return y * y


def _a_view(x: Tensor) -> Tensor:
    y = x * 2
    y[:, 1].sin_()
    return y * y


def _twice(x: Tensor) -> Tensor:
    y = x.exp()
    y = y + (x - y).sin() + y.relu()
    return y * y


@pytest.mark.parametrize(
    ("forward", "name"), [(_in_a_row, "sin"), (_in_place, "sin_"), (_a_view, "sin_"), (_twice, "sin")]
)
def test_the_backward_pass_finds_its_forward_operation(forward: Forward, name: str, monkeypatch: Patch) -> None:
    monkeypatch.delitem(REGISTRY, aten.cos.default)
    text = refused(model=network(nn.Tanh(), Odd(forward), nn.Tanh()))
    what = f"aten.cos.default (backward of torch.Tensor.{name})"
    assert text == f"{what} in module 2 at {line(forward, 2)}: not supported; {GENERAL}"


# --- the optimizer


def test_an_operation_of_the_optimizer(monkeypatch: Patch) -> None:
    monkeypatch.delitem(REGISTRY, aten.sqrt.default)
    with pytest.raises(Unsupported) as caught:
        compile(
            Job(
                model=network(nn.Linear(WIDTH, 1), nn.Linear(1, 1)),
                loss=square,
                optimizer=(torch.optim.Adam, {"lr": 0.1}),
                dataset={"x": torch.ones(ROWS, WIDTH)},
                batch_size=2,
                steps=4,
                interval=2,
            )
        )
    here = line(test_an_operation_of_the_optimizer, 7)
    who = "optimizer Adam, group 0 (0.weight, 0.bias, 1.weight, 1.bias and 2 more)"
    assert str(caught.value) == f"aten.sqrt.default in {who} at {here}: not supported; {GENERAL}"


def test_an_operation_of_one_group_of_the_optimizer(monkeypatch: Patch) -> None:
    monkeypatch.delitem(REGISTRY, aten.maximum.default)
    model = network()
    groups = [{"params": [model[0].weight]}, {"params": [model[0].bias], "amsgrad": True}]
    given = fields(model=model)
    del given["optimizer"]
    with pytest.raises(Unsupported) as caught:
        compile(Job(**given, optimizer=torch.optim.AdamW(groups)))
    here = line(test_an_operation_of_one_group_of_the_optimizer, 7)
    assert str(caught.value).startswith(f"aten.maximum.default in optimizer AdamW, group 1 (0.bias) at {here}: not")


def test_an_operation_of_clipping(monkeypatch: Patch) -> None:
    monkeypatch.delitem(REGISTRY, aten.sqrt.default)
    given = fields()
    with pytest.raises(Unsupported) as caught:
        compile(Job(**given, clip_norm=1.0))
    here = line(test_an_operation_of_clipping, 4)
    assert str(caught.value) == f"aten.sqrt.default in clip_norm at {here}: not supported; {GENERAL}"
