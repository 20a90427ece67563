"""Layers and functions that were computed in another way than in plain torch, or refused with a poor line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import BadInput
from offchain.inference import Inference
from offchain.job import Job
from offchain.training import Training
from tests.offchain.lower.refused import WIDTH, Batch, fields, line, refused, square

g = torch.Generator().manual_seed(0)
ROWS = torch.randn(8, WIDTH, generator=g)
IMAGES = torch.randn(8, 2, 6, 6, generator=g)
TEXTS = torch.randn(8, 5, 8, generator=g)
PADDING = torch.arange(5) >= torch.tensor([[5], [3], [1], [4]])  # after each row
GAPS = torch.tensor([[0, 1, 0, 1, 0]] * 4, dtype=torch.bool)


def agrees(model: nn.Module, loss: Any, **changes: Any) -> None:
    """A job ends where its own loop of plain torch does, of the module itself."""
    given = fields(**{"model": model, "loss": loss, "batch_size": 4, "dataset": {"x": ROWS}, **changes})
    given["order"] = lambda t: (torch.arange(4, dtype=torch.int32) + 4 * t) % 8
    training = Training(Job(**given), executor="torch", threads=1)
    training.run()
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    for t in range(given["steps"]):
        rows = (torch.arange(4) + 4 * t) % 8
        optimizer.zero_grad()
        loss(model, {name: data[rows] for name, data in given["dataset"].items()}).backward()
        optimizer.step()
    for name, want in model.state_dict().items():
        torch.testing.assert_close(training.state_dict()[name], want, rtol=1e-4, atol=1e-5)


class Encodes(nn.Module):
    """A frozen encoder, of which plain torch in evaluation mode leaves padded places at 0, then a head."""

    def __init__(self, padding: Tensor, **options: Any) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, 0.1, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2, norm=nn.LayerNorm(8), **options).eval().requires_grad_(False)
        self.head, self.padding = nn.Linear(40, 3), padding

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x, src_key_padding_mask=self.padding).flatten(1))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("options", [{}, {"enable_nested_tensor": False}, {"mask_check": False}])
@pytest.mark.parametrize("padding", [PADDING, GAPS], ids=["padding", "gaps"])
def test_an_encoder_in_evaluation_mode(padding: Tensor, options: dict[str, Any]) -> None:
    if padding is GAPS and "mask_check" in options:
        return  # torch would compute with other rows
    agrees(Encodes(padding, **options), lambda m, b: m(b["x"]).square().mean(), dataset={"x": TEXTS})


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_padding_of_an_encoder_that_predicts() -> None:
    model = Encodes(PADDING)
    program = Inference(model, {"x": TEXTS}, 4, lambda model, batch: model.encoder(batch["x"], None, PADDING), bits=21)
    run = offchain.compile(program, executor="torch", threads=1)
    run.run()
    with torch.no_grad():
        want = torch.cat([model.eval().encoder(rows, None, PADDING) for rows in TEXTS.split(4)])
    torch.testing.assert_close(run.outputs["prediction"], want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [2, 1])
def test_a_maximum_that_is_put_back(stride: int) -> None:
    """SegNet's way up."""
    model = nn.Sequential(nn.Conv2d(2, 2, 1), nn.Linear(6, 6))

    def loss(m: Any, b: Batch) -> Tensor:
        pooled, places = F.max_pool2d(m[0](b["x"]), 2, stride, return_indices=True)
        return m[1](F.max_unpool2d(pooled * 2, places, 2, stride, output_size=(6, 6))).square().mean()

    agrees(model, loss, dataset={"x": IMAGES})


def test_rows_of_a_largest_norm() -> None:
    agrees(nn.Linear(WIDTH, WIDTH), lambda m, b: (m(b["x"]).renorm(2, 0, 0.5) * b["x"]).mean())


class Largest(torch.autograd.Function):
    """Its backward calls a function that looks at values."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x.argmax(1))
        return x.amax(1)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Any:
        (places,) = ctx.saved_tensors
        return F.one_hot(places, WIDTH) * gradient.unsqueeze(1) * 2


def test_the_backward_of_a_function_of_ones_own() -> None:
    agrees(nn.Linear(WIDTH, WIDTH), lambda m, b: Largest.apply(m(b["x"])).square().mean())


# --- what torch refuses when it meets it


def _variance(m: Any, b: Batch) -> Tensor:
    return F.gaussian_nll_loss(m(b["x"])[:, 0], b["y"], b["y"])


def _probability(m: Any, b: Batch) -> Tensor:
    return F.mse_loss(m(b["x"])[:, 0], torch.bernoulli(b["y"]))


def _deviation(m: Any, b: Batch) -> Tensor:
    return F.mse_loss(m(b["x"])[:, 0], torch.normal(b["y"], b["y"]))


@pytest.mark.parametrize("loss", [_variance, _probability, _deviation])
def test_an_argument_that_is_none_in_a_late_row(loss: Any) -> None:
    y = torch.rand(8, generator=g)
    given = fields(loss=loss, dataset={"x": ROWS, "y": y})
    training = Training(Job(**given), executor="torch", threads=1)
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-4)
    y[5] = -0.5
    text = refused(BadInput, loss=loss, dataset={"x": ROWS, "y": y})
    assert f" in loss at {line(loss, 1)}: row 5 of dataset 'y' is outside of what the function takes; correct" in text


@pytest.mark.parametrize("loss", [_probability, _deviation])
def test_plain_torch_stops_there(loss: Any) -> None:
    training = Training(Job(**fields(loss=loss, dataset={"x": ROWS, "y": torch.rand(8)})), executor="torch", threads=1)
    plain = training.plain()
    training.job.dataset["y"][:] = -0.5
    with pytest.raises(RuntimeError, match=r"p_in >= 0|std >= 0\.0"):
        plain.run()


# --- remedies, each carried out


def _same_rows(loss: Callable[[Any, Batch], Tensor], remedy: Callable[[Any, Batch], Tensor], said: str) -> None:
    assert said in refused(loss=loss, dataset={"x": ROWS})
    model = nn.Linear(WIDTH, WIDTH)
    torch.testing.assert_close(remedy(model, {"x": ROWS}), loss(model, {"x": ROWS}))
    agrees(model, remedy)


def test_rows_that_are_repeated_by_constants() -> None:
    counts = torch.tensor([2, 1])
    rows = torch.arange(2).repeat_interleave(counts)
    _same_rows(
        lambda m, b: m(b["x"])[:2].repeat_interleave(counts, 0).square().mean(),
        lambda m, b: m(b["x"])[:2][rows].square().mean(),
        "index with rows that were repeated before the job is built: x[torch.arange(n).repeat_interleave(counts)]",
    )


def test_a_mask_of_constants() -> None:
    mask = torch.tensor([True, False, True, True])
    columns = mask.nonzero()[:, 0]
    _same_rows(
        lambda m, b: m(b["x"])[:, mask].square().mean(),
        lambda m, b: m(b["x"])[:, columns].square().mean(),
        "one that is the same in every step gives its numbers before the job is built: x[mask.nonzero()[:, 0]]",
    )


def test_a_gradient_with_regard_to_what_requires_none() -> None:
    def loss(m: Any, b: Batch) -> Tensor:
        y = m(b["x"])
        return square(m, b) + torch.autograd.grad(y.sum(), b["x"], create_graph=True)[0].square().mean()

    def remedy(m: Any, b: Batch) -> Tensor:
        x = b["x"].requires_grad_()
        return square(m, {"x": x}) + torch.autograd.grad(m(x).sum(), x, create_graph=True)[0].square().mean()

    assert "let it say so before anything is computed of it: x = x.requires_grad_()" in refused(loss=loss)
    agrees(nn.Linear(WIDTH, WIDTH), remedy)


class Follows(torch.optim.Optimizer):
    """No number of its own is in an update."""

    def __init__(self, params: Any) -> None:
        super().__init__(params, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                p.sub_(p.grad)


def test_an_optimizer_without_numbers() -> None:
    torch.manual_seed(0)
    training = Training(Job(**fields(optimizer=(Follows, {}), dataset={"x": ROWS})), executor="torch", threads=1)
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-4)


UPDATES: list[int] = []


class CountsOutside(torch.optim.SGD):
    """Copies of it share what it counts with."""

    def step(self, closure: Any = None) -> Any:
        UPDATES.append(1)
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(1.0 if len(UPDATES) < 99 else 0.1)
        return super().step(closure)


class CountsItself(torch.optim.SGD):
    """The remedy."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr)
        self.n = 0

    def step(self, closure: Any = None) -> Any:
        self.n += 1
        for group in self.param_groups:
            for p in group["params"]:
                p.grad.mul_(1.0 if self.n < 3 else 0.1)
        return super().step(closure)


def test_an_optimizer_that_counts_outside() -> None:
    text = refused(optimizer=(CountsOutside, {"lr": 0.1}), dataset={"x": ROWS})
    assert "global variable 'UPDATES' changes in every update; let each optimizer have its own" in text
    assert UPDATES == []
    torch.manual_seed(0)
    given = fields(optimizer=(CountsItself, {"lr": 0.1}), dataset={"x": ROWS})
    training = Training(Job(**given), executor="torch", threads=1)
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-4)
