"""The contracts judge steps of operations that lower to many nodes: true claims stand, false ones fall."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, fft, linalg
from torch.nn import functional as F

from offchain.adjudicate import adjudicate, court
from offchain.chain.client import Chain
from offchain.chain.ganache import Ganache
from offchain.lower import compile
from tests.support.cases import Batch, Case, Cases, total
from tests.support.gradients import gradient_job

g = torch.Generator().manual_seed(8)
W = torch.randn(2, 6, generator=g)
DATA = {
    "x": torch.randn(2, 6, generator=g),
    "at": torch.randn(2, 2, 2, 2, generator=g),
    "y": torch.tensor([[1, 2], [2, 0]]),
}


def spoken(w: Tensor, b: Batch) -> Tensor:
    scores = w.reshape(2, 2, 3).permute(1, 0, 2).repeat(2, 1, 1)[:3].log_softmax(-1)
    return F.ctc_loss(scores, b["y"], (3, 2), (2, 1))


ORDERS: dict[str, Case] = {
    "sort": lambda w, b: w.sort(1)[0] * w,
    "topk": lambda w, b: w.topk(2)[0],
    "reduced": lambda w, b: w.scatter_reduce(1, b["y"], (w * b["x"].to(w.dtype))[:, :2], "amax"),
    "running": lambda w, b: w.cummax(1)[0],
    "gamma": lambda w, b: torch.lgamma(w.abs()) + torch.erfinv(w.tanh()),
    "remainder": lambda w, b: w.fmod(b["x"].to(w.dtype)),
}
COMPOSED: dict[str, Case] = {
    "distances": lambda w, b: torch.cdist(w, w),
    "sampled": lambda w, b: F.grid_sample(w.reshape(2, 1, 2, 3), b["at"].to(w.dtype), align_corners=False),
    "quantised": lambda w, b: torch.fake_quantize_per_tensor_affine(w.float(), 0.1, 1, -8, 7).to(w.dtype),
}
SEQUENCES: dict[str, Case] = {
    "spoken": spoken,
    "transformed": lambda w, b: fft.rfft(w).abs(),
    "solved": lambda w, b: linalg.solve(w[:, :2], w[:, 2:]),
    "determined": lambda w, b: linalg.det(w[:, :2]),
}


@pytest.fixture(scope="module")
def chain(ganache: Ganache, module_snapshot: None) -> Iterator[Chain]:
    with court(ganache.url) as chain:
        yield chain


@pytest.mark.parametrize(
    "cases",
    [
        pytest.param(ORDERS, id="orders"),
        pytest.param(COMPOSED, id="composed", marks=pytest.mark.slow),
        pytest.param(SEQUENCES, id="sequences", marks=pytest.mark.slow),
    ],
)
def test_every_node_is_judged(chain: Chain, cases: dict[str, Case]) -> None:
    task = compile(gradient_job(Cases(cases, W), total(cases), DATA))
    report = adjudicate(task, 0, len(task.graph.nodes), 1, chain)
    assert report.right
    assert sum(tally.upheld for tally in report.by_kind.values()) == len(task.graph.nodes)
