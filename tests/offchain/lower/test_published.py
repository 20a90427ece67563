"""Models as their authors wrote them: nothing in `tests/published` was changed to make it trace."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from offchain import compile
from offchain.job import Job
from tests.published import mingpt, mlp, nanogpt, tagger
from tests.support.gradients import assert_same_bits

STEPS = 4


def data() -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(0)
    return {
        "text": torch.randint(0, 11, (8, 7), generator=g),
        "tags": torch.randint(0, 3, (8, 7), generator=g),
        "x": torch.randn(8, 5, generator=g),
        "y": torch.randint(0, 3, (8,), generator=g),
    }


def config(**more: Any) -> SimpleNamespace:
    sizes = {"vocab_size": 11, "block_size": 6, "n_layer": 2, "n_head": 2, "n_embd": 8}
    return SimpleNamespace(**sizes, **more)


def a_mingpt() -> dict[str, Any]:
    model = mingpt.GPT(config(embd_pdrop=0.1, resid_pdrop=0.1, attn_pdrop=0.1))
    chosen = SimpleNamespace(weight_decay=0.1, learning_rate=3e-3, betas=(0.9, 0.95))
    return {
        "model": model,
        "loss": lambda m, b: m(b["text"][:, :-1], b["text"][:, 1:].contiguous())[1],
        "optimizer": model.configure_optimizers(chosen),
        "clip_norm": 1.0,
    }


def a_nanogpt() -> dict[str, Any]:
    model = nanogpt.GPT(config(dropout=0.1, bias=False))
    return {
        "model": model,
        "loss": lambda m, b: m(b["text"][:, :-1], b["text"][:, 1:].contiguous())[1],
        "optimizer": model.configure_optimizers(0.1, 3e-3, (0.9, 0.95), "cpu"),
        "clip_norm": 1.0,
        "schedule": lambda t: torch.clamp((t + 1) / 3, max=1.0),
    }


def a_tagger() -> dict[str, Any]:
    return {
        "model": tagger.GRUTagger(11, 3),
        "loss": lambda m, b: tagger.tagging_loss(m, b["text"], torch.where(b["text"] == 0, -100, b["tags"])),
        "optimizer": (torch.optim.SGD, {"lr": 0.1}),
    }


def an_mlp() -> dict[str, Any]:
    model = mlp.MLPClassifier(5, 3)
    return {
        "model": model,
        "loss": lambda m, b: m.loss(b["x"], b["y"]),
        "optimizer": torch.optim.Adam(model.parameters(), lr=1e-3),
    }


@pytest.mark.parametrize(
    "make", [an_mlp, *(pytest.param(make, marks=pytest.mark.slow) for make in (a_nanogpt, a_mingpt, a_tagger))]
)
def test_trains_like_plain_torch(make: Any) -> None:
    torch.manual_seed(0)
    training = compile(**make(), dataset=data(), batch_size=4, steps=STEPS, bits=21)
    training.run()
    plain = training.plain()
    plain.run()
    np.testing.assert_allclose(training.losses, plain.losses, rtol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("make", [a_mingpt, a_nanogpt, a_tagger, an_mlp])
def test_all_executors_give_the_same_bits(make: Any) -> None:
    torch.manual_seed(0)
    assert_same_bits(Job(**make(), dataset=data(), batch_size=2, steps=2, interval=2), steps=1)
