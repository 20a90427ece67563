"""Sorts and what is made of them: values and places of torch's stable sort, gradients beside float64."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from offchain.errors import Unsupported
from offchain.lower import compile, sorting
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import gradient_job, gradients64, run
from tests.support.outputs import Kept, outputs

g = torch.Generator().manual_seed(3)
DISTINCT = torch.randn(3, 11, generator=g)
DATA = {"t": torch.randint(-2, 3, (4, 21), generator=g).float(), "i": torch.randint(-9, 9, (4, 6), generator=g)}
DATA["t"][0, 3:9] = torch.tensor([90, -0.0, 91, 0.0, 92, 90])


def special(b: Batch) -> Tensor:
    """A dataset must be finite; NaN and infinities are made of it."""
    x = b["t"]
    for number, value in ((90, float("nan")), (91, float("inf")), (92, -float("inf"))):
        x = torch.where(x == number, value, x)
    return x


GRADIENTS: dict[str, Case] = {
    "sort": lambda w, b: w.sort(0, descending=True)[0] * w,
    "argsort": lambda w, b: w * w.argsort(1),
    "topk": lambda w, b: w.topk(2, 1)[0],
    "topk-most": lambda w, b: w.topk(9, 1, largest=False)[0],
    "median": lambda w, b: w.median(1)[0] * w.median(),
    "nanmedian": lambda w, b: w.nanmedian(0, keepdim=True)[0],
    "kthvalue": lambda w, b: w.kthvalue(4, 1)[0],
    "quantile": lambda w, b: w.quantile(0.3, 1),
    "quantiles": lambda w, b: torch.quantile(w, torch.tensor([0.1, 0.75], dtype=w.dtype), dim=0),
    "routing": lambda w, b: torch.zeros_like(w).scatter(1, w.topk(2, 1)[1], w.topk(2, 1)[0].softmax(1)),
}


def test_gradients() -> None:
    assert_cases(GRADIENTS, DISTINCT, {"x": torch.zeros(1)})


TIED = torch.tensor([[1.0, 2, 2, 1, 2, 0, 0, 2], [0, 0, 0, 0, 0, 0, 0, 0], [3, 1, 3, 1, 1, 1, 3, 0]])
TIES: dict[str, Case] = {
    "sort": lambda w, b: w.sort(stable=True, dim=1)[0],
    "median": lambda w, b: w.median(1)[0],
    "mode": lambda w, b: w.mode(1)[0],
    "amax": lambda w, b: w.amax(1),
    "max": lambda w, b: w.max(1)[0] * w.min(),
    "cummax": lambda w, b: w.cummax(1)[0],
    "pooled": lambda w, b: F.max_pool1d(w, 3),
    "quantile": lambda w, b: w.quantile(0.4, 1),
}
OPEN: dict[str, Case] = {
    "topk": lambda w, b: w.topk(3, 1)[0],
    "topk, least": lambda w, b: w.topk(5, 1, largest=False)[0],
    "kthvalue": lambda w, b: w.kthvalue(3, 1)[0],
}


def test_ties_have_torchs_gradient() -> None:
    assert_cases(TIES, TIED, {"x": torch.zeros(1)})


@pytest.mark.parametrize("name", OPEN)
def test_where_torch_leaves_open_which_of_equal_elements_is_named(name: str) -> None:
    """The gradients of a group of equal elements are torch's, in some order."""
    model, loss, data = Cases(OPEN, TIED), total({name: OPEN[name]}), {"x": torch.zeros(1)}
    wanted = gradients64(model, loss, data)[f"w.{name}"].reshape(TIED.shape)
    made = run(compile(gradient_job(model, loss, data)))[f"momentum.w.{name}"].reshape(TIED.shape)
    for values, ours, torchs in zip(TIED.numpy(), made, wanted, strict=True):
        for value in np.unique(values):
            group = values == value
            np.testing.assert_allclose(np.sort(ours[group]), np.sort(torchs[group]), rtol=1e-5, atol=1e-6)


def test_values_and_places_with_ties_nans_and_infinities() -> None:
    functions: dict[str, Callable[[Batch], Tensor]] = {
        "values": lambda b: special(b).sort(1)[0],
        "places": lambda b: torch.sort(special(b), dim=1, stable=True)[1],
        "down": lambda b: torch.sort(special(b), dim=1, descending=True, stable=True)[1],
        "top": lambda b: special(b).topk(3, 1)[0],
        "median": lambda b: special(b).median(1)[0],
        "nanmedian": lambda b: special(b).nanmedian(1)[0],
        "whole": lambda b: b["i"].sort(0)[0] + b["i"].kthvalue(3, 1, keepdim=True)[0],
        "whole_top": lambda b: b["i"].topk(2, 1)[0],
    }
    made = outputs(functions, DATA)
    for name, function in functions.items():
        np.testing.assert_array_equal(made[name], function(DATA).numpy(), err_msg=name)


def test_a_sort_keeps_the_bits_of_what_it_sorts() -> None:
    data = {"x": torch.tensor([[0.0, -0.0, -0.0, 0.0, -1e-45]])}
    assert np.signbit(outputs({"out": lambda b: b["x"].sort(1)[0]}, data)["out"]).tolist() == [[1, 0, 1, 1, 0]]


@pytest.mark.parametrize("length", [1, 2, 3, 64, 100])
def test_any_length(length: int) -> None:
    x = torch.randn(2, length, generator=torch.Generator().manual_seed(length))
    model = Kept({"out": lambda b: b["x"].sort(1)[0]}, {"x": x})
    state = run(compile(gradient_job(model, lambda m, b: m(b), {"x": x})))
    assert (state["out"] == x.sort(1)[0].numpy()).all()


def test_an_axis_may_be_too_long_to_sort_but_not_for_its_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    """The refusal's remedies, carried out: a sort of parts, and topk."""
    monkeypatch.setattr(sorting, "LONGEST", 16)
    data = {"x": torch.randn(2, 24, generator=g)}

    def job(function: Callable[[Batch], Tensor]) -> object:
        return compile(gradient_job(Kept({"out": function}, data), lambda m, b: m(b), data))

    with pytest.raises(Unsupported, match=r"sorts 24 elements along an axis; at most 16: sort parts .* or take topk"):
        job(lambda b: b["x"].sort(1)[0])
    monkeypatch.setattr(sorting, "MOST_ROUNDS", 2)
    with pytest.raises(Unsupported, match="take topk with k up to 2"):
        job(lambda b: b["x"].topk(3, 1)[0])
    parts = {"parts": lambda b: b["x"].reshape(2, 2, 12).sort(2)[0], "top": lambda b: b["x"].topk(2, 1)[0]}
    made = outputs(parts, data)
    for name, function in parts.items():
        assert (made[name] == function(data).numpy()).all()
