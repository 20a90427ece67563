"""Indexing, rearranging and reducing: gradients against float64, many operations in each compiled step."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from offchain.errors import OffchainError, Unsupported
from offchain.lower import compile
from tests.support.cases import Batch, Case, Cases, assert_cases, total
from tests.support.gradients import gradient_job, run

g = torch.Generator().manual_seed(5)
W = torch.randn(4, 6, generator=g)
DATA = {
    "x": torch.randn(4, 6, generator=g),
    "rows": torch.tensor([3, 0, 3, 1]),
    "columns": torch.tensor([5, 0, 2, 2]),
    "distinct": torch.tensor([2, 0, 3, 1]),
    "many": torch.randint(0, 4, (4, 6), generator=g),
    "few": torch.randint(0, 6, (4, 3), generator=g),
    "mask": torch.rand(4, 6, generator=g) > 0.5,
}


def assigned(where: Any, value: Any) -> Case:
    """x[where] = value, on a copy."""

    def case(w: Tensor, b: Batch) -> Tensor:
        x = w * 2
        x[where(b) if callable(where) else where] = value(w, b) if callable(value) else value
        return x

    return case


def in_place(w: Tensor, b: Batch) -> Tensor:
    x = w * 2
    x.mul_(b["x"])
    x[0].add_(1.0)
    x[:, 1] = w[:, 0]
    x[1:3, ::2] -= w[1:3, :3]
    x.clamp_(min=-1).masked_fill_(b["mask"], 0.5)
    return x


READS: dict[str, Case] = {
    "gather": lambda w, b: w.gather(1, b["few"]),
    "gather-first": lambda w, b: w.gather(0, b["many"]),
    "take-along": lambda w, b: w.take_along_dim(b["few"], 1),
    "take": lambda w, b: w.take(b["many"]),
    "index-select": lambda w, b: w.index_select(1, b["columns"]),
    "index-rows": lambda w, b: w[b["rows"]],
    "index-columns": lambda w, b: w[:, b["columns"] - 6],
    "index-pairs": lambda w, b: w[torch.arange(4), b["columns"]],
    "index-apart": lambda w, b: w.reshape(2, 2, 6)[b["many"] % 2, :, b["many"]],
    "index-inner": lambda w, b: w.reshape(2, 2, 2, 3)[:, b["rows"] % 2, b["columns"] % 2],
    "index-broadcast": lambda w, b: w[b["rows"].unsqueeze(1), b["columns"]],
    "embedding": lambda w, b: F.embedding(b["many"], w, padding_idx=1),
    "embedding-frequency": lambda w, b: F.embedding(b["many"], w, scale_grad_by_freq=True),
    "bag": lambda w, b: F.embedding_bag(b["many"], w),
    "bag-weights": lambda w, b: F.embedding_bag(b["many"], w, mode="sum", per_sample_weights=b["x"].to(w.dtype)),
    "bag-padding": lambda w, b: F.embedding_bag(b["many"], w, padding_idx=0),
    "bag-max": lambda w, b: F.embedding_bag(b["many"], w, mode="max"),
    "one-hot": lambda w, b: w * F.one_hot(b["columns"], 6),
}
WRITES: dict[str, Case] = {
    "scatter-value": lambda w, b: w.scatter(1, b["few"], 1.5),
    "scatter-one": lambda w, b: w.scatter(1, b["few"][:, :1], w[:, 3:4]),
    "scatter-source": lambda w, b: w.new_zeros(4, 6).scatter(0, (torch.arange(6) + b["distinct"].unsqueeze(1)) % 4, w),
    "scatter-add": lambda w, b: b["x"].to(w.dtype).scatter_add(1, b["few"], w[:, :3]),
    "scatter-add-first": lambda w, b: w.new_zeros(4, 6).scatter_add(0, b["many"], w),
    "scatter-reduce": lambda w, b: w.new_zeros(4, 6).scatter_reduce(0, b["many"], w, "sum"),
    "index-add": lambda w, b: w.new_zeros(4, 6).index_add(1, b["columns"], w[:, :4], alpha=2),
    "index-copy": lambda w, b: w.new_zeros(6, 6).index_copy(0, b["distinct"] + 1, w),
    "index-fill": lambda w, b: w.index_fill(1, b["columns"], 2.0),
    "index-put": lambda w, b: w.new_zeros(4, 6).index_put((b["distinct"],), w),
    "index-put-pairs": lambda w, b: w.new_zeros(6, 4).index_put((b["columns"], torch.arange(4)), w[:, 0]),
    "index-put-add": lambda w, b: w.new_zeros(6, 4).index_put((b["columns"], b["rows"]), w[:, 0], True),
    "put-rows": assigned(lambda b: b["distinct"], lambda w, b: w * w),
    "put-columns": assigned(lambda b: (slice(None), b["distinct"]), lambda w, b: w[:, 1:5]),
    "put-apart": lambda w, b: assigned(
        lambda b: (b["rows"] % 2, slice(None), b["distinct"]), lambda v, b: v[:1, 0, :2]
    )(w.reshape(2, 2, 6), b),
    "put-value": assigned(lambda b: (b["rows"], b["columns"]), 0.25),
    "put-mask": assigned(lambda b: b["mask"], 0.5),
    "put-mask-row": assigned(lambda b: b["mask"][:, 0], lambda w, b: w[1].detach()),
    "assign-step": assigned((slice(None), slice(1, None, 2)), lambda w, b: w[:, :3]),
    "assign-window": assigned((slice(1, 3), slice(2, 5)), lambda w, b: w[:2, :3]),
    "assign-column": assigned((slice(None), 2), lambda w, b: w[:, 0] * w[:, 1]),
    "in-place": in_place,
}
SHAPES: dict[str, Case] = {
    "einsum": lambda w, b: torch.einsum("ij,kj->ik", w, b["x"].to(w.dtype)),
    "einsum-batch": lambda w, b: torch.einsum("bij,bjk->bik", w.reshape(2, 3, 4), w.reshape(2, 4, 3)),
    "einsum-diagonal": lambda w, b: torch.einsum("ii->i", w[:, :4]),
    "stack-split": lambda w, b: torch.cat(torch.stack([w, b["x"]], 1).split([2, 4], 2)[::-1], 2),
    "chunk": lambda w, b: w.chunk(4, 1)[1] * 3,
    "pad": lambda w, b: F.pad(w, (1, -2, 0, 2), value=3.0),
    "pad-reflect": lambda w, b: F.pad(w[None], (2, 1), mode="reflect"),
    "pad-replicate": lambda w, b: F.pad(w[None, None], (2, 1, 0, 3), mode="replicate"),
    "pad-circular": lambda w, b: F.pad(w[None], (2, 3), mode="circular"),
    "roll": lambda w, b: w.roll((1, -2), (0, 1)) * w.roll(5),
    "where": lambda w, b: torch.where(b["mask"], w, b["x"]).masked_fill(b["x"] > 1, 2.0),
    "triangles": lambda w, b: w.tril(1) * w.triu(-1) @ torch.eye(6, dtype=w.dtype),
    "ranges": lambda w, b: w * torch.linspace(0, 1, 6) + torch.arange(0, 1.2, 0.2) + torch.arange(6, 0, -1),
    "repeat": lambda w, b: w.repeat(2, 1, 3) * w.tile(3),
    "repeat-interleave": lambda w, b: w.repeat_interleave(2, 1),
    "flip": lambda w, b: w.flip(0, 1) * w.rot90(2),
    "unfold": lambda w, b: w.unfold(1, 3, 2),
    "unfold-overlap": lambda w, b: w.unfold(0, 3, 1) * 2,
    "diagonal": lambda w, b: w.diagonal(-1) * w.diagonal(1)[:3],
    "diagonal-matrix": lambda w, b: torch.diag(w[0]) + torch.diag_embed(w[1], 0),
    "diagonal-embed": lambda w, b: torch.diag_embed(w, 1),
    "diagonal-scatter": lambda w, b: w.diagonal_scatter(w[:3, 0], -1) * w.diagonal_scatter(w[:, 1], 2),
    "select-scatter": lambda w, b: w.select_scatter(w[:, 0] * w[:, 1], 1, 2),
    "slice-scatter": lambda w, b: w.slice_scatter(w[:, :3] * w[:, 3:], 1, 0, 6, 2),
    "meshgrid": lambda w, b: torch.meshgrid(w[0], w[1], indexing="ij")[0] * torch.outer(w[2], w[3]),
    "kron": lambda w, b: torch.kron(w[:2, :2], w[2:]),
    "tensordot": lambda w, b: torch.tensordot(w, b["x"].to(w.dtype), dims=([0], [0])),
    "movedim": lambda w, b: w.reshape(2, 2, 6).movedim(0, 2).unflatten(1, (2, 3)).flatten(1),
}
PRODUCTS: dict[str, Case] = {
    "baddbmm": lambda w, b: torch.baddbmm(
        w.reshape(2, 3, 4)[:, :, :3], w.reshape(2, 3, 4), w.reshape(2, 4, 3), alpha=2
    ),
    "addbmm": lambda w, b: torch.addbmm(w[:3, :3], w.reshape(2, 3, 4), w.reshape(2, 4, 3), beta=0.5),
    "addmv": lambda w, b: torch.addmv(w[:, 0], w, w[0]),
    "addr": lambda w, b: torch.addr(w, w[:, 0], w[0]),
    "trace": lambda w, b: torch.trace(w),
    "cross": lambda w, b: torch.cross(w[:, :3], w[:, 3:], dim=1),
    "cumsum": lambda w, b: w.cumsum(1) * w.cumsum(0),
    "cumprod": lambda w, b: w.cumprod(1),
    "cumsum-of-integers": lambda w, b: w * b["many"].cumsum(1) * b["mask"].cumsum(0),
    "prod": lambda w, b: w.prod(1) * w[:, :5].prod(0, keepdim=True).prod(),
}
REDUCTIONS: dict[str, Case] = {
    "mean": lambda w, b: w.mean((0, 1)) + w.mean(1),
    "variances": lambda w, b: torch.cat([w.var(1), w.std(0), torch.var_mean(w, 1, correction=0)[0]]),
    "std-mean": lambda w, b: torch.stack(torch.std_mean(w, 1)) * w.std(),
    "extrema": lambda w, b: w.max(1)[0] * w.min(1)[0] + w.max() * w.min(),
    "amax-amin": lambda w, b: w.amax(1) * w.amin((0, 1)) + torch.aminmax(w, dim=1)[0],
    "arguments": lambda w, b: w * w.argmax(1, keepdim=True) + w.argmin(0) * w.argmin() * w.argmax(),
    "min-index": lambda w, b: w * w.min(1, keepdim=True)[1] + w.gather(1, w.max(1, keepdim=True)[1]),
    "norms": lambda w, b: torch.cat([w.norm(dim=1), w.norm(p=1, dim=0), torch.linalg.vector_norm(w, float("inf"), 1)]),
    "matrix-norm": lambda w, b: torch.linalg.matrix_norm(w) * w.norm() * torch.linalg.vector_norm(w, 3),
    "normalize": lambda w, b: F.normalize(w, dim=1) * F.cosine_similarity(w, b["x"].to(w.dtype)).unsqueeze(1),
    "distances": lambda w, b: torch.dist(w, b["x"].to(w.dtype)) + F.pairwise_distance(w, b["x"].to(w.dtype)),
    "logsumexp": lambda w, b: w.logsumexp(1) + F.softmin(w, 1)[:, 0],
    "logical": lambda w, b: (
        w * (b["mask"] & (b["x"] > 0.5) | ~b["mask"]).logical_xor(b["x"] > 0).any(0) * b["mask"].all()
    ),
    "counts": lambda w, b: w * b["mask"].count_nonzero(1).unsqueeze(1) + b["mask"].sum(),
    "sum-of-integers": lambda w, b: w * (b["many"] * 29_000_000 - 1).sum().remainder(7) * b["many"].sum(0),
    "casts": lambda w, b: w * b["x"].long().int().float().bool() + b["x"].int() + b["mask"].float(),
    "diff": lambda w, b: torch.diff(w) * torch.trapezoid(w).unsqueeze(1),
}
GROUPS = {"reads": READS, "writes": WRITES, "shapes": SHAPES, "products": PRODUCTS, "reductions": REDUCTIONS}


@pytest.mark.parametrize("group", GROUPS)
def test_gradients(group: str) -> None:
    assert_cases(GROUPS[group], W, DATA)


def test_the_last_of_several_writers_wins() -> None:
    def case(w: Tensor, b: Batch) -> Tensor:
        return w.new_zeros(4, 6).index_put((b["rows"],), w.detach()) * w

    job = gradient_job(Cases({"w": case}, W), lambda m, b: case(m.w["w"], b).sum(), DATA)
    assert run(compile(job))["momentum.w.w"].tolist() == [W[1].tolist(), W[3].tolist(), [0.0] * 6, W[2].tolist()]


@pytest.mark.parametrize("scale", [1, 1 << 26, -(1 << 26)])
def test_sums_of_large_integers_are_exact(scale: int) -> None:
    data = {"i": torch.tensor([[scale + 7, 3, scale - 1], [scale, scale // 3, 5]], dtype=torch.int32)}

    def loss(model: Any, batch: Batch) -> Tensor:
        total = batch["i"].sum(1) - batch["i"].cumsum(1)[:, 1] - batch["i"][:, 2]
        spread = torch.zeros(3, dtype=torch.int64).index_add(0, batch["i"][0] % 3, batch["i"][0].long())
        return model.w["w"].sum() * (total.abs().sum() + (spread.sum() - batch["i"][0].sum()).abs() + 1)

    state = run(compile(gradient_job(Cases({"w": READS["take"]}, torch.ones(2)), loss, data)))
    assert state["momentum.w.w"].tolist() == [1.0, 1.0]


@pytest.mark.parametrize(
    ("case", "words"),
    [
        (lambda w, b: w[b["mask"]], "mask"),
        (assigned(lambda b: b["mask"], lambda w, b: w[b["mask"]]), "mask"),
        (lambda w, b: w.masked_scatter(b["mask"], b["x"]), "torch.where"),
        (lambda w, b: w * (b["many"] @ b["many"].T).sum(), "integer matrices"),
        (lambda w, b: w * (b["many"] * 300_000_000).sum(), "may reach"),
        (lambda w, b: F.one_hot(b["columns"]) * w[:, :1], "num_classes"),
        (lambda w, b: F.embedding_bag(b["rows"], w, torch.tensor([0, 2])), "2-D"),
        (lambda w, b: F.embedding(b["rows"], w, max_norm=1.0), "max_norm writes to the rows"),
        (lambda w, b: w.double(), "float64"),
        (lambda w, b: w.half(), "float16"),
        (lambda w, b: w * b["x"].nonzero().sum(), "torch.where"),
        (lambda w, b: w.as_strided_scatter(w[:2, :2], (2, 2), (1, 1)), "overlaps"),
    ],
)
def test_refused(case: Case, words: str) -> None:
    job = gradient_job(Cases({"w": case}, W), total({"w": case}), DATA)
    with pytest.raises(OffchainError, match=words) as caught:
        compile(job)
    assert isinstance(caught.value, Unsupported) and "\n" not in str(caught.value)


def test_scalars_have_places_and_windows_too() -> None:
    def ends(p: Tensor, _: Batch) -> Tensor:
        places = p.argmax() + p.argmin(keepdim=True) + p.max(0).indices
        return p.max(0).values * 2 + p.min(0).values + p.unfold(0, 1, 1).sum() + places.to(p.dtype)

    zero = torch.tensor([0])
    picked: Case = lambda p, _: p.index_select(0, zero) * 2 + p.index_add(0, zero, p) + p.index_fill(0, zero, 3.0)  # noqa: E731
    assert_cases({"ends": ends, "picked": picked}, torch.tensor(1.5), DATA)
