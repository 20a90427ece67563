"""Running extrema, places among edges, fake quantisation, and questions that torch answers while a step is captured."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from offchain.errors import Unsupported
from offchain.lower import compile
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import gradient_job
from tests.support.outputs import Function, outputs

g = torch.Generator().manual_seed(1)
W = torch.randn(4, 6, generator=g)
DATA = {
    "x": torch.randn(4, 6, generator=g),
    "t": torch.randint(-2, 3, (4, 21), generator=g).float(),
    "i": torch.randint(-9, 9, (4, 6), generator=g),
}


def by_channel(x: Tensor) -> Tensor:
    zeros = torch.arange(6, dtype=torch.int32) - 3
    return torch.fake_quantize_per_channel_affine(x.float(), torch.linspace(0.1, 0.5, 6), zeros, 1, -8, 7)


GRADIENTS: dict[str, Case] = {
    "cummax": lambda w, b: w.cummax(1)[0],
    "cummin": lambda w, b: w.cummin(0)[0] * w,
    "logcumsumexp": lambda w, b: (30 * w).logcumsumexp(1) + w.logcumsumexp(0),
    "quantised": lambda w, b: torch.fake_quantize_per_tensor_affine(w.float(), 0.1, 1, -8, 7).to(w.dtype),
    "by_channel": lambda w, b: by_channel(w).to(w.dtype),
    "same_size": lambda w, b: w if torch.ops.aten.is_same_size(w, b["x"]) else 2 * w,
}
VALUES: dict[str, Function] = {
    "max_at": lambda b: b["t"].cummax(1)[1],
    "min_of_whole": lambda b: b["i"].cummin(0)[0],
    "min_at": lambda b: torch.where(b["t"] == 2, float("nan"), b["t"]).cummin(1)[1],
    "edges": lambda b: torch.bucketize(b["t"], torch.tensor([-1.0, 0.0, 1.0])),
    "edges_right": lambda b: torch.bucketize(b["i"], torch.tensor([-1, 0, 1]), right=True),
    "searched": lambda b: torch.searchsorted(b["t"].sort(1)[0], b["x"]),
    "searched_right": lambda b: torch.searchsorted(b["t"][0].sort()[0], b["t"], side="right"),
    "inside": lambda b: torch.isin(b["i"], torch.arange(20) - 3).float(),
    "quantised": lambda b: torch.fake_quantize_per_tensor_affine(b["x"], 0.1, 1, -8, 7),
    "quantised_by_tensors": lambda b: torch.fake_quantize_per_tensor_affine(
        b["x"], torch.tensor(0.07), torch.tensor(3, dtype=torch.int32), -8, 7
    ),
    "by_channel": lambda b: by_channel(b["x"]),
}


def test_gradients() -> None:
    assert_cases(GRADIENTS, W, DATA)


def test_values() -> None:
    made = outputs(VALUES, DATA)
    assert {name: (made[name] == function(DATA).numpy()).all() for name, function in VALUES.items()} == dict.fromkeys(
        VALUES, True
    )


def learnt(x: Tensor, s: Tensor) -> Tensor:
    """The remedy that the refusal of torch's learnt scale names."""
    return (((x / s).round() - x / s).detach() + x / s).clamp(-8, 7) * s


def test_a_learnt_scale_is_refused_and_its_remedy_is_the_same_function() -> None:
    torchs = torch.ops.aten._fake_quantize_learnable_per_tensor_affine
    case: Case = lambda w, b: torchs(w, w.sum().abs().reshape(1), torch.zeros(1), -8, 7)  # noqa: E731
    with pytest.raises(Unsupported, match="clamped, times s"):
        compile(gradient_job(Cases({"w": case}, W), total({"w": case}), DATA))
    found = []
    for quantised in (learnt, lambda x, s: torchs(x, s, torch.zeros(1), -8, 7)):
        x, s = W.clone().requires_grad_(), torch.tensor([0.13], requires_grad=True)
        found.append((quantised(x, s), *torch.autograd.grad(quantised(x, s).square().sum(), (x, s))))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_sorter_is_refused_and_sorted_edges_serve() -> None:
    edges, order = torch.tensor([2.0, -1.0, 0.0]), torch.tensor([1, 2, 0])

    def searched(b: Batch) -> Tensor:
        return torch.searchsorted(edges, b["x"], sorter=order)

    case: Case = lambda w, b: w * searched(b)  # noqa: E731
    with pytest.raises(Unsupported, match=r"sort the edges first, as by edges.gather\(-1, sorter\)"):
        compile(gradient_job(Cases({"w": case}, W), total({"w": case}), DATA))
    made = outputs({"out": lambda b: torch.searchsorted(edges.gather(-1, order), b["x"])}, DATA)
    assert (made["out"] == searched(DATA).numpy()).all()
