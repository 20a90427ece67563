"""Direct preference optimisation (Rafailov et al. 2023): a language model learns which of two texts is preferred.

Pairs of a line of Moby Dick and the same line with its middle reversed. The policy starts as the reference, which is
frozen; no reward model is trained.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value
from torch.nn.functional import logsigmoid

from offchain import Program
from offchain.job import DEFAULT_BITS

sys.path.insert(0, str(Path(__file__).parent))  # for its neighbour, however this file is run
import gpt_text

LENGTH, WIDTH = 17, 32
RATE, BETA = 0.1, 0.2


class Reader(nn.Module):
    """Bytes (rows, length) to scores of the next byte (rows, length, 256), by the three bytes before."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes, self.head = nn.Embedding(256, WIDTH), nn.Linear(WIDTH, 256)
        self.mix = nn.Conv1d(WIDTH, WIDTH, 3)

    def forward(self, text: Tensor) -> Tensor:
        x = nn.functional.pad(self.bytes(text).transpose(1, 2), (2, 0))
        return self.head(nn.functional.silu(self.mix(x)).transpose(1, 2))


def pairs(rows: int = 512) -> tuple[Tensor, Tensor]:
    """Texts (rows, LENGTH) as they are, and with their middle the other way round."""
    preferred = gpt_text.split()[0][:rows, :LENGTH].contiguous()
    return preferred, torch.cat([preferred[:, :4], preferred[:, 4:].flip(1)], 1)


def job(seed: int = 0, steps: int = 200, bits: int = DEFAULT_BITS, batch_size: int = 16) -> Program:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        reference = Reader().requires_grad_(False)

    def likelihood(weights: dict[str, Tensor], text: Tensor) -> Tensor:
        """Its logarithm, of each row."""
        scores = functional_call(reference, weights, (text[:, :-1],)).log_softmax(2)
        return scores.gather(2, text[:, 1:].unsqueeze(2)).squeeze(2).sum(1)

    def step(state: Any, batch: Any, t: Tensor) -> Any:
        frozen = dict(reference.named_parameters())
        before = likelihood(frozen, batch["preferred"]) - likelihood(frozen, batch["other"])

        def loss(weights: dict[str, Tensor]) -> Tensor:
            margin = likelihood(weights, batch["preferred"]) - likelihood(weights, batch["other"]) - before
            return -logsigmoid(BETA * margin).mean()

        gradients, value = grad_and_value(loss)(state)
        return {name: weight - RATE * gradients[name] for name, weight in state.items()}, {"loss": value}

    start = {name: weight.clone() for name, weight in reference.named_parameters()}
    data = dict(zip(("preferred", "other"), pairs(), strict=True))
    return Program(step, start, data, steps=steps, interval=steps // 10 or 1, batch_size=batch_size, seed=seed,
                   bits=bits, name="Moby Dick, preferences")  # fmt: skip
