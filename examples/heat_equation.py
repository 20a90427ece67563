"""A physics-informed network (Raissi et al. 2019) solves the heat equation ∂u/∂t = ∂²u/∂x², without any data.

The network is trained on points that each step draws anew: the equation inside, by its own first and second
derivatives, and what is known at the start, sin(πx), and at both ends, 0. The solution is exp(−π²t)·sin(πx).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap

from offchain import Program
from offchain.job import DEFAULT_BITS

RATE, LATEST = 1e-2, 0.2
MODEL = nn.Sequential(nn.Linear(2, 24), nn.Tanh(), nn.Linear(24, 24), nn.Tanh(), nn.Linear(24, 1))


def job(seed: int = 0, steps: int = 1000, bits: int = DEFAULT_BITS, points: int = 64) -> Program:
    def step(state: Any, batch: Any, t: Tensor) -> Any:
        x, time = torch.rand(points), LATEST * torch.rand(points)
        still, ends = torch.zeros(points), (torch.rand(points) < 0.5).float()

        def loss(weights: dict[str, Tensor]) -> Tensor:
            def u(x: Tensor, time: Tensor) -> Tensor:
                return functional_call(MODEL, weights, (torch.stack([x, time]),)).squeeze(0)

            residual = vmap(grad(u, 1))(x, time) - vmap(grad(grad(u)))(x, time)
            start = vmap(u)(x, still) - torch.sin(math.pi * x)
            return residual.square().mean() + 10 * (start.square() + vmap(u)(ends, time).square()).mean()

        gradients, value = grad_and_value(loss)(state["weights"])
        done = t.float() + 1
        mean = {name: 0.9 * state["mean"][name] + 0.1 * g for name, g in gradients.items()}
        square = {name: 0.999 * state["square"][name] + 0.001 * g * g for name, g in gradients.items()}
        rate = RATE * 0.998**done
        weights = {
            name: weight - rate * mean[name] / (1 - 0.9**done) / ((square[name] / (1 - 0.999**done)).sqrt() + 1e-8)
            for name, weight in state["weights"].items()
        }
        return {"weights": weights, "mean": mean, "square": square}, {"loss": value}

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for layer in MODEL[::2]:
            layer.reset_parameters()
        weights = {name: weight.detach().clone() for name, weight in MODEL.named_parameters()}
    zeros = {name: torch.zeros_like(weight) for name, weight in weights.items()}
    state = {"weights": weights, "mean": zeros, "square": zeros}
    return Program(
        step, state, None, steps=steps, interval=steps // 10 or 1, seed=seed, bits=bits, name="heat equation"
    )


def evaluate(state: dict[str, Any]) -> dict[str, float]:
    """The greatest distance from the solution, on a grid of 21 by 21 points; the solution's own range is 1."""
    x, time = (axis.flatten() for axis in torch.meshgrid(torch.linspace(0, 1, 21), torch.linspace(0, LATEST, 21)))
    with torch.no_grad():
        found = functional_call(MODEL, state["weights"], (torch.stack([x, time], 1),)).squeeze(1)
    return {"error": float((found - torch.exp(-(math.pi**2) * time) * torch.sin(math.pi * x)).abs().max())}
