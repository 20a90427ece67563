"""The remedies that refusals of operations name, carried out: each is the function that it stands for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

import offchain
from offchain.job import Job
from offchain.lower import compile
from offchain.plain import PlainTraining
from offchain.store.taskfile import save_task
from tests.offchain.lower.refused import fields, refused, square
from tests.support.cases import Batch
from tests.support.outputs import Function, outputs
from tests.support.terminal import run

g = torch.Generator().manual_seed(9)
DATA = {
    "x": torch.randn(4, 30, generator=g),
    "s": torch.randn(4, 30, generator=g),
    "i": torch.randint(0, 5, (4, 30), generator=g),
    "mask": torch.rand(4, 30, generator=g) > 0.5,
}
EDGES = torch.linspace(-3, 3, 7)


def histogram(b: Batch) -> Tensor:
    x = b["x"].flatten().unsqueeze(-1)
    return ((x >= EDGES[:-1]) & ((x < EDGES[1:]) | (x == EDGES[-1]) & (EDGES[1:] == EDGES[-1]))).sum(0).float()


def filled(b: Batch) -> Tensor:
    mask, s = b["mask"], b["s"]
    return torch.where(mask, s.flatten()[mask.flatten().cumsum(0).clamp(min=1) - 1].view(mask.shape), b["x"])


def bounded_rows(b: Batch) -> Tensor:
    """What max_norm does to the rows that are read."""
    norm = b["x"].norm(dim=1, keepdim=True)
    return (b["x"] * torch.where(norm > 2, 2 / (norm + 1e-7), 1.0))[b["i"][:, 0].clamp(max=3)]


def observed(b: Batch) -> Tensor:
    """torch's quantisation by a running range, which this call moves by 0.1 of the way."""
    on, low, high = torch.ones(1, dtype=torch.int64), torch.full((1,), -1.0), torch.full((1,), 2.0)
    scale, zero = torch.ones(1), torch.zeros(1, dtype=torch.int32)
    return torch.fused_moving_avg_obs_fake_quant(b["x"], on, on, low, high, scale, zero, 0.1, 0, 255, 0)


def quantised(b: Batch) -> Tensor:
    low, high = (-1.0 + 0.1 * (b["x"].min() + 1.0)).clamp(max=0), (2.0 + 0.1 * (b["x"].max() - 2.0)).clamp(min=0)
    scale = (high - low) / 255
    return torch.fake_quantize_per_tensor_affine(b["x"], scale, (-(low / scale).round()).int(), 0, 255)


EXACT: dict[str, tuple[Function, Function, str]] = {  # the original, what to write, and a word of the refusal
    "bincount": (
        lambda b: torch.bincount(b["i"].flatten(), minlength=5),
        lambda b: F.one_hot(b["i"].flatten(), 5).sum(0),
        "F.one_hot",
    ),
    "histc": (lambda b: torch.histc(b["x"], 6, -3, 3), histogram, "comparisons with the edges"),
    "unique": (
        lambda b: torch.unique(torch.cat([b["i"].flatten(), torch.arange(5)]), return_counts=True)[1] - 1,
        lambda b: F.one_hot(b["i"].flatten(), 5).sum(0),
        "sum F.one_hot",
    ),
    "masked_scatter": (lambda b: b["x"].masked_scatter(b["mask"], b["s"]), filled, "mask.flatten().cumsum(0)"),
    "masked_select": (
        lambda b: b["x"].masked_select(b["mask"]).square().sum(),
        lambda b: torch.where(b["mask"], b["x"], 0.0).square().sum(),
        "torch.where",
    ),
    "nonzero": (
        lambda b: b["x"].flatten()[b["mask"].flatten().nonzero()].sum(),
        lambda b: torch.where(b["mask"], b["x"], 0.0).sum(),
        "torch.where",
    ),
    "lstsq": (
        lambda b: torch.linalg.lstsq(b["x"].mT, b["s"].mT).solution,
        lambda b: torch.linalg.solve(b["x"] @ b["x"].mT, b["x"] @ b["s"].mT),
        "use torch.linalg.solve(a.mT @ a, a.mT @ b)",
    ),
    "pinv": (
        lambda b: torch.linalg.pinv(b["x"].mT),
        lambda b: torch.linalg.solve(b["x"] @ b["x"].mT, b["x"]),
        "use torch.linalg.solve(a.mT @ a, a.mT)",
    ),
    "fused_moving_avg_obs": (observed, quantised, "fake_quantize_per_tensor_affine with a scale of your own"),
    "max_norm": (
        lambda b: F.embedding(b["i"][:, 0].clamp(max=3), b["x"].clone(), max_norm=2.0),
        bounded_rows,
        "divide the rows by their norm",
    ),
}


def test_they_are_the_same_functions() -> None:
    made = outputs({name: remedy for name, (_, remedy, _) in EXACT.items()}, DATA)
    for name, (original, _, _) in EXACT.items():
        np.testing.assert_allclose(made[name], original(DATA).numpy(), rtol=1e-5, atol=1e-6, err_msg=name)


@pytest.mark.parametrize("name", EXACT)
def test_the_originals_are_refused_with_them(name: str) -> None:
    original, _, word = EXACT[name]
    loss: Any = lambda m, b: m(b["x"]).sum() + original(b).sum()  # noqa: E731
    assert word in refused(loss=loss, model=torch.nn.Linear(30, 4), dataset=DATA, batch_size=4)


COUNT = 1000
DRAWN: dict[str, tuple[Callable[[Tensor], Tensor], float, float]] = {  # what to write, its mean, its mean square
    "poisson": (
        lambda x: (-torch.rand(*x.shape, 12).log()).cumsum(-1).le(2 * x.unsqueeze(-1)).sum(-1).float(),
        2.0,
        6.0,
    ),
    "kumaraswamy": (lambda x: (1 - torch.rand_like(x) ** (1 / 3)) ** (1 / 2), 16 / 35, 0.25),
}


def test_a_dense_gradient_of_an_embedding_is_the_sparse_one() -> None:
    def gradient(sparse: bool) -> Tensor:
        weight = torch.linspace(-1, 1, 15).reshape(5, 3).requires_grad_()
        F.embedding(DATA["i"], weight, sparse=sparse).square().sum().backward()
        return weight.grad.to_dense() if sparse else weight.grad  # type: ignore[union-attr, return-value]

    assert torch.equal(gradient(True), gradient(False))
    loss = lambda m, b: m(b["i"]).square().mean()  # noqa: E731
    options: dict[str, Any] = {"loss": loss, "dataset": DATA, "batch_size": 4}
    assert "leave sparse=True out" in refused(model=torch.nn.Embedding(5, 3, sparse=True), **options)
    assert "max_norm writes to the rows" in refused(model=torch.nn.Embedding(5, 3, max_norm=1.0), **options)
    compile(Job(**fields(model=torch.nn.Embedding(5, 3), **options)))


def test_draws_of_beta_come_from_the_dataset() -> None:
    """mixup, as people write it; its draws as a column."""

    def mixed(model: Any, batch: Batch, share: Tensor) -> Tensor:
        x = share * batch["x"] + (1 - share) * batch["x"].flip(0)
        return model(x).square().mean()

    drawn = torch.distributions.Beta(0.4, 0.4).sample((4, 1))
    job: dict[str, Any] = {"model": torch.nn.Linear(30, 4), "batch_size": 4}
    text = refused(loss=lambda m, b: mixed(m, b, torch.distributions.Beta(0.4, 0.4).sample()), dataset=DATA, **job)
    assert "draw for fixed concentrations before, into a column of the dataset; for trained ones take" in text
    data = {**DATA, "share": drawn}
    training = offchain.compile(
        **fields(loss=lambda m, b: mixed(m, b, b["share"]), dataset=data, **job), executor="torch"
    )
    plain = training.plain()
    training.run()
    plain.run()
    np.testing.assert_allclose(training.losses, plain.losses, rtol=1e-5)


def test_a_generator_is_left_out() -> None:
    own = torch.Generator().manual_seed(1)
    for draw in (lambda **k: torch.rand(4, **k), lambda **k: torch.empty(4).normal_(**k)):
        loss = lambda m, b, draw=draw: (m(b["x"]) * draw(generator=own)).sum()  # noqa: E731
        assert "leave it out" in refused(loss=loss, model=torch.nn.Linear(30, 4), dataset=DATA, batch_size=4)
    made = outputs({"rand": lambda b: torch.rand(COUNT), "normal_": lambda b: torch.empty(COUNT).normal_()}, DATA)
    assert abs(made["rand"].mean() - 0.5) < 0.05 and abs(made["normal_"].mean()) < 0.1


def test_what_is_drawn_has_the_same_distribution() -> None:
    drawn = {name: (lambda b, draw=draw: draw(torch.ones(COUNT))) for name, (draw, _, _) in DRAWN.items()}
    made = outputs(drawn, {"x": torch.zeros(1)})
    for name, (_, mean, power) in DRAWN.items():
        values = made[name].astype(np.float64)
        assert abs(values.mean() - mean) < 0.1 * (1 + abs(mean)), name
        assert abs((values**2).mean() - power) < 0.15 * (1 + power), name


def checked(model: Any, batch: Batch) -> Tensor:
    y = model(batch["x"])
    if torch.isnan(y).any():
        raise ValueError("NaN")
    return y.square().mean()


def asserted(model: Any, batch: Batch) -> Tensor:
    y = model(batch["x"])
    assert torch.isfinite(y).all()
    return y.square().mean()


def bad(model: Any, batch: Batch) -> Tensor:
    return torch.isnan(model(batch["x"])).float().sum()


@pytest.mark.parametrize("loss", [checked, asserted])
def test_a_check_is_left_out_or_counted_in_a_metric(
    loss: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The losses are those of the check; where it would have stopped `offchain run` names the step."""
    options: dict[str, Any] = {"dataset": DATA, "batch_size": 4}
    said = refused(model=torch.nn.Linear(30, 4), loss=loss, **options)
    assert "a check cannot stop a step: leave it out" in said and "count in a metric of the job" in said
    model = torch.nn.Linear(30, 4)
    without = offchain.compile(**fields(model=model, loss=square, metrics={"bad": bad}, **options), executor="torch")
    plain = PlainTraining(Job(**fields(model=model, loss=loss, **options)), model.state_dict())
    for one in (without, plain):
        one.run()
    assert without.losses == pytest.approx(plain.losses, rel=1e-5) and without.metrics["bad"] == [0.0] * 4
    with torch.no_grad():
        model.weight[:, 0] = 2.0**127  # overflows in the first step, and gives NaN in later ones
    with pytest.raises((ValueError, AssertionError)):
        PlainTraining(Job(**fields(model=model, loss=loss, **options)), model.state_dict()).run()
    save_task(compile(Job(**fields(model=model, loss=square, metrics={"bad": bad}, **options))), tmp_path / "a")
    code, out, err = run(capsys, monkeypatch, "run", str(tmp_path / "a"), "--executor", "torch", "--json")
    assert code == 0 and "warning: the loss of step 0 is not finite" in err
    assert max(x for x in json.loads(out)["metrics"]["bad"] if x is not None) > 0


def test_other_numbers_are_put_in_the_places_of_nan() -> None:
    def guarded(b: Batch) -> Tensor:
        y = b["x"].log()
        return torch.where(torch.isnan(y), 0.0, y)

    np.testing.assert_allclose(outputs({"out": guarded}, DATA)["out"], guarded(DATA).numpy(), rtol=1e-5)
