"""torch.nn.functional's losses: gradients against float64, all of them in one compiled step per family."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.lower import compile
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import gradient_job

g = torch.Generator().manual_seed(7)
W = torch.randn(4, 6, generator=g)
WEIGHT = torch.rand(6, generator=g) + 0.1
DATA = {
    "x": torch.randn(4, 6, generator=g),
    "p": torch.rand(4, 6, generator=g) + 0.1,
    "y": torch.tensor([5, 0, 2, 2]),
    "many": torch.randint(0, 3, (4, 2), generator=g),
    "yes": torch.rand(4, 6, generator=g) > 0.5,
}


def weight(w: Tensor) -> Tensor:
    return WEIGHT.to(w.dtype)


def sign(w: Tensor, b: Batch) -> Tensor:
    return b["yes"].to(w.dtype) * 2 - 1


CLASSES: dict[str, Case] = {
    "cross-entropy": lambda w, b: F.cross_entropy(w, b["y"]),
    "weight": lambda w, b: F.cross_entropy(w, b["y"], weight(w)),
    "smoothing": lambda w, b: F.cross_entropy(w, b["y"], label_smoothing=0.1),
    "smoothing-weight": lambda w, b: F.cross_entropy(w, b["y"], weight(w), label_smoothing=0.1),
    "ignore": lambda w, b: F.cross_entropy(w, b["y"], ignore_index=2),
    "ignore-smoothing": lambda w, b: F.cross_entropy(w, b["y"], ignore_index=0, label_smoothing=0.2),
    "sum": lambda w, b: F.cross_entropy(w, b["y"], reduction="sum"),
    "none": lambda w, b: F.cross_entropy(w, b["y"], reduction="none"),
    "soft": lambda w, b: F.cross_entropy(w, b["p"]),
    "soft-weight": lambda w, b: F.cross_entropy(w, b["p"], weight(w), label_smoothing=0.1),
    "pixels": lambda w, b: F.cross_entropy(w.reshape(4, 3, 2), b["many"]),
    "nll": lambda w, b: F.nll_loss(F.log_softmax(w, 1), b["y"], weight(w)),
    "nll-pixels": lambda w, b: F.nll_loss(
        w.reshape(2, 3, 2, 2).log_softmax(1), b["many"].reshape(2, 2, 2), ignore_index=1
    ),
    "margin": lambda w, b: F.multi_margin_loss(w, b["y"], weight=weight(w)),
    "margin-square": lambda w, b: F.multi_margin_loss(w, b["y"], p=2, margin=0.5, reduction="sum"),
}
VALUES: dict[str, Case] = {
    "mse": lambda w, b: F.mse_loss(w, b["x"]) + F.mse_loss(w, b["p"], reduction="sum"),
    "mse-weight": lambda w, b: F.mse_loss(w, b["x"], reduction="none") * b["p"],
    "l1": lambda w, b: F.l1_loss(w, b["x"]),
    "smooth-l1": lambda w, b: F.smooth_l1_loss(w, b["x"], beta=0.5),
    "huber": lambda w, b: F.huber_loss(w, b["x"], delta=0.7),
    "kl": lambda w, b: F.kl_div(w.log_softmax(1), b["p"].softmax(1), reduction="batchmean"),
    "kl-log": lambda w, b: F.kl_div(w.log_softmax(1), b["p"].log_softmax(1), reduction="sum", log_target=True),
    "poisson": lambda w, b: F.poisson_nll_loss(w, b["p"] + 2, full=True),
    "poisson-rate": lambda w, b: F.poisson_nll_loss(w.square() + 0.1, b["p"], log_input=False),
    "gaussian": lambda w, b: F.gaussian_nll_loss(w, b["x"], w.square() + 0.1),
    "gaussian-full": lambda w, b: F.gaussian_nll_loss(w, b["x"], w[:, 0].square(), full=True, eps=0.3, reduction="sum"),
}
YES_OR_NO: dict[str, Case] = {
    "bce": lambda w, b: F.binary_cross_entropy(w.sigmoid(), b["yes"].to(w.dtype), b["p"]),
    "bce-logits": lambda w, b: F.binary_cross_entropy_with_logits(
        w, b["yes"].to(w.dtype), b["p"], pos_weight=weight(w)
    ),
    "hinge": lambda w, b: F.hinge_embedding_loss(w, sign(w, b)),
    "soft-margin": lambda w, b: F.soft_margin_loss(w, sign(w, b)),
    "ranking": lambda w, b: F.margin_ranking_loss(w, b["x"], sign(w, b), 0.1),
    "multilabel": lambda w, b: F.multilabel_soft_margin_loss(w, b["yes"].to(w.dtype), weight(w)),
    "cosine": lambda w, b: F.cosine_embedding_loss(w, b["x"], sign(w, b)[:, 0], margin=0.1),
    "triplet": lambda w, b: F.triplet_margin_loss(w, b["x"], b["p"], swap=True),
    "triplet-p1": lambda w, b: F.triplet_margin_loss(w, b["x"], b["p"], p=1),
    "focal": lambda w, b: (1 - w.sigmoid()) ** 2 * F.logsigmoid(w),
}


@pytest.mark.parametrize("cases", [CLASSES, VALUES, YES_OR_NO], ids=["classes", "values", "yes-or-no"])
def test_gradients(cases: dict[str, Case]) -> None:
    assert_cases(cases, W, DATA)


def test_refused() -> None:
    def case(w: Tensor, b: Batch) -> Tensor:
        return F.multilabel_margin_loss(w, b["yes"].long())

    with pytest.raises(Unsupported, match="multilabel_margin_loss"):
        compile(gradient_job(Cases({"w": case}, W), total({"w": case}), DATA))
