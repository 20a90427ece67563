"""Schedules in plain Python and schedulers of torch: evaluated for all updates, they train like torch's own loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim import lr_scheduler as schedulers

from offchain import schedules
from offchain.errors import BadInput, Unsupported
from offchain.ir.graph import Source
from offchain.job import Job
from offchain.lower import compile
from offchain.lower.capture import batch_of
from tests.support.beside import trained

STEPS = 8


def a_model() -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 3))


def loss(model: Any, batch: dict[str, Tensor]) -> Tensor:
    return F.cross_entropy(model(batch["x"]), batch["y"])


def a_job(**changes: Any) -> Job:
    fields: dict[str, Any] = {
        "model": a_model(),
        "loss": loss,
        "optimizer": (torch.optim.SGD, {"lr": 0.5, "momentum": 0.9}),
        "dataset": {"x": torch.linspace(-1, 1, 48).reshape(12, 4), "y": torch.arange(12) % 3},
        "batch_size": 6,
        "steps": STEPS,
        "interval": STEPS,
        "bits": 21,
    }
    return Job(**{**fields, **changes})


def two_groups(model: nn.Sequential) -> torch.optim.Optimizer:
    groups = [{"params": model[0].parameters(), "lr": 0.1}, {"params": model[2].parameters()}]
    return torch.optim.SGD(groups, lr=0.4)


def by_hand(job: Job, optimizer: torch.optim.Optimizer, scheduler: Any, model: nn.Sequential) -> list[float]:
    """Losses of torch's usual loop over the job's batches."""
    losses = []
    for t in range(job.steps):
        optimizer.zero_grad()
        value = loss(model, batch_of(job, job.dataset, torch.tensor(t, dtype=torch.int32)))
        value.backward()
        losses.append(value.item())
        if (t + 1) % job.accumulate == 0:
            optimizer.step()
            scheduler.step()
    return losses


def warm_up(t: Any) -> Any:
    """nanoGPT's get_lr."""
    if t < 3:
        return (t + 1) / 3
    return 0.1 + 0.45 * (1 + math.cos(math.pi * (t - 3) / 5))


FUNCTIONS = {
    "dict": lambda t: {2: 0.1, 3: 0.5}.get(t, 1.0),
    "set": lambda t: 0.1 if t in {2, 3, 5} else 1.0,
    "type": lambda t: 0.1 if isinstance(t, int) and t > 3 else 1.0,
    "hash": lambda t: [1.0, 0.5, 0.25][hash(t) % 3],
    "bits": lambda t: 0.5 if t & 1 else 1.0,
    "dict beside a tensor": lambda t: torch.as_tensor(t * 0.1) + {2: 0.1, 3: 0.5}.get(t, 1.0),
    "if": warm_up,
    "math": lambda t: 0.5 * (1 + math.cos(math.pi * t / STEPS)),
    "min": lambda t: min(1.0, (float(t) + 1) / 4) * max(0.1, 1 - float(t) / 10),
    "list": lambda t: [1.0, 0.5, 0.25, 0.1, 0.0][t // 2],
    "item": lambda t: 0.5 ** (t.item() if isinstance(t, Tensor) else t),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_function_in_plain_python_is_lambda_lr(name: str) -> None:
    job = a_job(schedule=FUNCTIONS[name])
    model = a_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5, momentum=0.9)
    wanted = by_hand(job, optimizer, schedulers.LambdaLR(optimizer, FUNCTIONS[name]), model)
    assert trained(job).losses == pytest.approx(wanted, rel=1e-5)


SCHEDULERS = {
    "step": lambda o: schedulers.StepLR(o, 2, 0.3),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, STEPS),
    "cycle": lambda o: schedulers.OneCycleLR(o, 0.5, STEPS, cycle_momentum=False),
    "lambda": lambda o: schedulers.LambdaLR(o, [warm_up, lambda t: 1 / (1 + t)]),
    "in turn": lambda o: schedulers.SequentialLR(
        o, [schedulers.LinearLR(o, 0.1, total_iters=3), schedulers.ExponentialLR(o, 0.8)], [3]
    ),
    "chained": lambda o: schedulers.ChainedScheduler([schedulers.LinearLR(o), schedulers.ExponentialLR(o, 0.9)]),
    "restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 3),
}


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_scheduler_of_torch(name: str, accumulate: int) -> None:
    model = a_model()
    optimizer = two_groups(model)
    job = a_job(model=model, optimizer=optimizer, schedule=SCHEDULERS[name](optimizer), accumulate=accumulate)
    before = [group["lr"] for group in optimizer.param_groups]
    training = trained(job)
    assert before == [group["lr"] for group in optimizer.param_groups]  # the requester's own stay as they are
    other = a_model()
    own = two_groups(other)
    if accumulate == 1:
        assert training.losses == pytest.approx(by_hand(job, own, SCHEDULERS[name](own), other), rel=1e-5)


def test_what_can_be_traced_needs_no_table() -> None:
    task = compile(a_job(schedule=lambda t: 1 / (1 + t)))
    assert task.constants == () and not any(i.source is Source.CONST for n in task.graph.nodes for i in n.inputs)
    assert len(compile(a_job(schedule=warm_up)).constants) == 1
    assert compile(a_job(schedule=lambda t: 0.5)).constants == ()  # the same for all updates


def on_plateau(optimizer: Any) -> Any:
    return schedulers.ReduceLROnPlateau(optimizer)


def stepped(optimizer: Any) -> Any:
    scheduler = schedulers.StepLR(optimizer, 2)
    optimizer.step()
    scheduler.step()
    return scheduler


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (on_plateau, "ReduceLROnPlateau needs losses"),
        (stepped, "StepLR was used already"),
        (lambda _: schedulers.StepLR(torch.optim.SGD(a_model().parameters()), 2), "StepLR belongs to another"),
    ],
)
def test_a_scheduler_that_does_not_fit_is_refused(make: Any, message: str) -> None:
    model = a_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(BadInput, match=message):
        a_job(model=model, optimizer=optimizer, schedule=make(optimizer))


def test_too_many_updates_for_a_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offchain.lower.optim.lookup.MOST_UPDATES", 7)
    with pytest.raises(Unsupported, match=r"schedule at \S+: looks at the value of t, and 8 updates .* torch\.where"):
        compile(a_job(schedule=warm_up))


def remedied(t: Tensor) -> Tensor:
    """What the refusal names."""
    later = 0.1 + 0.45 * (1 + torch.cos(math.pi * (t - 3) / 5))
    return torch.where(t < 3, (t + 1) / 3, later)


def test_the_remedy_is_the_same_schedule() -> None:
    assert [schedules.factor(remedied, t) for t in range(STEPS)] == pytest.approx(
        [schedules.factor(warm_up, t) for t in range(STEPS)]
    )
    assert trained(a_job(schedule=remedied)).losses == pytest.approx(trained(a_job(schedule=warm_up)).losses, rel=1e-5)
