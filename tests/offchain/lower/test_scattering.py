"""Scatters and their reductions along an axis: values of torch, gradients beside float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from offchain.errors import Unsupported
from offchain.lower import compile, scattering
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import gradient_job
from tests.support.outputs import outputs

g = torch.Generator().manual_seed(7)
W = torch.randn(4, 6, generator=g)
DATA = {
    "x": torch.randn(4, 6, generator=g),
    "many": torch.randint(0, 4, (4, 6), generator=g),
    "few": torch.randint(0, 6, (4, 3), generator=g),
    "rows": torch.randint(0, 4, (4, 6), generator=g),
}
REDUCTIONS = [(reduce, include) for reduce in ("sum", "mean", "amax", "amin") for include in (True, False)]


def reduction(reduce: str, include: bool, dim: int, index: str) -> Case:
    def case(w: Tensor, b: Batch) -> Tensor:
        return w.scatter_reduce(dim, b[index], 2 * w * b["x"].to(w.dtype), reduce, include_self=include)

    return case


GRADIENTS: dict[str, Case] = {
    f"{reduce}-{include}-{dim}": reduction(reduce, include, dim, index)
    for reduce, include in REDUCTIONS
    for dim, index in ((0, "rows"), (1, "many"))
}


def test_gradients_of_reductions() -> None:
    assert_cases(GRADIENTS, W, DATA)


def test_values_with_fewer_indices_than_places() -> None:
    few = torch.tensor([[0, 3, 0], [2, 2, 2]])
    cases = {
        "scatter": lambda b: b["x"].scatter(0, few, -b["x"]),
        "scatter_last": lambda b: b["x"].scatter(1, b["few"], -b["x"]),
        "number": lambda b: b["x"].scatter(1, few, 7.0),
        "amax": lambda b: b["x"].scatter_reduce(0, few, 5 * b["x"], "amax"),
        "amin": lambda b: b["x"].scatter_reduce(1, few, b["x"], "amin", include_self=False),
        "mean": lambda b: b["x"].scatter_reduce(0, few[:, :1], b["x"], "mean"),
        "whole": lambda b: b["many"].scatter_reduce(1, b["few"], -b["many"], "amin"),
        "scalar": lambda b: b["x"][0, 0].scatter_reduce(0, b["few"][0, 0] * 0, b["x"][1, 1], "amax"),
    }
    made = outputs(cases, DATA)
    for name, case in cases.items():
        np.testing.assert_allclose(made[name], case(DATA).numpy(), rtol=1e-6, err_msg=name)


def test_what_a_sort_returned_scatters_exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without comparing places: numbers that differ by 2^60 keep all their bits."""
    monkeypatch.setattr(scattering, "MOST", 0)
    wide = {"x": torch.tensor([[3e20, 1.5e-20, -7e-30, 2.0], [1e-9, 3e9, -1.0, 0.1]])}
    case = {"back": lambda b: torch.zeros(2, 4).scatter(1, b["x"].argsort(1), b["x"].sort(1)[0])}
    assert (outputs(case, wide)["back"] == wide["x"].numpy()).all()


def test_an_order_along_another_axis_may_name_a_place_twice() -> None:
    square = {"x": torch.randn(4, 4, generator=g)}
    cases = {
        "sorted": lambda b: torch.zeros(4, 4).scatter(1, b["x"].sort(0)[1], b["x"]),
        "top": lambda b: torch.zeros(4, 4).scatter(0, b["x"].topk(2, 1)[1], b["x"]),
    }
    made = outputs(cases, square)
    for name, case in cases.items():
        assert (made[name] == case(square).numpy()).all()


def test_what_would_compare_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    case = GRADIENTS["amax-True-1"]
    monkeypatch.setattr(scattering, "MOST", 4 * 6 * 6 - 1)
    with pytest.raises(Unsupported, match="compares 6 indices with each of 24 places; at most 143 comparisons: split"):
        compile(gradient_job(Cases({"w": case}, W), total({"w": case}), DATA))


def test_a_product_of_integers_is_one() -> None:
    def case(b: Batch) -> Tensor:
        rows = b["rows"]
        return (rows.scatter_reduce(1, b["many"], rows, "prod", include_self=False) % 1000).float()

    assert (outputs({"out": case}, DATA)["out"] == case(DATA).numpy()).all()
    large = {"rows": torch.tensor([[2**24 + 1, 3]]), "many": torch.tensor([[0, 0]])}
    with pytest.raises(Unsupported, match="64-bit integers that may reach 281475010265089 do not fit int32"):
        outputs({"out": case}, large)


def test_a_mean_of_integers_is_refused() -> None:
    """The remedy that the refusal names, carried out: floats."""

    def case(dtype: torch.dtype) -> dict[str, Case]:
        rows = DATA["rows"].to(dtype)
        return {"out": lambda b: rows.scatter_reduce(1, b["many"], rows, "mean").float()}

    with pytest.raises(Unsupported, match="of integers by 'mean'; use floats, or 'sum', 'amax' or 'amin'"):
        outputs(case(torch.int64), DATA)
    wanted = case(torch.float32)["out"](DATA)
    np.testing.assert_allclose(outputs(case(torch.float32), DATA)["out"], wanted.numpy(), rtol=1e-6)


def test_integers_that_a_step_makes_itself_are_counted() -> None:
    """How often each index occurs, as people count by ones, and as torch's Multinomial counts its draws."""
    data = {"at": torch.tensor([[1, 4, 1, 0], [2, 2, 2, 4]])}
    counted = {
        "lines": lambda b: torch.zeros(2, 5, dtype=torch.int64).scatter_add_(1, b["at"], torch.ones_like(b["at"])),
        "threes": lambda b: torch.zeros(5, dtype=torch.int64).scatter_add_(0, b["at"][0], torch.full((4,), 3)),
        "added": lambda b: torch.ones(5, dtype=torch.int64).index_add(0, b["at"][1], -torch.ones_like(b["at"][1])),
        "drawn": lambda b: torch.distributions.Multinomial(7, torch.ones(2, 5)).sample().sum(1),
    }
    made = outputs(counted, data)
    for name in ("lines", "threes", "added"):
        np.testing.assert_array_equal(made[name], counted[name](data).numpy(), err_msg=name)
    assert made["drawn"].tolist() == [7.0, 7.0]
