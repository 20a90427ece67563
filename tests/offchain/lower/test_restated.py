"""Functions of torch that are captured as what they are made of: torch's values and gradients."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import hessian, jacfwd, jacrev, jvp, vmap

from offchain.errors import Unsupported
from offchain.lower import compile
from offchain.lower.restated import RESTATED
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import gradient_job

g = torch.Generator().manual_seed(8)
W = torch.randn(4, 6, generator=g)
DATA = {"at": torch.tensor([2, 0, 2, 1])}


def curve(y: Tensor) -> Tensor:
    return torch.tanh(y * y.flip(0) - 0.3).square().sum() + y.sin().pow(3).sum()


def reduced(reduce: str, include_self: bool = True) -> Case:
    return lambda w, b: w[:3].index_reduce(0, b["at"], w.cos(), reduce, include_self=include_self)


CASES: dict[str, Case] = {
    "index_reduce, mean": reduced("mean"),
    "index_reduce, amax": reduced("amax"),
    "index_reduce, amin": reduced("amin", include_self=False),
    "index_reduce, prod": reduced("prod"),
    "index_reduce, prod of others": reduced("prod", include_self=False),
    "scatter_reduce, prod": lambda w, b: w[:3].scatter_reduce(0, b["at"][:, None].expand(4, 6), w.cos(), "prod"),
    "index_reduce, columns": lambda w, b: torch.index_reduce(w[:, :3], 1, b["at"], w[:, 2:], "amax"),
    "index_reduce_": lambda w, b: (w[:3] * 2).index_reduce_(0, b["at"], w, "mean"),
    "mode": lambda w, b: (w + (3 * w.detach()).round() / 3 - w.detach()).mode(-1).values,
    "mode of columns": lambda w, b: torch.mode(w.round() + w - w.detach(), 0, keepdim=True)[0],
    "cov": lambda w, b: torch.cov(w, correction=0),
    "cov of a line": lambda w, b: w[0].cov(),
    "corrcoef": lambda w, b: torch.corrcoef(w[:2]),
    "block_diag": lambda w, b: torch.block_diag(w, w[0], w[:2, :2]),
    "polygamma": lambda w, b: torch.polygamma(1, w.exp()) + torch.polygamma(3, w.square() + 0.5),
    "hessian of lgamma": lambda w, b: hessian(lambda y: (y.exp().lgamma() * y.digamma()).sum())(w[0].square() + 1),
    "hessian": lambda w, b: hessian(curve)(w[0]),
    "jacfwd": lambda w, b: jacfwd(lambda y: (y * y.flip(0)).exp())(w[0]),
    "jacrev": lambda w, b: jacrev(lambda y: (y * y.flip(0)).exp())(w[0]),
    "jvp": lambda w, b: jvp(lambda y: y.sigmoid() / (2 + y.sin()), (w,), (w.cos(),))[1],
    "vmap of hessian": lambda w, b: vmap(hessian(curve))(w[:2]),
}


@pytest.mark.slow
def test_gradients() -> None:
    assert_cases(CASES, W, DATA)


def test_the_mode_is_torchs_with_its_place() -> None:
    x = torch.randint(0, 4, (50, 9), generator=g).float()
    for line in x:
        for made, wanted in zip(RESTATED[torch.mode](line), torch.mode(line), strict=True):
            assert made == wanted


REFUSED: list[tuple[Case, str]] = [
    (
        lambda w, b: torch.ones(9, 6).scatter_reduce(0, b["at"][:, None], w, "prod"),
        "products of 4 elements at 9 places; at most",
    ),
    (lambda w, b: torch.mode(w[0].expand(3, 6).reshape(1, -1).expand(200, 18).reshape(-1))[0], "the mode of 3600"),
    (lambda w, b: torch.cov(w, aweights=torch.ones(6)), "cov with weights, which it checks"),
    (lambda w, b: torch.polygamma(4, w.exp()), r"the derivative number 5 of digamma; .*torch.polygamma\(4, x\)"),
]


@pytest.mark.parametrize(("case", "said"), REFUSED)
def test_what_is_refused(case: Case, said: str) -> None:
    with pytest.raises(Unsupported, match=said):
        compile(gradient_job(Cases({"x": case}, W), total({"x": case}), DATA))


def test_their_remedies() -> None:
    def products(w: Tensor, b: Batch) -> Tensor:
        logarithms = torch.zeros(9, dtype=w.dtype).index_add(0, b["at"], w[:, 0].abs().log())
        return logarithms.exp()

    def weighted(w: Tensor, b: Batch) -> Tensor:
        x, weights = w, torch.arange(1.0, 7.0).to(w.dtype)
        m = (x * weights).sum(1, keepdim=True) / weights.sum()
        return (x - m) * weights @ (x - m).mT / weights.sum()

    data: Any = {"at": DATA["at"]}
    wanted = torch.ones(9).scatter_reduce(0, DATA["at"], W[:, 0].abs(), "prod")
    torch.testing.assert_close(products(W, data), wanted)
    torch.testing.assert_close(weighted(W, data), torch.cov(W, correction=0, aweights=torch.arange(1.0, 7.0)))
    assert_cases({"products": products, "weighted": weighted}, W, DATA)
