"""What each step leaves to later ones where two steps look alike: queues, orders, counts in C, the optimizer's own."""

from __future__ import annotations

import functools
import itertools
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.optim.lr_scheduler import StepLR

from offchain.job import Job
from offchain.training import Training
from tests.offchain.lower.refused import WIDTH, Batch, fields, line, network, refused, square

KEEP = "keep it in a buffer of the model (self.register_buffer), and write that with .copy_()"
SIZE = (2, WIDTH)


class Model(nn.Module):
    """A linear layer, then what a test wants of the module and its output."""

    def __init__(self, also: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear, self.also = nn.Linear(WIDTH, WIDTH), also
        self.before, self.last = torch.zeros(SIZE), torch.zeros(SIZE)
        self.mean, self.next = torch.zeros(()), torch.zeros(())
        self.queue = deque([torch.zeros(SIZE) for _ in range(3)], maxlen=3)
        self.masks = [torch.ones(WIDTH), torch.ones(WIDTH), torch.zeros(WIDTH)]
        self.layers = [self.linear, self.linear, nn.Linear(WIDTH, WIDTH)]

    def forward(self, x: Tensor) -> Tensor:
        return self.also(self, self.linear(x))


def _two_steps_ago(m: Any, y: Tensor) -> Tensor:
    made = y + 0.5 * m.before
    m.before, m.last = m.last, y.detach()
    return made


def _a_copy_of_two_steps_ago(m: Any, y: Tensor) -> Tensor:
    made = y + 0.5 * m.before
    m.before, m.last = m.last * 1.0, y.detach()
    return made


def _queues(m: Any, y: Tensor) -> Tensor:
    made = y + 0.5 * m.queue[0]
    m.queue.append(y.detach())
    return made


def _turns_masks(m: Any, y: Tensor) -> Tensor:
    made = y * m.masks[0]
    m.masks.append(m.masks.pop(0))
    return made


def _looks_at_two_steps_ago(m: Any, y: Tensor) -> Tensor:
    made = y * (2.0 if float(m.mean) else 1.0)
    m.mean, m.next = m.next, y.detach().mean()
    return made


DELAYED = [
    (_two_steps_ago, "attribute 'before' of module 0"),
    (_a_copy_of_two_steps_ago, "attribute 'before' of module 0"),
    (_queues, "attribute 'queue' of module 0"),
    (_turns_masks, "attribute 'masks' of module 0"),
    (_looks_at_two_steps_ago, "attribute 'mean' of module 0"),
]


@pytest.mark.parametrize(("also", "what"), DELAYED, ids=[also.__name__ for also, _ in DELAYED])
def test_a_tensor_that_later_steps_find_in_the_place_of_one_that_is_read(also: Any, what: str) -> None:
    text = refused(model=nn.Sequential(Model(also)))
    assert f" in module 0 at {line(also, 1)}: reads a tensor of {what}, where each step leaves another; {KEEP}" in text


def test_layers_that_take_turns() -> None:
    def turns(m: Any, y: Tensor) -> Tensor:
        m.layers.append(m.layers.pop(0))
        return m.layers[0](y)

    assert refused(model=nn.Sequential(Model(turns))).startswith("attribute 'layers' of module 0 at ")


class Remembers(nn.Module):
    """The remedy of the first two, in a buffer each."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("before", torch.zeros(SIZE))
        self.register_buffer("last", torch.zeros(SIZE))

    def forward(self, x: Tensor) -> Tensor:
        y = self.linear(x)
        made = y + 0.5 * self.before
        self.before.copy_(self.last)
        self.last.copy_(y.detach())
        return made


def _job(**changes: Any) -> Job:
    return Job(**fields(**changes))


def test_the_remedy_of_what_is_kept_for_two_steps() -> None:
    kept, model = Model(_two_steps_ago), Remembers()
    model.linear.load_state_dict(kept.linear.state_dict())
    training = Training(_job(model=model), executor="torch", threads=1)
    training.run()
    optimizer = torch.optim.SGD(kept.parameters(), lr=0.1)
    for _ in range(4):
        optimizer.zero_grad()
        square(kept, {"x": torch.ones(SIZE)}).backward()
        optimizer.step()
    torch.testing.assert_close(training.state_dict()["linear.weight"], kept.linear.weight.detach())


def test_what_moves_and_is_never_read() -> None:
    def logs(m: Any, y: Tensor) -> Tensor:
        m.before, m.last = m.last, y.detach()
        return y

    Training(_job(model=nn.Sequential(Model(logs))), executor="torch", threads=1)


# --- objects of which two steps see the same number


def _ordered(kind: Any) -> Callable[[], float]:
    values = kind(a=1.0, b=1.0, c=2.0)

    def first() -> float:
        name = next(iter(values))
        value: float = values.pop(name)
        values[name] = value
        return value

    return first


TICK, DRAW = itertools.count().__next__, random.Random(5).random
POP, TAKE = deque([1.0] * 9 + [2.0] * 99).popleft, ([2.0] * 99 + [1.0] * 9).pop


@functools.cache
def _cached() -> float:
    return 1.0


def _hits() -> float:
    _cached()
    return 2.0 if _cached.cache_info().hits > 99 else 1.0


FAR: list[tuple[Callable[[], float], str]] = [
    (_ordered(dict), "variable 'values' at "),
    (_ordered(OrderedDict), "variable 'values' at "),
    (lambda: 2.0 if TICK() > 99 else 1.0, "global variable 'TICK' at "),
    (lambda: 2.0 if DRAW() < 0.001 else 1.0, "global variable 'DRAW' at "),
    (lambda: POP(), "global variable 'POP' at "),
    (lambda: TAKE(), "global variable 'TAKE' at "),
    (_hits, "the cache of _cached at "),
    (lambda: 1.0 + (torch.Generator().seed() < 0), "random bytes of the system (torch.Generator.seed) at "),
]


@pytest.mark.parametrize(("number", "what"), FAR)
def test_what_a_later_step_finds_otherwise(number: Callable[[], float], what: str) -> None:
    assert refused(loss=lambda m, b: square(m, b) * number()).startswith(what)


# --- what the optimizer keeps


def test_the_optimizer_and_its_scheduler_are_not_read() -> None:
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    scheduler = StepLR(optimizer, 2)
    reads: list[tuple[Callable[[], float], str]] = [
        (lambda: optimizer.param_groups[0]["lr"], "optimizer (param_groups)"),
        (lambda: float(len(optimizer.state)), "optimizer (state)"),
        (lambda: scheduler.get_last_lr()[0], "scheduler (get_last_lr)"),
        (lambda: float(scheduler.last_epoch), "scheduler (last_epoch)"),
    ]
    for read, what in reads:
        loss = lambda m, b, read=read: square(m, b) * (1.0 + read())  # noqa: E731
        text = refused(model=model, optimizer=optimizer, schedule=scheduler, loss=loss)
        assert text.startswith(f"the job's {what} at {line(read)}: differs from step to step"), text
        assert type(optimizer) is torch.optim.SGD and type(scheduler) is StepLR


def test_an_optimizer_that_nobody_reads_may_be_kept() -> None:
    model: Any = network()
    model.optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    Training(_job(model=model, optimizer=model.optimizer), executor="torch", threads=1)


def test_gradients_of_the_steps_before() -> None:
    def reads(model: Any, batch: Batch) -> Tensor:
        return square(model, batch) * (1.0 if model[0].weight.grad is None else 2.0)

    def clears(model: Any, batch: Batch) -> Tensor:
        model.zero_grad()
        return square(model, batch)

    for loss in (reads, clears):
        text = refused(loss=loss, accumulate=2)
        assert f"at {line(loss, 1)}: the gradient of the steps before is read or cleared" in text
        Training(_job(loss=loss), executor="torch", threads=1)  # there is none of a step before


def test_parameters_say_that_they_are_some() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        assert isinstance(model[0].weight, nn.Parameter)
        return square(model, batch)

    training = Training(_job(loss=loss), executor="torch", threads=1)
    training.plain().run()


class Averaged(nn.Module):
    """As MoCo and BYOL write it: the target follows by `.data`."""

    def __init__(self) -> None:
        super().__init__()
        self.online, self.target = nn.Linear(WIDTH, 2), nn.Linear(WIDTH, 2).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        for p, q in zip(self.online.parameters(), self.target.parameters(), strict=True):
            q.data = q.data * 0.9 + p.data * 0.1
        return F.mse_loss(self.online(x), self.target(x + 1))


def test_a_frozen_parameter_may_be_replaced() -> None:
    job = _job(model=Averaged(), loss=lambda m, b: m(b["x"]))
    training = Training(job, executor="torch", threads=1)
    plain = training.plain()
    for run in (training, plain):
        run.run()
    for name, want in plain.parameters.items():
        torch.testing.assert_close(training.state_dict()[name], want)
