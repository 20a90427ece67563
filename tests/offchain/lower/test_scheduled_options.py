"""Schedulers that change more of an optimizer than its learning rate train like torch's own loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.optim import lr_scheduler as schedulers
from torch.optim.swa_utils import SWALR

from offchain import Lion
from offchain.errors import BadInput, Unsupported
from offchain.job import Job
from offchain.lower import compile
from offchain.lower.optim.by_rule import has_rule
from offchain.training import Run, Training
from tests.offchain.lower.test_schedules import STEPS, a_job, a_model, by_hand

optim = torch.optim
Attach = Callable[[Any], Any]


class Setting(schedulers.LRScheduler):
    """Leaves rates as they are, and gives an option one value after another, as a schedule of weight decay does."""

    def __init__(self, optimizer: Any, name: str, values: Sequence[Any]) -> None:
        self.name, self.values = name, values
        super().__init__(optimizer)

    def get_lr(self) -> list[Any]:
        for group in self.optimizer.param_groups:
            group[self.name] = self.values[self.last_epoch % len(self.values)]
        return list(self.base_lrs)


def setting(name: str, *values: Any) -> Attach:
    return lambda optimizer: Setting(optimizer, name, values)


def one_cycle(optimizer: Any) -> Any:
    return schedulers.OneCycleLR(optimizer, 0.1, STEPS)


def one_cycle_later(optimizer: Any) -> Any:
    first = schedulers.ConstantLR(optimizer, 0.5, 10)
    return schedulers.SequentialLR(optimizer, [first, schedulers.OneCycleLR(optimizer, 0.1, 9)], [3])


def cyclic(optimizer: Any) -> Any:
    return schedulers.CyclicLR(optimizer, 0.01, 0.1, 2)


def making(kind: Any, **options: Any) -> Attach:
    """Two groups with rates of their own."""

    def make(model: Any) -> Any:
        return kind([{"params": model[0].parameters(), "lr": 0.02}, {"params": model[2].parameters()}], **options)

    return make


BY_RULE: dict[str, tuple[Attach, Attach]] = {
    "one cycle, SGD": (making(optim.SGD, lr=0.1, momentum=0.9), one_cycle),
    "one cycle, SGD without momentum": (making(optim.SGD, lr=0.1), one_cycle),  # which it then has
    "one cycle, Nesterov": (making(optim.SGD, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1), one_cycle),
    "one cycle, AdamW": (making(optim.AdamW), one_cycle),
    "one cycle, Adam": (making(optim.Adam, amsgrad=True, weight_decay=0.1), one_cycle),
    "one cycle, NAdam": (making(optim.NAdam), one_cycle),
    "one cycle, Adamax": (making(optim.Adamax), one_cycle),
    "one cycle, RMSprop": (making(optim.RMSprop, momentum=0.5), one_cycle),
    "one cycle, Lion": (making(Lion), one_cycle),
    "one cycle in turn": (making(optim.SGD, lr=0.1, momentum=0.9), one_cycle_later),
    "cyclic, SGD": (making(optim.SGD, lr=0.1, momentum=0.9), cyclic),
    "cyclic, Adam": (making(optim.Adam), cyclic),
    "averaging": (making(optim.Adam), lambda o: SWALR(o, 0.05)),
    "weight decay": (making(optim.AdamW, lr=0.1), setting("weight_decay", 0.0, 0.1, 0.2, 0.4)),
    "both betas": (making(optim.AdamW, lr=0.1), setting("betas", (0.8, 0.99), (0.9, 0.999), (0.5, 0.9))),
    "dampening": (making(optim.SGD, lr=0.1, momentum=0.9), setting("dampening", 0.5, 0.0, 0.2)),
    "rho": (making(optim.Adadelta), setting("rho", 0.9, 0.8, 0.7)),
    "decay of second moments": (making(optim.Adafactor, lr=0.3), setting("beta2_decay", -0.9, -0.8, -0.7)),
    "one of two": (making(optim.Adafactor, lr=0.3), setting("eps", (None, 1e-3), (None, 0.1))),
}
BY_STEP: dict[str, tuple[Attach, Attach]] = {  # torch's own step is recorded: an update is another one at times
    "momentum from 0": (making(optim.SGD, lr=0.1), setting("momentum", 0.0, 0.2, 0.9, 0.0, 0.5)),
    "a beta from 0": (making(optim.Adam), setting("betas", (0.0, 0.99), (0.9, 0.99))),
    "a switch": (making(optim.SGD, lr=0.1, momentum=0.9), setting("nesterov", False, True, True)),
    "a sign": (making(optim.SGD, lr=0.1, momentum=0.9), setting("maximize", False, True, False, False)),
    "no rule": (making(optim.RAdam), one_cycle),
}


def a_scheduled_job(make: Attach, attach: Attach, **changes: Any) -> Job:
    model = a_model()
    optimizer = make(model)
    return a_job(model=model, optimizer=optimizer, schedule=attach(optimizer), **changes)


@pytest.mark.parametrize("name", [*BY_RULE, *BY_STEP])
def test_trains_like_torch_s_own_loop(name: str) -> None:
    make, attach = {**BY_RULE, **BY_STEP}[name]
    job = a_scheduled_job(make, attach)
    assert has_rule(job) == (name in BY_RULE)
    before = [{**group} for group in job.optimizer.param_groups]  # type: ignore[union-attr]
    training = Training(job, executor="torch", threads=1)
    slow, plain = Run(training.task, "reference"), training.plain()
    for run in (training, slow, plain):
        run.run()
    assert training.state_root == slow.state_root
    assert [{**group} for group in job.optimizer.param_groups] == before  # type: ignore[union-attr]
    model = a_model()
    optimizer = make(model)
    wanted = by_hand(job, optimizer, attach(optimizer), model)
    assert training.losses == pytest.approx(wanted, rel=1e-5)
    assert plain.losses == pytest.approx(wanted, rel=1e-6)
    for parameter, want in model.named_parameters():
        got = training.state_dict()[parameter]
        assert torch.allclose(got, want.detach(), rtol=1e-4, atol=1e-5 * float(want.detach().abs().max())), parameter


def test_with_a_validation_set_and_accumulated_gradients() -> None:
    held = {"x": torch.linspace(-1, 2, 20).reshape(5, 4), "y": torch.arange(5) % 3}
    job = a_scheduled_job(making(optim.SGD, lr=0.1, momentum=0.9), one_cycle, validation=held, accumulate=2)
    training = Training(job, executor="torch", threads=1)
    plain = training.plain()
    for run in (training, plain):
        run.run()
    np.testing.assert_allclose(training.losses, plain.losses, rtol=1e-5)
    np.testing.assert_allclose(training.validation["loss"], plain.validation["loss"], rtol=1e-5)


def test_an_option_costs_one_table_and_no_further_nodes_than_a_rate() -> None:
    changing = compile(a_scheduled_job(making(optim.SGD, lr=0.1, momentum=0.9), one_cycle))
    alone = compile(
        a_scheduled_job(
            making(optim.SGD, lr=0.1, momentum=0.9),
            lambda o: schedulers.OneCycleLR(o, 0.1, STEPS, cycle_momentum=False),
        )
    )
    assert len(changing.constants) == len(alone.constants) + 1
    assert len(changing.graph.nodes) <= len(alone.graph.nodes) + 2  # two groups, each looks its momentum up


class Growing(schedulers.LambdaLR):
    """Thaws a layer in its second update, by a further group."""

    def step(self, epoch: Any = None) -> None:
        super().step(epoch)
        if self.last_epoch == 1:
            self.optimizer.add_param_group({"params": [nn.Parameter(torch.ones(1))], "lr": 0.1})


class Marking(schedulers.LambdaLR):
    """Notes something in the groups."""

    def step(self, epoch: Any = None) -> None:
        super().step(epoch)
        if self.last_epoch:
            self.optimizer.param_groups[0]["mark"] = self.last_epoch


class Thawing(schedulers.LambdaLR):
    """Has the model at hand, whose layers it trains one after another."""

    model: nn.Module


def thawing(optimizer: Any) -> Thawing:
    found = Thawing(optimizer, lambda t: 1.0)
    found.model = a_model()
    return found


@pytest.mark.parametrize(
    ("attach", "message"),
    [
        (lambda o: Growing(o, lambda t: 1.0), r"Growing adds to the optimizer's groups in its update 2"),
        (lambda o: Marking(o, lambda t: 1.0), r"Marking adds .*keep what is its own in the scheduler"),
        (thawing, "Thawing holds a model"),
        (setting("momentum", 0.9, float("nan")), "option 'momentum' of the optimizer is nan"),
        (
            lambda o: schedulers.OneCycleLR(o, 0.1, 4),
            r"job at \S+: OneCycleLR after 5 updates: ValueError: Tried to step 5 times",
        ),
    ],
)
def test_a_scheduler_that_changes_more_than_options_is_refused(attach: Attach, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        compile(a_scheduled_job(making(optim.SGD, lr=0.1, momentum=0.9), attach))


def test_too_many_courses_are_refused() -> None:
    options = ("momentum", "weight_decay", "nesterov")

    class Switching(schedulers.LambdaLR):
        def step(self, epoch: Any = None) -> None:
            super().step(epoch)
            for group in self.optimizer.param_groups:
                group.update({name: self.last_epoch >> i & 1 for i, name in enumerate(options)})

    with pytest.raises(Unsupported, match="more than 6 different courses"):
        compile(a_scheduled_job(making(optim.SGD, lr=0.1, momentum=0.9), lambda o: Switching(o, lambda t: 1.0)))
