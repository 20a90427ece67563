"""Recurrent layers, unrolled: gradients against float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from offchain.lower import compile
from offchain.lower.random import replayed
from tests.support.gradients import assert_gradients, gradient_job, gradients64, run

DATA = {"x": torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(1))}  # rows, and what a row holds
DEEP = {"num_layers": 2, "bidirectional": True}


def last(state: Any) -> Tensor:
    return state[0] if isinstance(state, tuple) else state


class Layer(nn.Module):
    """A recurrent layer over the middle axis."""

    def __init__(self, kind: type[nn.RNNBase], **options: Any) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = kind(4, 3, **options)

    def forward(self, x: Tensor) -> Tensor:
        out, state = self.layer(x if self.layer.batch_first else x.transpose(0, 1))
        return out.square().sum() + last(state).sum()


class Cell(nn.Module):
    """A cell, by hand over the middle axis."""

    def __init__(self, kind: type[nn.RNNCellBase]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.cell = kind(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        state = None
        for step in x.unbind(1):
            state = self.cell(step, state)
        return last(state).square().sum()


def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return model(batch["x"])


@pytest.mark.parametrize(
    "model",
    [
        Layer(nn.RNN, nonlinearity="relu"),
        Layer(nn.RNN, batch_first=True, bidirectional=True),
        Layer(nn.GRU),
        Layer(nn.GRU, batch_first=True, **DEEP),
        Layer(nn.LSTM, bias=False),
        Layer(nn.LSTM, batch_first=True, **DEEP),
        Layer(nn.LSTM, proj_size=2),
        Cell(nn.RNNCell),
        Cell(nn.GRUCell),
        Cell(nn.LSTMCell),
    ],
    ids=[
        "rnn",
        "rnn-both",
        "gru",
        "gru-deep",
        "lstm",
        "lstm-deep",
        "lstm-projected",
        "rnn-cell",
        "gru-cell",
        "lstm-cell",
    ],
)
def test_gradients(model: nn.Module) -> None:
    assert_gradients(model, loss, DATA, reference=isinstance(getattr(model, "cell", None), nn.LSTMCell))


def test_dropout_between_layers() -> None:
    model = Layer(nn.LSTM, num_layers=2, dropout=0.5)
    with replayed(9, 0):
        wanted = gradients64(model, loss, DATA)
    state = run(compile(gradient_job(model, loss, DATA, seed=9)))
    for name, gradient in wanted.items():
        assert state[f"momentum.{name}"] == pytest.approx(gradient, rel=1e-4, abs=1e-5)
