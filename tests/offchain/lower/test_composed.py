"""F.grid_sample and F.ctc_loss, which are captured as what they are made of: torch's values and gradients."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.lower import compile
from offchain.lower.ctc import ctc_loss
from offchain.lower.grid_sample import grid_sample
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import assert_gradients, gradient_job

MODES = ("bilinear", "nearest", "bicubic")
PADDINGS = ("zeros", "border", "reflection")
SAMPLINGS = [of for of in product(MODES, PADDINGS, (True, False), (2, 3)) if (of[0], of[3]) != ("bicubic", 3)]
g = torch.Generator().manual_seed(2)


def places(*shape: int) -> Tensor:
    """Inside, far outside, at the corners and in the middle."""
    made = torch.randn(*shape, generator=g, dtype=torch.float64) * 1.2
    made[0, 0], made[0, 1] = torch.tensor([-1.0, 1.0, 0.0])[: shape[-1]], torch.tensor([1.0, 0.0, -1.0])[: shape[-1]]
    return made.requires_grad_()


@pytest.mark.parametrize(("mode", "padding", "corners", "rank"), SAMPLINGS)
def test_a_sampled_grid_is_torchs(mode: str, padding: str, corners: bool, rank: int) -> None:
    image = torch.randn(2, 3, *(4, 5, 3)[:rank], generator=g, dtype=torch.float64, requires_grad=True)
    grid = places(2, *(3, 4, 2)[:rank], rank)
    made, wanted = (f(image, grid, mode, padding, corners) for f in (grid_sample, F.grid_sample))
    weights = torch.randn(wanted.shape, generator=g, dtype=torch.float64)
    torch.testing.assert_close(made, wanted)
    torch.testing.assert_close(*_both(made, wanted, weights, image))
    if mode != "nearest":
        torch.testing.assert_close(*_both(made, wanted, weights, grid))


def _both(made: Tensor, wanted: Tensor, weights: Tensor, of: Tensor) -> tuple[Any, Any]:
    return tuple(torch.autograd.grad((one * weights).sum(), of, retain_graph=True) for one in (made, wanted))  # type: ignore[return-value]


IMAGES = torch.randn(2, 24, generator=g)
GRIDS = {"at": torch.randn(2, 3, 3, 2, generator=g)}
SAMPLED: dict[str, Case] = {
    "image": lambda w, b: F.grid_sample(w.reshape(2, 2, 3, 4), b["at"].to(w.dtype), align_corners=False),
    "grid": lambda w, b: F.grid_sample(
        b["at"].reshape(2, 2, 3, 3).to(w.dtype), w.reshape(2, 3, 4, 2), "bilinear", "border", False
    ),
    "nearest": lambda w, b: F.grid_sample(w.reshape(2, 2, 3, 4), b["at"].to(w.dtype), "nearest", "reflection", True),
    "cubic": lambda w, b: F.grid_sample(w.reshape(2, 2, 3, 4), b["at"].to(w.dtype), "bicubic", "reflection", False),
    "cubic grid": lambda w, b: F.grid_sample(
        b["at"].reshape(2, 2, 3, 3).to(w.dtype), w.reshape(2, 3, 4, 2), "bicubic", "zeros", True
    ),
    "volume": lambda w, b: F.grid_sample(
        w.reshape(2, 1, 2, 3, 4), b["at"].reshape(2, 1, 2, 3, 3).to(w.dtype), align_corners=False
    ),
    "affine": lambda w, b: F.grid_sample(
        w.reshape(2, 1, 4, 6),
        F.affine_grid(b["at"].reshape(2, 9, 2)[:, :3].mT.to(w.dtype), [2, 1, 3, 3], False),
        align_corners=False,
    ),
}


def test_sampled_grids_compile() -> None:
    assert_cases(SAMPLED, IMAGES, GRIDS)


@pytest.mark.parametrize(
    ("mode", "padding", "shape", "message"),
    [
        ("cubic", "zeros", (2, 2, 3, 4), "grid_sample by 'cubic'; torch has 'bilinear', 'nearest', 'bicubic'"),
        ("nearest", "edge", (2, 2, 3, 4), "grid_sample by 'edge'; torch has 'zeros', 'border', 'reflection'"),
        ("bicubic", "zeros", (2, 1, 2, 3, 4), "'bicubic' of an image with a depth, which torch refuses too"),
    ],
)
def test_what_torch_refuses_is_refused(mode: str, padding: str, shape: tuple[int, ...], message: str) -> None:
    def case(w: Tensor, b: Batch) -> Tensor:
        at = b["at"] if len(shape) == 4 else b["at"].reshape(2, 1, 2, 3, 3)
        return F.grid_sample(w.reshape(shape), at, mode, padding, align_corners=False)

    with pytest.raises((ValueError, RuntimeError)):
        case(IMAGES, GRIDS)
    with pytest.raises(Unsupported, match=message):
        compile(gradient_job(Cases({"w": case}, IMAGES), total({"w": case}), GRIDS))


TARGETS = torch.tensor([[1, 2, 2, 3], [4, 4, 5, 0], [1, 0, 0, 0], [5, 5, 5, 5]])
LETTERS = torch.tensor([4, 3, 0, 4])


@pytest.mark.parametrize(("reduction", "zero"), list(product(("none", "mean", "sum"), (True, False))))
def test_ctc_is_torchs(reduction: str, zero: bool) -> None:
    """Sequences of several lengths; with zero_infinity one that is too short for its letters."""
    scores = torch.randn(9, 4, 6, generator=g, dtype=torch.float64, requires_grad=True)
    lasting = torch.tensor([9, 7, 5, 5 if zero else 9])
    arguments = (TARGETS, lasting, LETTERS, 0, reduction, zero)
    made, wanted = (f(scores.log_softmax(-1), *arguments) for f in (ctc_loss, F.ctc_loss))
    torch.testing.assert_close(made, wanted)
    gradients = (torch.autograd.grad(one.sum(), scores)[0] for one in (made, wanted))
    torch.testing.assert_close(*gradients)


def test_an_impossible_sequence_costs_infinitely_much() -> None:
    short = torch.randn(3, 6, generator=g).log_softmax(-1)
    assert ctc_loss(short, torch.tensor([5, 5, 5]), [3], [3]) == float("inf")


class Letters(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(5, 6)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x).permute(1, 0, 2).log_softmax(-1)


def test_ctc_compiles() -> None:
    data = {"x": torch.randn(4, 7, 5, generator=g), "y": TARGETS, "n": torch.tensor([5, 6, 4, 7]), "m": LETTERS}

    def loss(model: Any, b: Batch) -> Tensor:
        return F.ctc_loss(model(b["x"]), b["y"], b["n"], b["m"])

    assert_gradients(Letters(), loss, data)


def test_ctc_with_targets_in_one_row_is_refused_and_a_matrix_serves() -> None:
    row: Any = lambda m, b: F.ctc_loss(m(b["x"]), b["y"].flatten(), (8,) * 4, (4,) * 4)  # noqa: E731
    data = {"x": torch.randn(4, 8, 5, generator=g), "y": TARGETS}
    with pytest.raises(Unsupported, match="give them as a matrix"):
        compile(gradient_job(Letters(), row, data))
