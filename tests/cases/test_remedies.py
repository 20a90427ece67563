"""What the refusal of a case names in its place: carried out, it is the same function, and trains."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from offchain.training import Training
from tests.cases.common import STEPS, Case, cross_entropy, digits
from tests.cases.layers import MixtralMoE


class AllRows(MixtralMoE):
    """Every expert computes all rows; its weight is 0 where a row did not choose it."""

    def forward(self, x: Tensor) -> Tensor:
        w, i = torch.topk(F.softmax(self.g(x), 1), self.k, dim=-1)
        w = (F.one_hot(i, 4) * (w / w.sum(-1, keepdim=True)).unsqueeze(-1)).sum(1)
        return self.h(sum(w[:, e, None] * expert(x) for e, expert in enumerate(self.x)))


def test_experts_that_compute_all_rows_are_those_that_compute_their_own() -> None:
    made: list[Any] = []
    for kind in (MixtralMoE, AllRows):
        torch.manual_seed(0)
        made.append(kind(2))
    x = digits()[0][:32]
    torch.testing.assert_close(made[0](x), made[1](x))
    training = Training(Case("the remedy", lambda: (AllRows(2), cross_entropy, digits())).job(), "torch", threads=1)
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert len(training.losses) == STEPS and training.losses == pytest.approx(plain.losses, rel=1e-4)
