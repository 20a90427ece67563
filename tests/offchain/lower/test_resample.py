"""Resizing, mirrored padding, unfolding and shuffling: gradients against float64, over all executors."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.ir.kinds import Kind
from tests.support.layers import LINE, PLANE, Case, assert_layer


class Smoothed(nn.Module):
    """Resizing with antialiasing."""

    def __init__(self, size: tuple[int, int], mode: str) -> None:
        super().__init__()
        self.size, self.mode = size, mode

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, self.size, mode=self.mode, antialias=True)


REARRANGED: Mapping[str, Case] = {
    "unfold": (lambda: nn.Unfold((3, 2), 2, 1, 1), PLANE),
    "unfold-tiles": (lambda: nn.Unfold(2, stride=2), PLANE),
    "fold": (lambda: nn.Fold((3, 4), 2), (1, 8, 6)),
    "fold-tiles": (lambda: nn.Fold((4, 4), 2, stride=2), (2, 8, 4)),
    "nearest": (lambda: nn.Upsample(scale_factor=2), (1, 2, 3, 2)),
    "nearest-size": (lambda: nn.Upsample(size=(7, 3)), PLANE),
    "nearest-1d": (lambda: nn.Upsample(scale_factor=1.5), LINE),
    "nearest-3d": (lambda: nn.Upsample(scale_factor=2), (1, 1, 2, 2, 3)),
    "nearest-exact": (lambda: nn.Upsample(size=(7, 3), mode="nearest-exact"), PLANE),
    "linear": (lambda: nn.Upsample(size=9, mode="linear"), LINE),
    "bilinear": (lambda: nn.Upsample(scale_factor=2, mode="bilinear"), (1, 2, 3, 2)),
    "bilinear-corners": (lambda: nn.Upsample(size=(3, 7), mode="bilinear", align_corners=True), PLANE),
    "bicubic": (lambda: nn.Upsample(size=(3, 7), mode="bicubic"), PLANE),
    "bilinear-antialias": (lambda: Smoothed((2, 3), "bilinear"), (1, 2, 5, 4)),
    "bicubic-antialias": (lambda: Smoothed((3, 5), "bicubic"), (1, 1, 7, 4)),
    "trilinear": (lambda: nn.Upsample(size=(3, 3, 2), mode="trilinear"), (1, 1, 2, 2, 3)),
    "pixel-shuffle": (lambda: nn.PixelShuffle(2), PLANE),
    "pixel-unshuffle": (lambda: nn.PixelUnshuffle(2), (2, 2, 4, 6)),
    "channel-shuffle": (lambda: nn.ChannelShuffle(2), PLANE),
    "pad-reflect": (lambda: nn.ReflectionPad2d((1, 2, 2, 1)), PLANE),
    "pad-reflect-1d": (lambda: nn.ReflectionPad1d(2), LINE),
    "pad-replicate": (lambda: nn.ReplicationPad2d((1, 2, 0, 1)), PLANE),
    "pad-replicate-3d": (lambda: nn.ReplicationPad3d(1), (1, 1, 2, 2, 3)),
    "pad-zero": (lambda: nn.ZeroPad2d((1, 2, 0, -1)), PLANE),
    "pad-constant": (lambda: nn.ConstantPad2d(1, 0.5), PLANE),
    "pad-circular": (lambda: nn.CircularPad2d(1), PLANE),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_rearranged(name: str) -> None:
    assert_layer(*REARRANGED[name])


def test_repeating_elements_needs_no_table() -> None:
    task = assert_layer(lambda: nn.Upsample(scale_factor=(2, 3)), (1, 2, 3, 2))
    assert not [n for n in task.graph.nodes if n.kind is Kind.SCATTER_ADD] and len(task.constants) == 0
