"""What a job's fields must be: one line, in Python as on the command line, and nothing that builds is refused later."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, default_collate

import offchain
from offchain.errors import BadInput
from offchain.fields import LONGEST
from offchain.job import PRECISIONS
from offchain.store.taskfile import load_task
from tests.offchain.test_job import a_job

X, Y = torch.ones(4, 3), torch.arange(4)
META, LAZY = nn.Linear(3, 2, device="meta"), nn.LazyLinear(2)
NAMED = "give a name of up to 200 printable characters"


class Squares(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return torch.full((3,), float(i)), i * i


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[tuple[torch.Tensor, int]]:
        return ((torch.ones(3), i) for i in range(3))


def named(name: str) -> nn.Module:
    model = nn.Sequential()
    model.add_module(name, nn.Linear(3, 2))
    return model


def hooked(model: nn.Module) -> nn.Module:
    next(model.parameters()).register_hook(lambda gradient: gradient / 10)
    return model


def deep(rank: int) -> nn.Module:
    model = nn.Linear(3, 2)
    model.register_buffer("deep", torch.ones([1] * rank))
    return model


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bf16"}, "precision is 'bf16', must be one of int8, tf32, float32; or give bits"),
        ({"precision": "tf32", "bits": 8}, "precision tf32 is 13 bits, and bits is 8: give one of them"),
        ({"precision": ["tf32"]}, "precision is"),
        ({"bits": 8.0}, r"bits is 8\.0, must be an integer"),
        ({"bits": "8"}, "bits is '8', must be an integer"),
        ({"bits": True}, "bits is True, must be an integer"),
        ({"seed": 1.5}, r"seed is 1\.5, must be an integer"),
        ({"seed": None}, "seed is None"),
        ({"steps": True}, "steps is True"),
        ({"batch_size": torch.tensor(2)}, r"batch_size is tensor\(2\)"),
        ({"name": "a\x1b[31m"}, rf"the job is named 'a\?\[31m'; {NAMED}"),
        ({"name": "a" * 201}, NAMED),
        ({"name": None}, "the job is named None, which is no text"),
        ({"dataset": {"x": X, "\n": X}}, rf"a tensor of the dataset is named '\?'; {NAMED}"),
        ({"dataset": {"x": X, 3: X}}, "is named 3, which is no text"),
        ({"dataset": (X, [1, 2])}, "dataset 'x1' is a list, must be a tensor"),
        ({"dataset": ()}, "dataset is empty"),
        ({"dataset": X}, "dataset is a Tensor, must be a dict of named tensors, .*, or a tuple of tensors"),
        ({"dataset": DataLoader(TensorDataset(X))}, r"dataset is a DataLoader, .* of d = its \.dataset; batch_size="),
        ({"dataset": Squares()}, r"dataset is a Squares, whose own code makes the rows; give tensors: torch\.utils"),
        ({"dataset": Stream()}, r"dataset is a Stream, .*default_collate\(list\(d\)\) of it"),
        ({"validation": {"x": X, "y": Y.float()}}, r"validation 'y' is torch\.float32, .*\.to\(torch\.int64\)"),
        ({"validation": {"x": X}}, "validation has 'x', but the dataset 'x', 'y'; give the same names"),
        ({"validation": {"x": X, "y": Y[:2]}}, "validation 'y' has 2 rows, but 'x' has 4"),
        ({"validation": DataLoader(Squares())}, "validation is a DataLoader"),
        ({"validation": {"x": X[:0], "y": Y[:0]}}, "validation 'x' must be a tensor with at least one row"),
        ({"dataset": {"x": X.numpy()}}, r"'x' is a ndarray, must be a tensor; use torch\.as_tensor"),
        ({"dataset": {"x": X.to_sparse()}}, r"torch\.sparse_coo; .*to_dense"),
        ({"dataset": {"x": torch.nested.nested_tensor([X[0], X[1]])}}, "'x' is nested; pad it"),
        ({"dataset": {"x": X.to("meta")}}, r"has no values \(device 'meta'\)"),
        ({"metrics": [lambda m, b: X.sum()]}, "metrics is .*, must be a dict"),
        ({"metrics": {"\x1b": lambda m, b: X.sum()}}, "a metric is named '.'; give"),
        ({"metrics": {3: lambda m, b: X.sum()}}, "a metric is named 3"),
        ({"model": META}, r"parameter 'weight' has no values \(device 'meta'\)"),
        ({"model": LAZY}, "'weight' has no shape yet; call the model on a batch once"),
        ({"model": torch.jit.script(nn.Linear(3, 2))}, "ScriptModule, which cannot be traced; give the module"),
        ({"model": named("a\x07b")}, rf"a parameter of the model is named 'a\?b\.weight'; {NAMED}"),
        ({"model": named("a" * 300)}, NAMED),
        ({"model": np.ones((40, 40))}, "model is array"),
        ({"model": hooked(nn.Linear(3, 2))}, "parameter 'weight' has hooks on its gradient, .* optimizer of your own"),
        (
            {"model": nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 0))},
            r"parameter '1\.weight' has no elements; leave its",
        ),
        ({"model": deep(9)}, r"buffer 'deep' has 9 dimensions, at most 8 are supported; keep it in another shape"),
        ({"dataset": {"x": X.reshape(4, *[1] * 8, 3)}}, "dataset 'x' has 10 dimensions, at most 8"),
    ],
)
def test_refused_in_one_line(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        a_job(**changes)
    assert "\n" not in str(caught.value)
    fields = {name: getattr(a_job(), name) for name in ("model", "loss", "optimizer", "dataset", "batch_size", "steps")}
    with pytest.raises(BadInput, match=message):
        offchain.compile(**{**fields, **changes})


@pytest.mark.parametrize("dataset", [(X, Y), [X, Y], TensorDataset(X, Y)], ids=["tuple", "list", "TensorDataset"])
def test_tensors_without_names_make_a_batch_without_names(dataset: Any) -> None:
    def loss(model: Any, batch: Any) -> torch.Tensor:
        x, y = batch
        return nn.functional.cross_entropy(model(x), y % 2)

    job = a_job(dataset=dataset, loss=loss, steps=4)
    again = replace(job, bits=20)
    assert list(job.dataset) == ["x0", "x1"] and type(again.given(job.dataset)) is tuple
    training = offchain.compile(again, executor="reference")
    plain = training.plain()
    training.run()
    plain.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-5)


def test_products_have_13_bits_unless_a_job_says_otherwise() -> None:
    assert a_job().bits == PRECISIONS["tf32"] == 13


@pytest.mark.parametrize(("precision", "bits"), PRECISIONS.items())
def test_a_class_of_precision_is_so_many_bits(precision: str, bits: int) -> None:
    job = a_job(precision=precision)
    assert (job.bits, replace(job, bits=5).bits, a_job(precision=precision, bits=bits).bits) == (bits, 5, bits)


def test_the_remedies() -> None:
    for d in (DataLoader(TensorDataset(X, Y)).dataset, Squares()):
        columns = default_collate([d[i] for i in range(len(d))])  # type: ignore[arg-type, index]
        assert a_job(dataset=columns, loss=lambda m, b: m(b[0]).mean(), batch_size=2).rows == len(columns[0])
    assert torch.equal(a_job(dataset=default_collate(list(Stream()))).dataset["x1"], torch.arange(3))
    lazy = nn.LazyLinear(2)
    lazy(X)
    real = nn.Linear(3, 2, device="meta").to_empty(device="cpu")
    real.load_state_dict(nn.Linear(3, 2).state_dict())
    for changes in ({"model": lazy}, {"model": real}, {"bits": int(8.0)}, {"dataset": {"x": X.to_sparse().to_dense()}}):
        a_job(**changes)


class Slow(torch.optim.SGD):
    """A tenth of the gradient, and weights that stay small: as by a hook, and a loss that clamps."""

    def step(self, closure: Any = None) -> None:
        with torch.no_grad():
            for parameter in (p for group in self.param_groups for p in group["params"]):
                parameter.grad.mul_(0.1)
            super().step(closure)
            for parameter in (p for group in self.param_groups for p in group["params"]):
                parameter.clamp_(-0.4, 0.4)


def test_gradients_and_parameters_are_changed_in_the_step_of_an_own_optimizer() -> None:
    rows = {"x": torch.linspace(-1, 1, 12).reshape(4, 3)}
    model = nn.Linear(3, 2)
    ours = copy.deepcopy(model)
    own = offchain.compile(
        model=ours,
        loss=lambda m, b: m(b["x"]).square().mean(),
        optimizer=(Slow, {"lr": 1.0}),
        dataset=rows,
        batch_size=4,
        steps=3,
        order=lambda t: torch.arange(4, dtype=torch.int32),
        bits=21,
        executor="reference",
    )
    own.run()
    optimizer = torch.optim.SGD(hooked(model).parameters(), lr=1.0)
    model.bias.register_hook(lambda gradient: gradient / 10)
    for _ in range(3):
        optimizer.zero_grad()
        model(rows["x"]).square().mean().backward()
        optimizer.step()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.clamp_(-0.4, 0.4)
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(own.state_dict()[name], parameter.detach())


def test_what_builds_is_not_refused_later(tmp_path: Path) -> None:
    """The longest names, with an optimizer whose tensors have longer ones, and names that no file system would take."""
    fields = {
        "model": named("a" * (LONGEST - len(".weight"))),
        "dataset": {"x": X, "../y/\u00e9 \u4e2d": X},
        "metrics": {"m" * LONGEST: lambda m, b: b["x"].sum()},
        "optimizer": (torch.optim.Adam, {"amsgrad": True}),
        "name": "n" * LONGEST,
    }
    training = offchain.training.Training(a_job(**fields), "torch", threads=1)
    training.save(tmp_path / "a.task")
    assert load_task(tmp_path / "a.task").name == fields["name"]


@pytest.mark.parametrize("device", ["mps", "vulkan", "hpu", "meta", "", "nowhere", "cpu:x", None])
def test_a_device_that_is_not_there(device: Any) -> None:
    with pytest.raises(BadInput, match="; use cpu, or cuda where torch finds one") as caught:
        offchain.training.Training(a_job(), "torch", device)
    assert str(caught.value).startswith(f"device {device!r}: ")
    assert "\n" not in str(caught.value)
