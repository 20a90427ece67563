"""The jobs that are measured: a GPT of any size, depthwise convolutions, and some of the examples."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import BadInput
from offchain.job import Batch, Job
from offchain.jobfile import load

EXAMPLES: Final = Path(__file__).resolve().parents[2] / "examples"
STEPS: Final = 1_000
INTERVAL: Final = 100
ROWS: Final = 256  # of the text, in batches of a row or more


@dataclass(frozen=True)
class Shape:
    """Sizes of a GPT and its batch. `flash`: torch's scaled_dot_product_attention, not minGPT's four operations."""

    width: int = 256
    layers: int = 4
    heads: int = 8
    length: int = 128
    vocabulary: int = 256
    batch: int = 16
    flash: bool = False


TINY: Final = Shape(width=16, layers=1, heads=2, length=8, vocabulary=32, batch=2)


class Attention(nn.Module):
    """Causal self-attention as minGPT writes it (Karpathy, 2020)."""

    bias: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.c_attn, self.c_proj = nn.Linear(shape.width, 3 * shape.width), nn.Linear(shape.width, shape.width)
        self.register_buffer("bias", torch.tril(torch.ones(shape.length, shape.length)))

    def forward(self, x: Tensor) -> Tensor:
        rows, length, width = x.shape
        heads = (rows, length, self.shape.heads, width // self.shape.heads)
        q, k, v = (part.view(heads).transpose(1, 2) for part in self.c_attn(x).split(width, dim=2))
        if self.shape.flash:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            scores = (q @ k.transpose(-2, -1)) * (1.0 / math.sqrt(k.size(-1)))
            scores = scores.masked_fill(self.bias[:length, :length] == 0, float("-inf"))
            y = F.softmax(scores, dim=-1) @ v
        mixed: Tensor = self.c_proj(y.transpose(1, 2).contiguous().view(rows, length, width))
        return mixed


class Block(nn.Module):
    """Attention, then two linear layers with a GELU, each added to what it reads."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.ln_1, self.ln_2 = nn.LayerNorm(shape.width), nn.LayerNorm(shape.width)
        self.attn = Attention(shape)
        self.up, self.down = nn.Linear(shape.width, 4 * shape.width), nn.Linear(4 * shape.width, shape.width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        x = x + self.down(F.gelu(self.up(self.ln_2(x)), approximate="tanh"))
        return x


class GPT(nn.Module):
    """Tokens (rows, length) to scores of the next one (rows, length, vocabulary)."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.tokens = nn.Embedding(shape.vocabulary, shape.width)
        self.places = nn.Embedding(shape.length, shape.width)
        self.blocks = nn.Sequential(*(Block(shape) for _ in range(shape.layers)))
        self.ln_f, self.head = nn.LayerNorm(shape.width), nn.Linear(shape.width, shape.vocabulary, bias=False)
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.Embedding):
                nn.init.normal_(module.weight, std=0.02)

    def forward(self, text: Tensor) -> Tensor:
        x = self.tokens(text) + self.places(torch.arange(text.shape[1], device=text.device))
        scores: Tensor = self.head(self.ln_f(self.blocks(x)))
        return scores


def next_token_loss(model: Any, batch: Batch) -> Tensor:
    text = batch["text"]
    return F.cross_entropy(model(text[:, :-1]).flatten(0, 1), text[:, 1:].flatten())


def gpt(shape: Shape = Shape()) -> Job:
    """A GPT with AdamW on random text, whose steps cost as much as those on any other text."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = GPT(shape)
        text = torch.randint(0, shape.vocabulary, (max(ROWS, shape.batch), shape.length + 1))
    return Job(
        model=model,
        loss=next_token_loss,
        optimizer=(torch.optim.AdamW, {"lr": 3e-4, "betas": (0.9, 0.95), "weight_decay": 0.1}),
        dataset={"text": text},
        batch_size=shape.batch,
        steps=STEPS,
        interval=INTERVAL,
        name="GPT",
    )


def depthwise(channels: int = 64, size: int = 28, batch: int = 8) -> Job:
    """Two depthwise 7×7 convolutions, the second of which has a gradient of its input too."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers = (nn.Conv2d(channels, channels, 7, padding=3, groups=channels) for _ in range(2))
        model, images = nn.Sequential(*layers), torch.randn(2 * batch, channels, size, size)
    return Job(
        model=model,
        loss=lambda model, batch: model(batch["x"]).square().mean(),
        optimizer=(torch.optim.SGD, {"lr": 0.01}),
        dataset={"x": images},
        batch_size=batch,
        steps=STEPS,
        interval=INTERVAL,
        name="depthwise",
    )


def example(name: str) -> Job:
    """A job file of the project's examples. Raises BadInput outside of a checkout, or without what it imports."""
    if not EXAMPLES.is_dir():
        raise BadInput(f"the job {name!r} is one of the project's examples: run this in a checkout")
    loaded = load(EXAMPLES / f"{name}.py")
    assert isinstance(loaded, Job)
    return loaded


_MAKERS: Final[dict[str, Callable[[bool], Job]]] = {  # quick? -> job
    "gpt": lambda quick: gpt(TINY if quick else Shape()),
    "gpt-sdpa": lambda quick: gpt(replace(TINY if quick else Shape(), flash=True)),
    "cnn": lambda quick: example("cnn_digits"),
    "mlp": lambda quick: example("mlp_digits"),
    "depthwise": lambda quick: depthwise(4, 8, 2) if quick else depthwise(),
    "lora": lambda quick: example("lora_minilm"),
}
JOBS: Final = tuple(_MAKERS)


def job(name: str, bits: int, quick: bool = False) -> Job:
    """A job of `JOBS` at that precision. Raises BadInput for another name, or bits that no job may have."""
    if name not in _MAKERS:
        raise BadInput(f"no job {name!r}; there are {', '.join(JOBS)}")
    return replace(_MAKERS[name](quick), bits=bits)
