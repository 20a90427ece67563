"""Normalisation layers: gradients against float64, running statistics against plain torch."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import nn

from offchain.errors import BadInput, Unsupported
from offchain.lower import compile
from tests.support.gradients import gradient_job
from tests.support.layers import PLANE, Case, assert_layer, assert_trains_alike

NORMS: Mapping[str, Case] = {
    "batch": (lambda: nn.BatchNorm2d(4), PLANE),
    "batch-eval": (lambda: nn.BatchNorm2d(4).eval(), PLANE),
    "batch-untracked": (lambda: nn.BatchNorm2d(4, track_running_stats=False), PLANE),
    "batch-plain": (lambda: nn.BatchNorm2d(4, affine=False), PLANE),
    "batch-1d": (lambda: nn.BatchNorm1d(4), (5, 4)),
    "batch-3d": (lambda: nn.BatchNorm3d(2), (2, 2, 2, 2, 3)),
    "instance": (lambda: nn.InstanceNorm2d(4), PLANE),
    "instance-tracked": (lambda: nn.InstanceNorm2d(4, affine=True, track_running_stats=True), PLANE),
    "group": (lambda: nn.GroupNorm(2, 4), PLANE),
    "layer": (lambda: nn.LayerNorm((4, 5)), PLANE),
    "rms": (lambda: nn.RMSNorm(5), PLANE),
    "local-response": (lambda: nn.LocalResponseNorm(2), PLANE),
}


@pytest.mark.parametrize("name", NORMS)
def test_norm(name: str) -> None:
    assert_layer(*NORMS[name])


@pytest.mark.parametrize("name", ["batch", "batch-plain", "batch-1d", "batch-3d", "instance-tracked"])
def test_running_statistics(name: str) -> None:
    torch.manual_seed(0)
    layer, shape = NORMS[name]
    rows = torch.randn(shape) * 2 + 1
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(rows[0].numel(), rows[0].numel()), nn.Unflatten(1, shape[1:]), layer()
    )
    assert_trains_alike(model, lambda m, b: (m(b["x"]) * b["x"]).mean(), {"x": rows}, 1e-4)
    assert int(model[-1].num_batches_tracked) == (0 if name == "instance-tracked" else 3)  # torch counts no instances


def test_cumulative_average_is_refused() -> None:
    """It divides by the counter in Python, which cannot be captured."""
    with pytest.raises(Unsupported, match="depends on a tensor's value"):
        compile(gradient_job(nn.BatchNorm1d(3, momentum=None), lambda m, b: m(b["x"]).sum(), {"x": torch.ones(2, 3)}))


def test_one_value_a_channel_is_refused() -> None:
    with pytest.raises(BadInput, match="one value a channel"):
        compile(gradient_job(nn.BatchNorm1d(3), lambda m, b: m(b["x"]).sum(), {"x": torch.ones(1, 3)}))
