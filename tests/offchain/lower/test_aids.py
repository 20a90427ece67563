"""What only saves memory, checks values or profiles in plain torch changes no number, and is not refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Normal
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint, checkpoint_sequential

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lower import compile
from offchain.training import Training

Batch = dict[str, Tensor]


def a_job(loss: Any) -> Job:
    g = torch.Generator().manual_seed(0)
    return Job(
        model=nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.3), nn.Tanh(), nn.Linear(6, 3)),
        loss=loss,
        optimizer=(torch.optim.SGD, {"lr": 0.1}),
        dataset={"x": torch.randn(12, 4, generator=g), "y": torch.arange(12) % 3},
        batch_size=6,
        steps=3,
        interval=3,
        bits=21,
    )


def bare(model: Any, batch: Batch) -> Tensor:
    return F.cross_entropy(F.dropout(model(batch["x"]), 0.2), batch["y"])


def reentrant(model: Any, batch: Batch) -> Tensor:
    z = checkpoint(model, batch["x"], use_reentrant=True)
    return F.cross_entropy(F.dropout(z, 0.2), batch["y"])


def not_reentrant(model: Any, batch: Batch) -> Tensor:
    z = checkpoint(lambda x: model(x), batch["x"], use_reentrant=False)
    return F.cross_entropy(F.dropout(z, 0.2), batch["y"])


def in_segments(model: Any, batch: Batch) -> Tensor:
    z = checkpoint_sequential(model, 2, batch["x"], use_reentrant=False)
    return F.cross_entropy(F.dropout(z, 0.2), batch["y"])


@torch.profiler.record_function("the loss")
def recorded(model: Any, batch: Batch) -> Tensor:
    with torch.autograd.profiler.record_function("the model"):
        z = model(batch["x"])
    return F.cross_entropy(F.dropout(z, 0.2), batch["y"])


@pytest.mark.parametrize("loss", [reentrant, not_reentrant, in_segments, recorded])
def test_the_task_is_the_same_without(loss: Any) -> None:
    """Dropout inside of a checkpoint draws what it draws outside, in plain torch too."""
    torch.manual_seed(0)
    training = Training(a_job(loss), executor="torch", threads=1)
    torch.manual_seed(0)
    assert training.task.graph_root == compile(a_job(bare)).graph_root
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-5)


def likelihood(model: Any, batch: Batch) -> Tensor:
    z = model(batch["x"])
    q = Normal(z[:, 0], F.softplus(z[:, 1]))
    return -Categorical(logits=z).log_prob(batch["y"]).mean() - q.log_prob(batch["x"][:, 0]).mean() + q.rsample().mean()


def test_distributions_do_not_validate_while_a_step_is_captured() -> None:
    training = Training(a_job(likelihood), executor="torch", threads=1)
    with pytest.raises(ValueError, match="invalid values"):
        Normal(0.0, torch.tensor(-1.0))
    plain = training.plain()
    for run in (training, plain):
        run.run()
    assert training.losses == pytest.approx(plain.losses, rel=1e-5)


def checked(model: Any, batch: Batch) -> Tensor:
    return -Categorical(logits=model(batch["x"]), validate_args=True).log_prob(batch["y"]).mean()


def test_validation_that_is_asked_for_is_refused() -> None:
    with pytest.raises(Unsupported) as caught:
        compile(a_job(checked))
    line = f"{__file__}:{checked.__code__.co_firstlineno + 1}"
    assert f" in loss at {line}: the step depends on a tensor's value: leave validate_args=True out" in str(
        caught.value
    )
