"""Attention: masks, weights, layers in training mode; gradients against float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.lower import compile
from offchain.lower.random import replayed
from tests.support.cases import Batch, Case, assert_cases
from tests.support.gradients import assert_gradients, assert_same_bits, gradient_job, gradients64, run

g = torch.Generator().manual_seed(2)
DATA = {
    "x": torch.randn(2, 3, 4, generator=g),
    "y": torch.randn(2, 3, 4, generator=g),
    "padding": torch.tensor([[False, False, True], [False, False, False]]),
}
CAUSAL = torch.ones(3, 3).triu(1).bool()
SLOPE = torch.linspace(-1, 1, 9).reshape(3, 3)


def attention(mask: Tensor | None = None, **options: Any) -> Case:
    def case(w: Tensor, b: Batch) -> Tensor:
        own, other = w.reshape(2, 1, 3, 4), b["x"].to(w.dtype).unsqueeze(1)
        bias = mask.to(w.dtype) if mask is not None and mask.is_floating_point() else mask
        return F.scaled_dot_product_attention(own, other, own * 2, bias, **options)

    return case


def test_scaled_dot_product_attention() -> None:
    cases: dict[str, Case] = {
        "plain": attention(),
        "causal": attention(is_causal=True),
        "mask": attention(~CAUSAL),
        "slope": attention(SLOPE),
        "scale": attention(scale=0.3),
        "grouped": lambda w, b: F.scaled_dot_product_attention(
            w.reshape(2, 4, 3, 1), w.reshape(2, 2, 3, 2)[..., :1], w.reshape(2, 2, 3, 2)[..., 1:], enable_gqa=True
        ),
    }
    assert_cases(cases, torch.randn(2, 3, 4, generator=g), DATA)


class Heads(nn.Module):
    """Multi-head attention of x on itself or on y; with its weights if they are asked for."""

    def __init__(self, batch_first: bool, own: bool = True, slope: bool = False, **call: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.heads = nn.MultiheadAttention(4, 2, batch_first=batch_first)
        self.own, self.slope, self.call = own, slope, call

    def forward(self, b: Batch) -> Tensor:
        x, y = (b[n] if self.heads.batch_first else b[n].transpose(0, 1) for n in ("x", "x" if self.own else "y"))
        call = {**self.call, **({"attn_mask": SLOPE.to(x.dtype)} if self.slope else {})}
        if call.pop("padded", False):
            call["key_padding_mask"] = b["padding"]
        out, weights = self.heads(x, y, y, **call)
        return out.square().sum() + (weights.square().sum() if weights is not None else 0)


def total(model: Any, batch: Batch) -> Tensor:
    return model(batch)


@pytest.mark.parametrize(
    "model",
    [
        Heads(True),
        Heads(False, own=False, need_weights=False),
        Heads(True, attn_mask=CAUSAL, is_causal=True, need_weights=False),
        Heads(True, attn_mask=CAUSAL, padded=True),
        Heads(True, slope=True, average_attn_weights=False),
    ],
    ids=["plain", "other", "causal", "padding", "slope"],
)
def test_multihead_attention(model: nn.Module) -> None:
    assert_gradients(model, total, DATA, reference=False)


class Layer(nn.Module):
    """An encoder layer, or a decoder layer on y."""

    def __init__(self, kind: type[nn.Module], **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(4, 2, 8, batch_first=True, **options)

    def forward(self, b: Batch) -> Tensor:
        if isinstance(self.layer, nn.TransformerDecoderLayer):
            return self.layer(b["x"], b["y"], tgt_mask=CAUSAL, tgt_is_causal=True).mul(b["x"]).square().sum()
        return self.layer(b["x"], src_key_padding_mask=b["padding"]).mul(b["y"]).square().sum()


@pytest.mark.parametrize(
    "model",
    [
        Layer(nn.TransformerEncoderLayer, dropout=0.2),
        Layer(nn.TransformerEncoderLayer, dropout=0.2, norm_first=True, activation="gelu"),
        Layer(nn.TransformerDecoderLayer, dropout=0.2),
    ],
    ids=["encoder", "norm-first", "decoder"],
)
def test_layers_train_with_dropout(model: nn.Module) -> None:
    with replayed(4, 0):
        wanted = gradients64(model, total, DATA)
    state = run(compile(gradient_job(model, total, DATA, seed=4)))
    for name, gradient in wanted.items():
        atol = 2e-5 * max(np.abs(gradient).max(), 1e-3)
        np.testing.assert_allclose(state[f"momentum.{name}"], gradient, rtol=0, atol=atol, err_msg=name)


def test_a_layer_has_the_same_bits_everywhere() -> None:
    assert_same_bits(gradient_job(Layer(nn.TransformerEncoderLayer, dropout=0.2), total, DATA, seed=4))


def test_evaluation_drops_nothing() -> None:
    model = Layer(nn.TransformerEncoderLayer, dropout=0.2).eval()
    assert_gradients(model, total, DATA, tolerance=2e-5, reference=False)
