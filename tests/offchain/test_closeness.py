"""How close a task's first update comes to plain torch's, and what brings it closer."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.closeness import FAR, LATER, after, first_update, judged, warning
from offchain.job import Batch, Job
from offchain.lower import compile as lower
from tests.cases import losses  # noqa: F401  registers cases
from tests.cases.common import CASES, digits, mlp


class Pairs(nn.Module):
    """Two images by one network, whose outputs are nearly equal before it is trained."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body = mlp(64, *[64] * 7, 32)

    def forward(self, a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
        return self.body(a), self.body(b)


def expanded(a: Tensor, b: Tensor) -> Tensor:
    """Distances as many people write them: three products, which are nearly equal, and their difference."""
    products: Tensor = (a * a).sum(1) + (b * b).sum(1) - 2 * torch.einsum("ik,ik->i", a, b)
    return products.clamp(min=1e-6).sqrt()


def subtracted(a: Tensor, b: Tensor) -> Tensor:
    return ((a - b).pow(2).sum(-1) + 1e-6).sqrt()


def contrastive(distance: Any, **changes: Any) -> Job:
    """The loss of a siamese network (Hadsell et al., 2006)."""
    x, y = digits()
    g = torch.Generator().manual_seed(0)
    i, j = (torch.randint(0, len(y), (200,), generator=g) for _ in range(2))

    def loss(model: Any, batch: Batch) -> Tensor:
        d, other = distance(*model(batch["a"], batch["b"])), batch["other"]
        return ((1 - other) * d.pow(2) + other * F.relu(1 - d).pow(2)).mean()

    fields: dict[str, Any] = {"steps": 4, "interval": 4, "optimizer": (torch.optim.SGD, {"lr": 0.1}), **changes}
    dataset = {"a": x[i], "b": x[j], "other": (y[i] != y[j]).float()}
    return Job(model=Pairs(), loss=loss, dataset=dataset, batch_size=32, **fields)


def apart(job: Job) -> float:
    found = first_update(job, lower(job))
    assert found is not None
    return found


def test_products_that_are_nearly_equal_need_more_bits_or_a_subtraction_before() -> None:
    """The warning, and both of its remedies carried out."""
    assert apart(contrastive(expanded)) > FAR
    assert apart(contrastive(expanded, precision="float32")) < 0.02
    assert apart(contrastive(subtracted)) < FAR / 2


def test_the_warning_has_the_figure_and_the_remedies_that_are_left() -> None:
    assert "differs by 28 % from" in warning(0.28, 13)
    assert 'precision="float32"' in warning(0.28, 13) and "float32" not in warning(0.28, 21)
    assert "(a - b).pow(2)" in warning(0.28, 21) and warning(0.099, 13) == ""


def test_gradients_are_accumulated_to_the_first_update() -> None:
    assert apart(contrastive(subtracted, accumulate=2)) < FAR / 2


@pytest.mark.parametrize("changes", [{"schedule": lambda t: t / 4}, {"optimizer": (torch.optim.SGD, {"lr": 0.0})}])
def test_nothing_is_said_where_nothing_moves(changes: dict[str, Any]) -> None:
    job = contrastive(subtracted, **changes)
    assert first_update(job, lower(job)) is None


def test_compile_warns_where_a_task_file_would(recwarn: pytest.WarningsRecorder) -> None:
    """With the line of the call, and of the user's own state nothing changed."""
    seen: list[Tensor] = []

    def distance(a: Tensor, b: Tensor) -> Tensor:
        seen[:] = [a.detach()]
        return expanded(a, b)

    training = offchain.compile(contrastive(distance), executor="torch")
    (said,) = [warning for warning in recwarn if warning.category is UserWarning]
    assert str(said.message).startswith("compile: the first update differs by ") and said.filename == __file__
    assert seen == [] and training.t == 0 and training.losses == []
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        offchain.compile(contrastive(distance, precision="float32"), executor="torch")


@pytest.mark.slow
def test_a_loss_that_follows_another_course_is_named_later() -> None:
    """Supervised contrastive learning: the first update agrees, eight do not. And both remedies carried out."""

    def made(lr: float, **changes: Any) -> Job:
        optimizer = (torch.optim.SGD, {"lr": lr})
        return CASES["supcon"].job(steps=LATER, interval=LATER, optimizer=optimizer, **changes)

    job = made(0.1, bits=13)
    first, said = judged(job, lower(job))
    assert first is not None and first < FAR / 10
    assert said.startswith(f"after {LATER} updates the parameters differ by ") and "A smaller one keeps" in said
    for other in (made(0.01, bits=13), made(0.1, bits=21)):
        later = after(LATER, other, lower(other))
        assert later is not None and later < FAR / 2
        assert judged(other, lower(other))[1] == ""
