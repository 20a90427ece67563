"""A scan as Mamba has it (Gu and Dao 2023): a linear recurrence whose decay and gates follow from the input.

Digits are read row by row: eight time steps of eight pixels. What the state keeps of a row depends on that row.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn.functional import cross_entropy, silu, softplus

from offchain import Program
from offchain.job import DEFAULT_BITS

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
import mlp_digits

ROWS, PIXELS, WIDTH, STATES = 8, 8, 16, 4
RATE, MOMENTUM = 0.1, 0.9


class Scan(nn.Module):
    """Images (rows, 64) to scores (rows, 10)."""

    def __init__(self) -> None:
        super().__init__()
        self.enter, self.gate = nn.Linear(PIXELS, WIDTH), nn.Linear(PIXELS, WIDTH)
        self.pace, self.chosen = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 2 * STATES, bias=False)
        self.decay = nn.Parameter(torch.log(torch.arange(1.0, STATES + 1)).repeat(WIDTH, 1))
        self.leave = nn.Linear(ROWS * WIDTH, 10)

    def forward(self, image: Tensor) -> Tensor:
        rows = image.view(-1, ROWS, PIXELS)
        x, gate = silu(self.enter(rows)), silu(self.gate(rows))
        pace, (into, out) = softplus(self.pace(x)).unsqueeze(3), self.chosen(x).unsqueeze(2).split(STATES, 3)
        kept, added = torch.exp(-pace * torch.exp(self.decay)), pace * into * x.unsqueeze(3)
        state, seen = torch.zeros_like(added[:, 0]), []
        for n in range(ROWS):
            state = kept[:, n] * state + added[:, n]
            seen.append(((state * out[:, n]).sum(2) + x[:, n]) * gate[:, n])
        return self.leave(torch.cat(seen, 1))


MODEL = Scan()


def step(state: Any, batch: Any, t: Tensor) -> Any:
    def loss(weights: dict[str, Tensor]) -> Tensor:
        return cross_entropy(functional_call(MODEL, weights, (batch["image"],)), batch["label"])

    gradients, value = grad_and_value(loss)(state["weights"])
    velocity = {name: MOMENTUM * state["velocity"][name] + g for name, g in gradients.items()}
    weights = {name: weight - RATE * velocity[name] for name, weight in state["weights"].items()}
    return {"weights": weights, "velocity": velocity}, {"loss": value}


def job(seed: int = 0, steps: int = 300, bits: int = DEFAULT_BITS, batch_size: int = 32) -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        weights = {name: weight.detach() for name, weight in Scan().named_parameters()}
    images, labels, _, _ = mlp_digits.split()
    state = {"weights": weights, "velocity": {name: torch.zeros_like(weight) for name, weight in weights.items()}}
    return Program(step, state, {"image": images, "label": labels}, steps=steps, interval=steps // 10 or 1,
                   batch_size=batch_size, seed=seed, bits=bits, name="digits, selective scan")  # fmt: skip


def evaluate(state: dict[str, Any]) -> dict[str, float]:
    """Share of the test digits that are classified correctly."""
    _, _, images, labels = mlp_digits.split()
    with torch.no_grad():
        scores = functional_call(MODEL, state["weights"], (images,))
    return {"accuracy": float((scores.argmax(1) == labels).float().mean())}
