"""cdist and pdist: gradients beside float64 autograd, also where rows are equal."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tests.support.cases import Batch, Case, assert_cases
from tests.support.outputs import outputs

g = torch.Generator().manual_seed(11)
W = torch.randn(5, 4, generator=g)
W[3] = W[1]  # a distance of 0
DATA = {"x": torch.cat([W[:2], torch.randn(3, 4, generator=g)])}
MANY = {"many": torch.randn(40, 4, generator=g)}
EXPONENTS = (0.0, 1.0, 1.5, 2.0, 3.0, float("inf"))


def distance(p: float) -> Case:
    return lambda w, b: torch.cdist(w, b["x"].to(w.dtype), p) * w.sum() + torch.cdist(w, w, p)


CASES: dict[str, Case] = {
    **{f"cdist-{p}".replace(".", "_"): distance(p) for p in EXPONENTS},
    **{f"pdist-{p}".replace(".", "_"): (lambda w, b, p=p: torch.pdist(w, p) + w.sum()) for p in EXPONENTS},
    "batches": lambda w, b: torch.cdist(w[:4].reshape(2, 2, 4), b["x"][:3].to(w.dtype)),
}


def test_gradients() -> None:
    assert_cases(CASES, W, DATA)


@pytest.mark.parametrize("mode", ["use_mm_for_euclid_dist", "use_mm_for_euclid_dist_if_necessary"])
def test_many_rows_are_subtracted_too(mode: str) -> None:
    """torch's product of more than 25 rows gives 0.0005 and more on the diagonal."""

    def function(b: Batch) -> Tensor:
        near = b["many"] + 1000
        return torch.cdist(near, near, compute_mode=mode)

    made = outputs({"out": function}, MANY)["out"]
    near = (MANY["many"] + 1000).double()
    assert abs(made - torch.cdist(near, near).numpy()).max() < 2e-6
    assert (made.diagonal() == 0).all()
