"""Systems of linear equations: gradients beside float64, and the stated error."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, linalg

from offchain.errors import Unsupported
from offchain.lower import compile
from tests.support.cases import Batch, Case, assert_cases
from tests.support.gradients import gradient_job, run
from tests.support.outputs import Function, Kept

g = torch.Generator().manual_seed(6)
W = torch.randn(4, 6, generator=g)


def skew(w: Tensor) -> Tensor:
    return w[:, :4] - w[:, :4].T


def positive(w: Tensor) -> Tensor:
    return w @ w.T + 0.1 * torch.eye(4, dtype=w.dtype)


CASES: dict[str, Case] = {
    "cholesky": lambda w, b: linalg.cholesky(positive(w)),
    "cholesky, upper": lambda w, b: linalg.cholesky(positive(w), upper=True),
    "cholesky, batch": lambda w, b: linalg.cholesky(w[:, :1, None] ** 2 + positive(w)),
    "cholesky, old": lambda w, b: torch.cholesky(positive(w)),
    "cholesky, of one triangle": lambda w, b: linalg.cholesky(positive(w).tril() + 5 * w[:, :4].triu(1)),
    "triangular": lambda w, b: linalg.solve_triangular(w[:, :4], w, upper=True),
    "triangular, lower": lambda w, b: linalg.solve_triangular(w[:, 2:], w, upper=False),
    "triangular, unit": lambda w, b: linalg.solve_triangular(w[:, :4], w, upper=False, unitriangular=True),
    "triangular, right": lambda w, b: linalg.solve_triangular(w[:, :4], w.T, upper=True, left=False),
    "triangular, batch": lambda w, b: linalg.solve_triangular(w[:, :4], w.reshape(2, 4, 3), upper=False),
    "matrix": lambda w, b: linalg.solve(w[:, :4], w),
    "vector": lambda w, b: linalg.solve(w[:, :4], w[:, 5]),
    "right": lambda w, b: linalg.solve(w[:, :4], w.T, left=False),
    "batch": lambda w, b: linalg.solve(w.reshape(2, 3, 4)[:, :, :3], w.reshape(2, 3, 4)),
    "inverse": lambda w, b: linalg.inv(w[:, 2:]),
    "determinant": lambda w, b: torch.det(w[:, :4]),
    "determinants": lambda w, b: w.reshape(2, 3, 4)[:, :, :3].det(),
    "determinant of one": lambda w, b: linalg.det(w[:1, :1]),
    "its gradient": lambda w, b: torch.autograd.grad(linalg.det(w[:, :4]), w, create_graph=True)[0],
    "logarithm": lambda w, b: linalg.slogdet(w[:, :4])[1] * torch.slogdet(w[:, 2:])[0],
    "positive logarithm": lambda w, b: torch.logdet(positive(w)),
    "cayley": lambda w, b: linalg.solve(torch.eye(4, dtype=w.dtype) + skew(w), torch.eye(4, dtype=w.dtype) - skew(w)),
}


@pytest.mark.slow
def test_gradients() -> None:
    assert_cases(CASES, W, {"x": torch.zeros(1)})


def values(function: Function, data: Batch) -> Tensor:
    job = gradient_job(Kept({"out": function}, data), lambda model, batch: model(batch), data)
    return torch.from_numpy(run(compile(job))["out"]).double()


@pytest.mark.parametrize("n", [2, 16, 64])
def test_the_error_of_a_solution(n: int) -> None:
    """At most 3 condition numbers times 2^-24 of the solution's norm, as docs/library.md states."""
    u, _, v = linalg.svd(torch.randn(8, n, n, generator=g, dtype=torch.float64))
    sizes = torch.logspace(0, -4, n, dtype=torch.float64).expand(8, n)
    a = torch.cat([torch.randn(8, n, n, generator=g), (u * sizes.unsqueeze(1) @ v).float()])
    data = {"a": a, "b": torch.randn(16, n, 2, generator=g)}
    exact = linalg.solve(data["a"].double(), data["b"].double())
    off = (values(lambda b: linalg.solve(b["a"], b["b"]), data) - exact).flatten(1).norm(dim=1)
    assert (off <= 3 * 2**-24 * linalg.cond(a.double()) * exact.flatten(1).norm(dim=1)).all()


@pytest.mark.parametrize("n", [1, 2, 16, 64])
def test_the_error_of_a_determinant(n: int) -> None:
    """At most n condition numbers times 2^-24 of it, as docs/library.md states."""
    a = torch.randn(16, n, n, generator=g) / n**0.5
    exact = linalg.slogdet(a.double())
    allowed = n * 2**-24 * linalg.cond(a.double())
    off = values(lambda b: linalg.det(b["a"]), {"a": a}) / (exact.sign * exact.logabsdet.exp()) - 1
    assert (off.abs() <= allowed).all()
    made = values(lambda b: torch.stack(list(linalg.slogdet(b["a"]))), {"a": a})
    assert (made[0] == exact.sign).all()
    assert ((made[1] - exact.logabsdet).abs() <= allowed + n * 2**-24 * (1 + exact.logabsdet.abs())).all()


def test_a_singular_matrix_has_the_determinant_zero() -> None:
    a = torch.tensor([[[1.0, 2.0], [2.0, 4.0]], [[0.0, 1.0], [1.0, 0.0]]])
    assert values(lambda b: linalg.det(b["a"]), {"a": a}).tolist() == [0.0, -1.0]
    made = values(lambda b: torch.stack(list(linalg.slogdet(b["a"]))), {"a": a})
    assert made.tolist() == [[0.0, -1.0], [-torch.inf, 0.0]]


def test_a_larger_determinant_is_refused_and_blocks_serve() -> None:
    a = torch.eye(66) + 0.05 * torch.randn(66, 66, generator=g)

    def by_blocks(a: Tensor) -> Tensor:
        a, b, c, d = a[:33, :33], a[:33, 33:], a[33:, :33], a[33:, 33:]
        return linalg.det(a) * linalg.det(d - c @ linalg.solve(a, b))

    with pytest.raises(Unsupported, match="the determinant of 66 rows; at most 64: take it of blocks"):
        values(lambda b: linalg.det(b["a"]), {"a": a})
    made: Any = values(lambda b: by_blocks(b["a"]), {"a": a})
    assert abs(made / linalg.det(a.double()) - 1) < 1e-4


@pytest.mark.parametrize("n", [2, 16, 64])
def test_the_error_of_a_factor(n: int) -> None:
    """Its square differs from the matrix by at most (n + 2) times 2^-24 of |L|·|L|ᵀ, as docs/library.md states."""
    w = torch.randn(8, n, n, generator=g)
    a = w @ w.mT + 1e-3 * torch.eye(n)
    factor = values(lambda b: linalg.cholesky(b["a"]), {"a": a})
    assert (factor.triu(1) == 0).all()
    off = (factor @ factor.mT - a.double()).abs().tril()
    assert (off <= (n + 2) * 2**-24 * (factor.abs() @ factor.abs().mT)).all()


def test_a_matrix_that_has_no_factor() -> None:
    assert values(lambda b: linalg.cholesky(b["a"]), {"a": torch.tensor([[[1.0, 0.0], [0.0, 4.0]]])}).tolist() == [
        [[1.0, 0.0], [0.0, 2.0]]
    ]
    made = values(lambda b: linalg.cholesky_ex(b["a"])[0], {"a": torch.tensor([[[1.0, 2.0], [2.0, 1.0]]])})
    assert made[0, 1, 1].isnan()  # torch raises an error
    with pytest.raises(Unsupported, match="Cholesky's factor of 65 rows; at most 64"):
        values(lambda b: linalg.cholesky(b["a"]), {"a": torch.eye(65)})


def test_a_first_pivot_of_zero_is_no_harm() -> None:
    a = torch.tensor([[[0.0, 2.0, 0.0], [0.0, 0.0, 4.0], [8.0, 0.0, 0.0]]])
    assert values(lambda b: linalg.inv(b["a"]), {"a": a}).tolist() == linalg.inv(a).tolist()


def newton_schulz(a: Tensor) -> Tensor:
    x = a.T / a.square().sum()
    for _ in range(30):
        x = 2 * x - x @ a @ x
    return x


def test_a_larger_system_is_refused_and_newton_schulz_serves() -> None:
    a = torch.eye(65) + 0.05 * torch.randn(65, 65, generator=g)
    with pytest.raises(Unsupported, match="a system of 65 linear equations; at most 64: use Newton-Schulz"):
        values(lambda b: linalg.inv(b["a"]), {"a": a})
    made: Any = values(lambda b: newton_schulz(b["a"]), {"a": a})
    assert (made - linalg.inv(a.double())).abs().max() < 1e-4
