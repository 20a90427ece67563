"""Two networks against each other, each with its own Adam: a generator learns the shape of a ring from noise.

The discriminator moves first, on rows of the ring and on what the generator makes of fresh noise; then the generator
moves against the discriminator as it is now.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn.functional import binary_cross_entropy_with_logits as cross_entropy

from offchain import Program
from offchain.job import DEFAULT_BITS

NOISE, WIDTH = 4, 32
GENERATOR = nn.Sequential(nn.Linear(NOISE, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 2))
DISCRIMINATOR = nn.Sequential(nn.Linear(2, WIDTH), nn.SiLU(), nn.Linear(WIDTH, 1))


def started(network: nn.Module, seed: int) -> dict[str, Any]:
    """Weights drawn anew, and two moments of zeros for each."""
    generator = torch.Generator().manual_seed(seed)
    weights = {name: torch.randn(w.shape, generator=generator) / 2 for name, w in network.named_parameters()}
    zeros = {name: torch.zeros_like(w) for name, w in weights.items()}
    return {"weights": weights, "mean": zeros, "square": zeros}


def adam(held: dict[str, Any], gradients: dict[str, Tensor], t: Tensor, lr: float) -> dict[str, Any]:
    """Adam with the betas (0.5, 0.999) of Radford et al. (2015)."""
    mean = {name: 0.5 * held["mean"][name] + 0.5 * g for name, g in gradients.items()}
    square = {name: 0.999 * held["square"][name] + 0.001 * g * g for name, g in gradients.items()}
    weights = dict(held["weights"])
    for name, weight in weights.items():
        scale = (square[name] / (1 - 0.999 ** (t + 1.0))).sqrt() + 1e-8
        weights[name] = weight - lr * mean[name] / (1 - 0.5 ** (t + 1.0)) / scale
    return {"weights": weights, "mean": mean, "square": square}


def judged(discriminator: dict[str, Tensor], points: Tensor, real: float) -> Tensor:
    scores = functional_call(DISCRIMINATOR, discriminator, (points,))
    return cross_entropy(scores, torch.full_like(scores, real))


def step(state: Any, batch: Any, t: Tensor) -> Any:
    def of_discriminator(weights: dict[str, Tensor]) -> Tensor:
        made = functional_call(GENERATOR, state["generator"]["weights"], (torch.randn(len(batch["point"]), NOISE),))
        return judged(weights, batch["point"], 1.0) + judged(weights, made, 0.0)

    def of_generator(weights: dict[str, Tensor]) -> Tensor:
        made = functional_call(GENERATOR, weights, (torch.randn(len(batch["point"]), NOISE),))
        return judged(discriminator["weights"], made, 1.0)

    gradients, against = grad_and_value(of_discriminator)(state["discriminator"]["weights"])
    discriminator = adam(state["discriminator"], gradients, t, 1e-2)
    gradients, fooling = grad_and_value(of_generator)(state["generator"]["weights"])
    generator = adam(state["generator"], gradients, t, 2e-3)
    return {"generator": generator, "discriminator": discriminator}, {"generator": fooling, "discriminator": against}


def job(seed: int = 0, steps: int = 1000, bits: int = DEFAULT_BITS, batch_size: int = 64) -> Program:
    angle = torch.arange(256) * (2 * math.pi / 256)
    state = {"generator": started(GENERATOR, seed), "discriminator": started(DISCRIMINATOR, seed + 1)}
    return Program(step, state, {"point": torch.stack([angle.cos(), angle.sin()], 1)}, steps=steps,
                   interval=steps // 10 or 1, batch_size=batch_size, seed=seed, bits=bits, name="ring")  # fmt: skip


def evaluate(state: dict[str, Any]) -> dict[str, float]:
    """The mean distance of made points from the ring."""
    noise = torch.randn(256, NOISE, generator=torch.Generator().manual_seed(0))
    made = functional_call(GENERATOR, state["generator"]["weights"], (noise,))
    return {"distance": float((made.norm(dim=1) - 1).abs().mean())}
