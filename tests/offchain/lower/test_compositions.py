"""Random networks of everything that lowers, with random losses and optimizers, beside plain torch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.job import Job
from tests.support.draws import examples
from tests.support.gradients import assert_same_bits

ROWS, CHANNELS, SIDE, WIDTH, LENGTH, CLASSES = 6, 4, 5, 6, 4, 3
Make = Callable[[], nn.Module]

# Layers that keep the shape of what they get: (rows, channels, side, side), (rows, length, width), (rows, width).
IMAGES: dict[str, Make] = {
    "conv": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
    "strided": lambda: nn.Sequential(nn.Conv2d(CHANNELS, CHANNELS, 2, stride=2), nn.Upsample(size=SIDE)),
    "dilated": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=2, dilation=2, bias=False),
    "depthwise": lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding="same", groups=CHANNELS),
    "grouped": lambda: nn.Conv2d(CHANNELS, CHANNELS, 1, groups=2),
    "transposed": lambda: nn.ConvTranspose2d(CHANNELS, CHANNELS, 3, padding=1),
    "batch-norm": lambda: nn.BatchNorm2d(CHANNELS),
    "group-norm": lambda: nn.GroupNorm(2, CHANNELS),
    "instance-norm": lambda: nn.InstanceNorm2d(CHANNELS, affine=True),
    "max-pool": lambda: nn.MaxPool2d(3, stride=1, padding=1),
    "avg-pool": lambda: nn.AvgPool2d(3, stride=1, padding=1),
    "adaptive": lambda: nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Upsample(size=SIDE, mode="bilinear")),
    "dropout": lambda: nn.Dropout2d(0.25),
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "leaky": lambda: nn.LeakyReLU(0.1),
}
SEQUENCES: dict[str, Make] = {
    "encoder": lambda: nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.1, batch_first=True, norm_first=True),
    "gru": lambda: First(nn.GRU(WIDTH, WIDTH, batch_first=True)),
    "lstm": lambda: First(nn.LSTM(WIDTH, WIDTH // 2, batch_first=True, bidirectional=True)),
    "conv1d": lambda: Swapped(nn.Conv1d(WIDTH, WIDTH, 3, padding=1)),
    "pool1d": lambda: Swapped(nn.AvgPool1d(3, 1, 1)),
    "layer-norm": lambda: nn.LayerNorm(WIDTH),
    "rms-norm": lambda: nn.RMSNorm(WIDTH),
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "dropout": lambda: nn.Dropout(0.2),
    "gelu": nn.GELU,
    "tanh": nn.Tanh,
    "softmax": lambda: nn.Softmax(-1),
}
VECTORS: dict[str, Make] = {
    "linear": lambda: nn.Linear(WIDTH, WIDTH),
    "bilinear": lambda: Twice(nn.Bilinear(WIDTH, WIDTH, WIDTH)),
    "batch-norm": lambda: nn.BatchNorm1d(WIDTH),
    "layer-norm": lambda: nn.LayerNorm(WIDTH),
    "gelu-tanh": lambda: nn.GELU(approximate="tanh"),
    "softplus": nn.Softplus,
    "sigmoid": nn.Sigmoid,
    "elu": nn.ELU,
    "mish": nn.Mish,
    "hardswish": nn.Hardswish,
    "log-softmax": lambda: nn.LogSoftmax(-1),
    "dropout": lambda: nn.AlphaDropout(0.1),
}


class First(nn.Module):
    """The sequence that a recurrent layer makes."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x)[0]


class Swapped(nn.Module):
    """A layer over (rows, width, length)."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x.transpose(1, 2)).transpose(1, 2)


class Twice(nn.Module):
    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x, x)


class Network(nn.Module):
    """Layers, each by itself or around a skip, and a head on the mean over all but rows and features."""

    def __init__(self, layers: list[tuple[nn.Module, bool]], features: int, axis: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layer for layer, _ in layers)
        self.skips = [skip for _, skip in layers]
        self.head, self.axis = nn.Linear(features, CLASSES), axis

    def forward(self, x: Tensor) -> Tensor:
        for layer, skip in zip(self.layers, self.skips, strict=True):
            x = x + layer(x) if skip else layer(x)
        return self.head(x.movedim(self.axis, -1).reshape(x.shape[0], -1, x.shape[self.axis]).mean(1))


LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "cross-entropy": lambda scores, y: F.cross_entropy(scores, y, label_smoothing=0.1),
    "weighted": lambda scores, y: F.cross_entropy(scores, y, weight=torch.tensor([0.5, 1.0, 2.0])),
    "nll": lambda scores, y: F.nll_loss(F.log_softmax(scores, 1), y, ignore_index=2),
    "mse": lambda scores, y: F.mse_loss(scores, F.one_hot(y, CLASSES).float()),
    "huber": lambda scores, y: F.huber_loss(scores, F.one_hot(y, CLASSES).float(), delta=0.3),
    "bce": lambda scores, y: F.binary_cross_entropy_with_logits(scores, F.one_hot(y, CLASSES).float()),
    "kl": lambda scores, y: F.kl_div(
        F.log_softmax(scores, 1), (F.one_hot(y, CLASSES) + 0.5) / 2.5, reduction="batchmean"
    ),
}
OPTIMIZERS: dict[str, tuple[type, dict[str, Any]]] = {
    "sgd": (torch.optim.SGD, {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.002, "eps": 1e-2}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.02, "eps": 1e-2}),
    "adamw": (torch.optim.AdamW, {"lr": 0.003, "eps": 1e-2}),
}
FAMILIES: dict[str, tuple[dict[str, Make], tuple[int, ...], int]] = {
    "images": (IMAGES, (CHANNELS, SIDE, SIDE), 1),
    "sequences": (SEQUENCES, (LENGTH, WIDTH), -1),
    "vectors": (VECTORS, (WIDTH,), -1),
}


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    family = draw(st.sampled_from(sorted(FAMILIES)))
    layers, shape, axis = FAMILIES[family]
    names = draw(st.lists(st.tuples(st.sampled_from(sorted(layers)), st.booleans()), min_size=1, max_size=4))
    loss, optimizer = draw(st.sampled_from(sorted(LOSSES))), draw(st.sampled_from(sorted(OPTIMIZERS)))
    clip = draw(st.sampled_from([None, 0.1]))
    note(f"{family}: {names}, {loss}, {optimizer}, clip {clip}")
    torch.manual_seed(draw(st.integers(0, 9)))
    return Job(
        model=Network([(layers[name](), skip) for name, skip in names], shape[axis if axis < 0 else axis - 1], axis),
        loss=lambda m, b: LOSSES[loss](m(b["x"]), b["y"]),
        optimizer=OPTIMIZERS[optimizer],
        dataset={"x": torch.randn(ROWS, *shape), "y": torch.randint(0, CLASSES, (ROWS,))},
        batch_size=4,
        steps=3,
        interval=3,
        clip_norm=clip,
        bits=24,
    )


@pytest.mark.slow
@settings(max_examples=examples(12), deadline=None, suppress_health_check=list(HealthCheck))
@given(jobs())
def test_any_composition_trains_like_plain_torch(job: Job) -> None:
    training = offchain.compile(job)
    plain = training.plain()
    training.run()
    plain.run()
    assume(max(plain.losses) < 10 * max(1, plain.losses[0]))  # where training blows up, so do differences
    np.testing.assert_allclose(training.losses, plain.losses, rtol=2e-3, atol=2e-4)


@settings(max_examples=examples(4), deadline=None, suppress_health_check=list(HealthCheck))
@given(jobs())
def test_any_composition_gives_the_same_bits_everywhere(job: Job) -> None:
    assert_same_bits(job, steps=1)
