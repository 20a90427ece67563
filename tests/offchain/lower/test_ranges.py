"""Indices outside of their range in any row or step are refused when a job is built, as torch would when it runs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import BadInput
from offchain.job import Job
from offchain.lower import compile
from tests.offchain.lower.refused import WIDTH, Batch, fields, line, network, refused

ROWS, BAD = 40, 37  # batches of 2: the bad row is not in batch 0
Loss = Callable[[Any, Batch], Tensor]


def labels(value: int, *shape: int) -> dict[str, Tensor]:
    """Labels 0 to 3, but for one row."""
    y = torch.randint(0, WIDTH, (ROWS, *shape), generator=torch.Generator().manual_seed(1))
    y[BAD] = value
    return {"x": torch.ones(ROWS, WIDTH), "y": y}


def _cross_entropy(m: Any, b: Batch) -> Tensor:
    return F.cross_entropy(m(b["x"]), b["y"])


USES: dict[str, tuple[Loss, int, int]] = {  # what uses the labels, and its range
    "cross_entropy": (_cross_entropy, 0, 3),
    "nll": (lambda m, b: F.nll_loss(m(b["x"]).log_softmax(1), b["y"]), 0, 3),
    "embedding": (lambda m, b: F.embedding(b["y"], m[0].weight).mean(), 0, 3),
    "gather": (lambda m, b: m(b["x"]).gather(1, b["y"][:, None]).mean(), 0, 3),
    "index": (lambda m, b: m[0].weight[b["y"]].mean(), -4, 3),
    "index-after-a-sum": (lambda m, b: m[0].weight[b["y"] + 1 - 1].mean(), -4, 3),
    "index_select": (lambda m, b: m[0].weight.index_select(0, b["y"]).mean(), 0, 3),
    "one_hot": (lambda m, b: (m(b["x"]) * F.one_hot(b["y"], WIDTH)).mean(), 0, 3),
    "scatter": (lambda m, b: m(b["x"]).scatter(1, b["y"][:, None], 0.0).mean(), 0, 3),
    "index_add": (lambda m, b: torch.zeros(WIDTH, WIDTH).index_add(0, b["y"], m(b["x"])).square().mean(), -4, 3),
}


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("value", [WIDTH, -5])
def test_a_label_outside_of_its_range(name: str, value: int) -> None:
    loss, low, high = USES[name]
    text = refused(BadInput, loss=loss, dataset=labels(value))
    said = f"row {BAD} of dataset 'y' gives the index {value}, outside of {low} to {high}; correct that row"
    assert f"{line(loss, 1 if loss is _cross_entropy else 0)}: {said}" in text, text
    compile(Job(**fields(loss=loss, dataset=labels(3))), fused=False)


def test_what_plain_torch_says_of_it() -> None:
    training = offchain.compile(**fields(loss=_cross_entropy, dataset=labels(3), steps=60, interval=60))
    training.job.dataset["y"][:] = WIDTH
    with pytest.raises((IndexError, RuntimeError), match=r"out of (bounds|range)"):
        training.plain().run()


def test_a_label_that_is_ignored_is_no_index() -> None:
    compile(Job(**fields(loss=_cross_entropy, dataset=labels(-100))), fused=False)
    loss: Loss = lambda m, b: F.cross_entropy(m(b["x"]), b["y"], ignore_index=9)  # noqa: E731
    compile(Job(**fields(loss=loss, dataset=labels(9))), fused=False)
    assert "gives the index -100" in refused(BadInput, loss=loss, dataset=labels(-100))


def test_labels_of_a_sequence_and_rows_that_only_together_are_wrong() -> None:
    sequence: Loss = lambda m, b: F.cross_entropy(m(b["x"])[:, :, None].expand(-1, -1, 3), b["y"])  # noqa: E731
    assert f"row {BAD} of dataset 'y'" in refused(BadInput, loss=sequence, dataset=labels(4, 3))
    together: Loss = lambda m, b: m[0].weight[(b["y"] + b["y"].flip(0)).clamp(0, 3) + b["y"]].mean()  # noqa: E731
    text = refused(BadInput, loss=together, dataset=labels(3))
    assert "of dataset 'y' gives the index" in text


def test_a_place_of_the_batch_at_which_the_row_never_stands_when_rows_come_in_turn() -> None:
    loss: Loss = lambda m, b: m(b["x"]).mean() + m[0].bias[b["y"][:1]].sum()  # noqa: E731
    assert f"row {BAD} of dataset 'y' gives the index 4" in refused(BadInput, loss=loss, dataset=labels(4))


def test_what_a_job_learns_or_counts_is_not_known() -> None:
    """A gather outside of its table reads 0; plain torch refuses it."""
    model = network()
    nn.init.zeros_(model[0].bias)
    loss: Loss = lambda m, b: (m(b["x"]) * torch.ones(3)[(m[0].bias.abs() * 1e3).long()]).mean()  # noqa: E731
    training = offchain.compile(**fields(model=model, loss=loss, optimizer=(torch.optim.SGD, {"lr": 1.0})))
    training.run(2)
    assert training.losses[1] == 0
    plain = training.plain()
    plain.run(1)
    with pytest.raises(IndexError):
        plain.run(1)


# --- the order of rows


@pytest.mark.parametrize(("by", "step", "row"), [(2, 3, 6), (-1, 1, -1)])
def test_an_order_that_leaves_the_rows(by: int, step: int, row: int) -> None:
    order = lambda t: torch.arange(2, dtype=torch.int32) + t * by  # noqa: E731
    data = {"x": torch.ones(6, WIDTH)}
    text = refused(BadInput, order=order, dataset=data)
    assert text == f"order(t) at {line(order)}: gives row {row} in step {step}, outside of 0 to 5; take rows % 6"


def test_the_remedy_of_such_an_order() -> None:
    order = lambda t: (torch.arange(2, dtype=torch.int32) + t * 2) % 6  # noqa: E731
    data = {"x": torch.randn(6, WIDTH)}
    training = offchain.compile(**fields(order=order, dataset=data))
    plain = training.plain()
    training.run()
    plain.run()
    np.testing.assert_allclose(training.losses, plain.losses, rtol=1e-5)


def test_an_order_from_a_table() -> None:
    table = torch.randperm(6, generator=torch.Generator().manual_seed(0))
    order = lambda t: table[(t * 2 + torch.arange(2)) % 6]  # noqa: E731
    data = {"x": torch.randn(6, WIDTH)}
    compile(Job(**fields(order=order, dataset=data)), fused=False)
    beyond = lambda t: table[t * 2 + torch.arange(2)]  # noqa: E731
    text = refused(BadInput, order=beyond, dataset=data)
    assert text.startswith(
        f"aten.index.Tensor in order at {line(beyond)}: the index is 6 in step 3, outside of -6 to 5"
    )


def test_a_random_index_is_within_its_range() -> None:
    loss: Loss = lambda m, b: (m(b["x"]) * torch.ones(100)[torch.randint(0, 100, (2, 1))]).mean()  # noqa: E731
    compile(Job(**fields(loss=loss)), fused=False)
    beyond: Loss = lambda m, b: (m(b["x"]) * torch.ones(100)[torch.randint(0, 120, (2, 1))]).mean()  # noqa: E731
    assert "the index is 1" in refused(BadInput, loss=beyond, steps=100, interval=100)
