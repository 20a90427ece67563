"""Which object a parameter is, hooks that stay on it, seeds that a step sets: what a captured step does not know."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from offchain.job import Job
from offchain.lower import compile
from tests.offchain.lower.hidden import built
from tests.offchain.lower.refused import Batch, fields, line, refused, square


def test_a_seed_that_a_step_sets_and_gives_back() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        with torch.random.fork_rng():
            torch.manual_seed(1)
            noise = torch.rand(4)
        return square(model, {"x": batch["x"] * noise})

    text = refused(loss=loss)
    assert text.startswith("torch's random seed (torch.Generator."), text
    assert "those that are the same in every step are drawn once, before the job is built" in text


@pytest.mark.parametrize("how", ["register_hook", "register_post_accumulate_grad_hook"])
def test_a_hook_that_each_step_adds_to_a_parameter(how: str) -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        getattr(model[0].weight, how)(lambda gradient: None)
        return square(model, batch)

    text = refused(loss=loss)
    assert f" in loss at {line(loss, 1)}: a hook on the gradient of a parameter stays there" in text


def _is(model: Any, special: nn.Parameter) -> list[Tensor]:
    return [p for p in model.parameters() if p is special]


def _is_in_a_set(model: Any, special: nn.Parameter) -> list[Tensor]:
    return [p for p in model.parameters() if p in {special}]


def _has_the_id(model: Any, special: nn.Parameter) -> list[Tensor]:
    return [p for p in model.parameters() if id(p) == id(special)]


@pytest.mark.parametrize("which", [_is, _is_in_a_set, _has_the_id])
def test_which_object_a_parameter_is(which: Any) -> None:
    given = fields()
    special = given["model"][0].weight
    text = refused(
        model=given["model"], loss=lambda m, b: square(m, b) + sum(p.square().sum() for p in which(m, special))
    )
    assert "tell parameters by their names (model.named_parameters())" in text


def test_numbers_for_each_parameter() -> None:
    model = fields()["model"]
    by_id = {id(p): 0.1 for p in model.parameters()}
    by_name = {name: 0.1 for name, _ in model.named_parameters()}
    asks: list[Callable[[Any], Any]] = [
        lambda m: sum(by_id[id(p)] * p.square().sum() for p in m.parameters()),
        lambda m: m[0].weight.square().sum() * m[0].weight.strength,
    ]
    model[0].weight.strength = 0.1
    for ask in asks:
        text = refused(model=model, loss=lambda m, b, ask=ask: square(m, b) + ask(m))
        assert "a step asks which object a parameter is, or for an attribute" in text
    built(lambda m, b: square(m, b) + sum(by_name[n] * p.square().sum() for n, p in m.named_parameters()))


def test_the_first_step_in_plain_torch_leaves_the_model_as_it_was() -> None:
    given = fields(model=nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)))
    model = given["model"]
    model[0].weight.grad = torch.ones(4, 4)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    pointers = [p.data_ptr() for p in model.parameters()]

    compile(Job(**given))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert [p.data_ptr() for p in model.parameters()] == pointers
    assert torch.equal(model[0].weight.grad, torch.ones(4, 4))


@pytest.mark.parametrize("view", [lambda w: w, memoryview], ids=["array", "memoryview"])
def test_an_array_in_the_memory_of_a_parameter(view: Any) -> None:
    given = fields()
    seen = view(given["model"][0].weight.detach().numpy())
    text = refused(model=given["model"], loss=lambda m, b: square(m, b) * (1.0 + abs(float(seen[0, 0]))))
    assert text.startswith("variable 'seen' is in the memory of '0.weight', and every step would use"), text
    built(lambda m, b: square(m, b) * (1.0 + m[0].weight[0, 0].detach().abs()))
