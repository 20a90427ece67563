"""Loops that people write beyond the examples: each moves as in plain torch, and executors agree on an interval."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn import functional as F

import offchain
from offchain.program import Program, leaves
from offchain.training import Run

G = torch.Generator().manual_seed(0)
DATA = {"x": torch.randn(40, 6, generator=G), "y": torch.randint(0, 3, (40,), generator=G)}


def mlp(*sizes: int) -> nn.Module:
    torch.manual_seed(0)
    first, middle, last = sizes
    return nn.Sequential(nn.Linear(first, middle), nn.Tanh(), nn.Linear(middle, last))


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: weight.detach().clone() for name, weight in model.named_parameters()}


def moved(before: dict[str, Tensor], gradients: dict[str, Tensor], rate: float = 0.1) -> dict[str, Tensor]:
    return {name: weight - rate * gradients[name] for name, weight in before.items()}


NET: Final = mlp(6, 8, 3)


def entropy(state: Any, batch: Any) -> Tensor:
    return F.cross_entropy(functional_call(NET, state, (batch["x"],)), batch["y"])


def gradient_penalty() -> tuple[Any, Any]:
    """WGAN-GP: the gradient of a gradient's length, for each row."""
    maker, critic = mlp(2, 8, 6), mlp(6, 8, 1)

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        rows = len(batch["x"])
        made = functional_call(maker, state["maker"], (torch.randn(rows, 2),))
        share = torch.rand(rows, 1)

        def loss(of: Any) -> Tensor:
            between = share * batch["x"] + (1 - share) * made
            slope = vmap(grad(lambda x: functional_call(critic, of, (x,)).sum()))(between)
            scores = functional_call(critic, of, (made,)).mean() - functional_call(critic, of, (batch["x"],)).mean()
            return scores + 10 * ((slope.norm(dim=1) - 1) ** 2).mean()

        gradients, value = grad_and_value(loss)(state["critic"])
        return {**state, "critic": moved(state["critic"], gradients, 0.01)}, {"critic": value}

    return step, {"maker": weights(maker), "critic": weights(critic)}


def adaptive_sharpness() -> tuple[Any, Any]:
    """ASAM: SAM whose neighbourhood is as large as each weight."""

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        gradients, value = grad_and_value(entropy)(state, batch)
        size = {name: weight.abs() + 0.01 for name, weight in state.items()}
        norm = torch.sqrt(sum((size[name] * gradients[name]).square().sum() for name in state))
        near = {name: weight + 0.5 * size[name] ** 2 * gradients[name] / norm for name, weight in state.items()}
        return moved(state, grad(entropy)(near, batch)), {"loss": value}

    return step, weights(NET)


def accumulation() -> tuple[Any, Any]:
    """Gradients of two steps, summed in the state."""

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        gradients, value = grad_and_value(entropy)(state["weights"], batch)
        total, due = {name: state["sum"][name] + gradients[name] / 2 for name in gradients}, (t + 1) % 2 == 0
        after = moved(state["weights"], total)
        return {
            "weights": {name: torch.where(due, after[name], weight) for name, weight in state["weights"].items()},
            "sum": {name: torch.where(due, torch.zeros_like(held), held) for name, held in total.items()},
        }, {"loss": value}

    return step, {"weights": weights(NET), "sum": {name: torch.zeros_like(w) for name, w in weights(NET).items()}}


def inner_update() -> tuple[Any, Any]:
    """MAML: the gradient through an update."""

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        first, rest = ({name: rows[half] for name, rows in batch.items()} for half in (slice(0, 3), slice(3, None)))
        gradients, value = grad_and_value(lambda w: entropy(moved(w, grad(entropy)(w, first)), rest))(state)
        return moved(state, gradients), {"loss": value}

    return step, weights(NET)


def evolution() -> tuple[Any, Any]:
    """No gradient: losses of random neighbours, all at once."""

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        noise = {name: torch.randn(4, *weight.shape) for name, weight in state.items()}
        found = vmap(lambda way: entropy({name: w + 0.1 * way[name] for name, w in state.items()}, batch))(noise)
        better = (found - found.mean()) / (found.std() + 1e-8)
        return moved(state, {n: torch.einsum("k,k...->...", better, way) for n, way in noise.items()}, 0.05), {
            "loss": found.mean()
        }

    return step, weights(NET)


LOOPS = (gradient_penalty, adaptive_sharpness, accumulation, inner_update, evolution)


@pytest.mark.parametrize("loop", LOOPS, ids=lambda loop: loop.__name__)
def test_it_moves_as_in_plain_torch(loop: Callable[[], tuple[Any, Any]]) -> None:
    step, state = loop()
    run = offchain.compile(Program(step, state, DATA, 4, 2, batch_size=6, bits=21), executor="torch", threads=1)
    plain = run.plain()
    run.run()
    plain.run()
    for (name, got), (_, wanted), (_, first) in zip(*map(leaves, (run.state, plain.state, state)), strict=True):
        assert (got - wanted).norm() <= 0.01 * (wanted - first).norm() + 1e-6, name
    reference = Run(run.task, "reference", threads=1)
    reference.run(2)
    assert reference.state_roots == run.state_roots[:1]
