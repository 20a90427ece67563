"""What cannot be lowered is refused in one line: the operation, the module, the requester's line, what to use instead.

Each test asserts all four, the line as FILE:LINE of this file.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.lower import compile
from offchain.lower.registry import REGISTRY

aten = torch.ops.aten
ROWS, WIDTH = 6, 4
GENERAL = "write it with elementwise operations, sums, products and indexing"
Forward = Callable[[Tensor], Tensor]
Batch = dict[str, Tensor]
Patch = pytest.MonkeyPatch


class Odd(nn.Module):
    """Calls a function of the test's."""

    def __init__(self, forward: Forward) -> None:
        super().__init__()
        self.own = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.own(x)


def network(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(WIDTH, WIDTH), *layers)


def square(model: Any, batch: Batch) -> Tensor:
    return model(batch["x"]).square().mean()


def fields(**changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {
        "model": network(),
        "loss": square,
        "optimizer": (torch.optim.SGD, {"lr": 0.1}),
        "dataset": {"x": torch.ones(ROWS, WIDTH), "y": torch.zeros(ROWS, WIDTH, dtype=torch.int64)},
        "batch_size": 2,
        "steps": 4,
        "interval": 2,
    }
    return {**given, **changes}


def line(function: Callable[..., Any], below: int = 0) -> str:
    """FILE:LINE of a function of this file, or of a line below its first."""
    return f"{__file__}:{function.__code__.co_firstlineno + below}"


def refused(kind: type[Exception] = Unsupported, **changes: Any) -> str:
    with pytest.raises(kind) as caught:
        compile(Job(**fields(**changes)))
    text = str(caught.value)
    assert type(caught.value) is kind and "\n" not in text
    return text


# --- the forward pass


def test_an_operation_of_the_forward_pass() -> None:
    forward: Forward = lambda x: x.lgamma()  # noqa: E731
    text = refused(model=network(nn.Sequential(Odd(forward))))
    assert text == f"aten.lgamma.default in module 1.0 at {line(forward)}: not supported; {GENERAL}"


def test_an_operation_of_the_loss_and_of_a_metric() -> None:
    loss = lambda m, b: m(b["x"]).median()  # noqa: E731
    said = "not supported; use mean, amax, or comparisons"
    assert refused(loss=loss) == f"aten.median.default in loss at {line(loss)}: {said}"
    assert refused(metrics={"middle": loss}) == f"aten.median.default in metric 'middle' at {line(loss)}: {said}"


def test_an_operation_of_the_order_and_of_the_schedule() -> None:
    order = lambda t: torch.randperm(ROWS)[:2] + t  # noqa: E731
    text = refused(order=order)
    assert text.startswith(f"aten.randperm.default in order at {line(order)}: not supported; draw rows with")
    schedule = lambda t: t.lgamma()  # noqa: E731
    text = refused(schedule=schedule)
    assert text == f"aten.lgamma.default in schedule at {line(schedule)}: not supported; {GENERAL}"


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
    assert text.endswith("write only buffers of the model")


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


# --- what torch refuses


class Doubling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return x * 2

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * 2


class Tripling(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor) -> Tensor:
        return x * 3

    @staticmethod
    def setup_context(ctx: Any, inputs: Any, output: Any) -> None: ...

    @staticmethod
    def backward(ctx: Any, gradient: Any) -> Any:
        return gradient * 3


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
        (lambda x: Doubling.apply(x), "Doubling.apply(x)", "a backward of its own", "with torch's operations"),
        (lambda x: Tripling.apply(x), "Tripling.apply(x)", "a backward of its own", "with torch's operations"),
    ],
    ids=["if", "item", "int", "numpy", "tolist", "function", "function-with-context"],
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
        (lambda x: x.to("cuda"), "torch.Tensor.to", "CUDA", "leave .cuda() and .to(device) out"),
        (lambda x: x.requires_grad_(), "torch.Tensor.requires_grad_", "functorch", "leave it out"),
        (lambda x: x + x.sum().backward(), "torch.Tensor.backward", "backward()", "use torch.func.grad"),
        (lambda x: F.relu(3) + x, "torch.nn.functional.relu", "TypeError", "arguments that torch documents"),
        (lambda x: checkpoint(torch.exp, x, use_reentrant=False), "checkpoint(", "saved tensor", "checkpoint out"),
        (lambda x: checkpoint(torch.exp, x, use_reentrant=True), "checkpoint(", "setup_context", "checkpoint out"),
    ],
    ids=["product", "linear", "view", "index", "dtype", "device", "grad", "backward", "argument", "saved", "reentrant"],
)
def test_what_torch_refuses(forward: Forward, operation: str, words: str, remedy: str) -> None:
    text = refused(BadInput, model=network(nn.Sequential(Odd(forward))))
    assert text.startswith(operation) and f" in module 1.0 at {line(forward)}: " in text
    assert words in text and remedy in text


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
    assert text.endswith("make the shapes fit: the layer's sizes, or those of the dataset's rows")


def test_a_cumulative_average_names_the_layer() -> None:
    """The line is that of the call: what torch calls within is torch's."""
    text = refused(model=network(nn.BatchNorm1d(WIDTH, momentum=None)))
    assert text.startswith(f"torch.Tensor.__float__ in module 1 at {line(square, 1)}: {VALUE}")
    assert text.endswith("give the layer a number, as momentum=0.1")


def test_one_value_a_channel_names_the_layer() -> None:
    text = refused(BadInput, model=network(nn.BatchNorm1d(WIDTH)), batch_size=1)
    assert text.startswith(f"torch.nn.functional.batch_norm in module 1 at {line(square, 1)}: batch normalisation")
    assert text.endswith("use larger rows")


def test_values_in_a_schedule_and_an_order() -> None:
    schedule = lambda t: 1.0 if t > 5 else 0.5  # noqa: E731
    text = refused(schedule=schedule)
    assert text.startswith(f"torch.Tensor.__bool__ in schedule at {line(schedule)}: {VALUE}")
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
