"""What Python keeps, or draws, outside of tensors: refused by name, with line and remedy, and put back as it was."""

from __future__ import annotations

import copy
import datetime
import functools
import itertools
import os
import random
import re
import time
import uuid
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import offchain
from offchain.errors import Unsupported
from tests.offchain.lower.refused import ROWS, WIDTH, Batch, fields, line, refused, square

SPARE = {"spare": 0}
STEPS = 0
DRAWS = np.random.default_rng(5)
OWN = random.Random(3)
PRIME = 65_521  # never a factor of 0, which would train nothing, and no two near addresses agree


class Model(nn.Module):
    """A linear layer, whose forward pass also does what a test wants, with the module."""

    calls = 0

    def __init__(self, also: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.also = also
        self.n: Any = 0
        self.h: Tensor | None = None
        self.seen: list[Any] = []
        self.turns = itertools.count()
        self.last = deque([0.0, 0.0], maxlen=2)
        self.table = np.zeros(3)

    def forward(self, x: Tensor) -> Tensor:
        return self.also(self, self.linear(x))


# --- what changes from step to step


def _counts(m: Any, y: Tensor) -> Tensor:
    m.n += 1
    return y * min(1.0, m.n / 1000)


def _counts_for_later(m: Any, y: Tensor) -> Tensor:
    m.n = m.n + 1
    return y if m.n < 1000 else y * 0.5


def _toggles(m: Any, y: Tensor) -> Tensor:
    m.n = not m.n
    return y


def _counts_in_the_class(m: Any, y: Tensor) -> Tensor:
    Model.calls += 1
    return y * (2 if Model.calls > 1000 else 1)


def _appends(m: Any, y: Tensor) -> Tensor:
    m.seen.append(1)
    return y * (2 if len(m.seen) > 1000 else 1)


def _takes_turns(m: Any, y: Tensor) -> Tensor:
    return y * (2 if next(m.turns) > 1000 else 1)


def _queues(m: Any, y: Tensor) -> Tensor:
    m.last.append(m.last[-1] + 1)
    return y * (2 if m.last[0] > 1000 else 1)


def _fills_an_array(m: Any, y: Tensor) -> Tensor:
    m.table[0] += 1
    return y * (2 if m.table[0] > 1000 else 1)


def _counts_globally(m: Any, y: Tensor) -> Tensor:
    global STEPS
    STEPS += 1
    return y * (2 if STEPS > 1000 else 1)


def _counts_in_a_global_dictionary(m: Any, y: Tensor) -> Tensor:
    SPARE["spare"] += 1
    return y * (2 if SPARE["spare"] > 1000 else 1)


def _counts_on_itself(m: Any, y: Tensor) -> Tensor:
    itself: Any = _counts_on_itself
    itself.calls = getattr(itself, "calls", 0) + 1
    return y * (2 if itself.calls > 1000 else 1)


def _counts_in_a_default(m: Any, y: Tensor, calls: list[int] = [0]) -> Tensor:  # noqa: B006
    calls[0] += 1
    return y * (2 if calls[0] > 1000 else 1)


CHANGES = [
    (_counts, "attribute 'n' of module 0", 1),
    (_counts_for_later, "attribute 'n' of module 0", 1),
    (_toggles, "attribute 'n' of module 0", 1),
    (_counts_in_the_class, "attribute 'calls' of class Model", 1),
    (_appends, "attribute 'seen' of module 0", 1),
    (_takes_turns, "attribute 'turns' of module 0", 1),
    (_queues, "attribute 'last' of module 0", 1),
    (_fills_an_array, "attribute 'table' of module 0", 1),
    (_counts_globally, "global variable 'STEPS'", 2),
    (_counts_in_a_global_dictionary, "entry 'spare' of global variable 'SPARE'", 1),
    (_counts_on_itself, "attribute 'calls' of attribute 'also' of module 0", 2),
    (_counts_in_a_default, "attribute 'also' of module 0", 1),
]


@pytest.mark.parametrize(("also", "what", "below"), CHANGES, ids=[also.__name__ for also, *_ in CHANGES])
def test_what_changes_in_every_step(also: Any, what: str, below: int) -> None:
    text = refused(model=nn.Sequential(Model(also)))
    if also is _takes_turns:
        assert text.startswith(f"{what} at {line(also, below)}: is drawn from in a step, and every step would"), text
        assert text.endswith("into the dataset, whose rows Job.order chooses")
        return
    assert text.startswith(f"{what} at {line(also, below)}: changes in every step, and every step would use"), text
    assert "a buffer of the model" in text


def test_a_variable_around_the_loss() -> None:
    count = 0

    def loss(model: Any, batch: Batch) -> Tensor:
        nonlocal count
        count += 1
        return square(model, batch) * (1 + count // 1000)

    assert refused(loss=loss).startswith(f"variable 'count' at {line(loss, 2)}: changes in every step")
    assert count == 0


def test_a_metric_and_an_order_that_count() -> None:
    seen: list[int] = []

    def metric(model: Any, batch: Batch) -> Tensor:
        seen.append(len(seen))
        return batch["x"].sum() + len(seen) // 1000

    def order(t: Tensor) -> Tensor:
        seen.append(0)
        return torch.arange(2, dtype=torch.int32) + len(seen) // 1000

    assert refused(metrics={"m": metric}).startswith(f"variable 'seen' at {line(metric, 1)}: changes")
    assert refused(order=order).startswith(f"variable 'seen' at {line(order, 1)}: changes")
    assert seen == []


# --- random numbers, clocks

URANDOM = "random bytes of the system (os.urandom)"
DRAWN = [
    (lambda m, y: y * random.random(), "Python's random numbers", "torch.rand"),
    (lambda m, y: y if random.random() < 0.5 else -y, "Python's random numbers", "torch.rand"),
    (lambda m, y: y if random.choice([True, True]) else -y, "Python's random numbers", "torch.rand"),
    (lambda m, y: y if np.random.beta(2, 2) < 2 else -y, "NumPy's random numbers", "torch.rand"),
    (lambda m, y: y if DRAWS.random() < 2 else -y, "global variable 'DRAWS'", "torch.rand"),
    (lambda m, y: y if OWN.random() < 2 else -y, "global variable 'OWN'", "torch.rand"),
    (lambda m, y: y if np.random.default_rng().random() < 2 else -y, URANDOM, "torch.rand"),
    (lambda m, y: y if random.Random().random() < 2 else -y, "a random generator without a seed", "torch.rand"),
    (lambda m, y: y if os.urandom(1) else -y, URANDOM, "torch.rand"),
    (lambda m, y: y if uuid.uuid4() else -y, URANDOM, "torch.rand"),
    (lambda m, y: y if time.time() > 0 else -y, "the clock (time.time)", "buffer"),
    (lambda m, y: y if time.perf_counter_ns() > 0 else -y, "the clock (time.perf_counter_ns)", "buffer"),
    (lambda m, y: y if datetime.datetime.now().year > 0 else -y, "the clock (datetime.now)", "buffer"),
    (lambda m, y: y if datetime.date.today().year > 0 else -y, "the clock (date.today)", "buffer"),
]


@pytest.mark.parametrize(("also", "what", "remedy"), DRAWN)
def test_what_is_drawn_or_read_from_a_clock(also: Any, what: str, remedy: str) -> None:
    before = random.getstate(), np.random.get_state(legacy=False)["state"]["pos"], DRAWS.bit_generator.state
    text = refused(model=nn.Sequential(Model(also)))
    assert text.startswith(f"{what} at {line(also)}: "), text
    assert remedy in text
    assert before == (random.getstate(), np.random.get_state(legacy=False)["state"]["pos"], DRAWS.bit_generator.state)


def test_a_seed_that_is_set_in_a_step() -> None:
    def loss(model: Any, batch: Batch) -> Tensor:
        torch.manual_seed(0)
        return square(model, batch) + torch.rand(())

    text = refused(loss=loss)
    assert text.startswith(f"torch's random seed at {line(loss, 1)}: set in a step; leave it out: numbers come from")


# --- tensors that are kept


def _recurs(m: Any, y: Tensor) -> Tensor:
    before = torch.zeros(WIDTH) if m.h is None else m.h
    y = y + before
    m.h = y.mean(0).detach()
    return y


def test_a_tensor_that_is_kept_for_the_next_step() -> None:
    model = nn.Sequential(Model(_recurs))
    text = refused(model=model)
    what = "reads a tensor that attribute 'h' of module 0 keeps from the step before; keep it in a buffer of the model"
    assert text.startswith(f"aten.add.Tensor in module 0 at {line(_recurs, 2)}: {what}"), text
    assert model[0].h is None


def _writes(m: Any, y: Tensor) -> Tensor:
    m.h = y.detach()
    return y


def _logs_an_average(m: Any, y: Tensor) -> Tensor:
    m.h = y.detach().mean() if m.h is None else 0.9 * m.h + 0.1 * y.detach().mean()
    return y


def _makes_a_mask_once(m: Any, y: Tensor) -> Tensor:
    if m.h is None:
        m.h = torch.ones(WIDTH, WIDTH).tril() * 0.5
        m.n = WIDTH
    return y @ m.h


@functools.cache
def _mask(size: int) -> Tensor:
    return torch.ones(size, size).tril() * 0.5


@pytest.mark.parametrize(
    "also",
    [_writes, _logs_an_average, _makes_a_mask_once, lambda m, y: y @ _mask(WIDTH)],
    ids=["h", "ema", "mask", "cache"],
)
def test_what_no_later_step_reads_or_what_is_constant_may_be_kept(also: Any) -> None:
    model = nn.Sequential(Model(also))
    before = dict(vars(model[0]))
    training = offchain.compile(**fields(model=model), executor="reference")
    assert vars(model[0]) == before
    assert _mask.cache_info().currsize == 0
    plain = training.plain()
    training.run()
    plain.run()
    np.testing.assert_allclose(training.losses, plain.losses, rtol=1e-5)
    _mask.cache_clear()


# --- what differs for no reason that is known


def test_a_difference_without_a_known_cause() -> None:
    hidden = iter(map(float, itertools.count(1)))

    class Hiding:
        __slots__ = ()

        def __getattr__(self, name: str) -> float:
            return next(hidden)

    hiding = Hiding()
    loss = lambda m, b: square(m, b) * hiding.value  # noqa: E731
    text = refused(loss=loss)
    assert "differs" in text or "changes" in text or "is drawn from" in text
    assert line(loss) in text or __file__ in text


def _numbers_an_object(m: Any, y: Tensor) -> Tensor:
    made = object()
    return y * (1 + id(made) % PRIME)


@pytest.mark.parametrize(
    "also",
    [
        _numbers_an_object,
        lambda m, y: y * (1 + id(object()) % PRIME),
        lambda m, y: y * (1 + hash(object()) % PRIME),
    ],
    ids=["id", "id of nothing kept", "hash"],
)
def test_the_address_of_an_object_that_a_step_makes(also: Any) -> None:
    text = refused(model=nn.Sequential(Model(also)))
    assert re.match(
        rf"aten\.mul\.\w+ in module 0 at {re.escape(__file__)}:\d+: differs when the step is traced", text
    ), text


def test_addresses_may_be_keys() -> None:
    table = {id(SPARE): 2.0}

    def loss(model: Any, batch: Batch) -> Tensor:
        seen = {id(batch["x"]): 3.0, id(model): 0.5}
        return square(model, batch) * table[id(SPARE)] * seen[id(batch["x"])] * seen[id(model)]

    agree(nn.Linear(WIDTH, WIDTH), loss=loss, dataset={"x": torch.randn(ROWS, WIDTH)})


# --- the remedies


def agree(model: nn.Module, **changes: Any) -> None:
    """The task's losses are those of plain torch."""
    training = offchain.compile(**fields(model=model, **changes), executor="reference")
    plain = training.plain()
    training.run()
    plain.run()
    np.testing.assert_allclose(training.losses, plain.losses, rtol=1e-5)
    assert len(set(training.losses)) == len(training.losses)


class Counting(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("n", torch.zeros(()))
        self.register_buffer("h", torch.zeros(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        self.n += 1
        y = self.linear(x) * (self.n / 3).clamp(max=1.0) + self.h
        self.h.copy_(y.mean(0).detach())
        return y


def test_the_remedies_of_a_counter_and_of_a_kept_tensor() -> None:
    agree(Counting())


def test_the_remedies_of_random_numbers() -> None:
    agree(nn.Linear(WIDTH, WIDTH), loss=lambda m, b: square(m, b) * torch.rand(()))
    agree(
        nn.Linear(WIDTH, WIDTH),
        loss=lambda m, b: square(m, b) * torch.where(torch.rand(()) < 0.5, 2.0, 1.0 + b["x"].mean()),
    )
    column = torch.from_numpy(np.random.default_rng(0).beta(0.4, 0.4, ROWS)).float()
    data = {"x": torch.randn(ROWS, WIDTH), "by": column}
    agree(nn.Linear(WIDTH, WIDTH), dataset=data, loss=lambda m, b: (square(m, b) * b["by"]).mean())


# --- the model stays as it was


def test_the_model_is_left_as_it_was_whatever_happens() -> None:
    class Fails(Model):
        def forward(self, x: Tensor) -> Tensor:
            self.h = self.linear(x)
            self.new = self.h * 2
            self.n, self.last[0] = 5, 7.0
            self.seen.append(self.h)
            self.eval()
            raise ValueError("of my own")

    model = Fails(_writes)
    before, parts = dict(vars(model)), copy.deepcopy((model.seen, model.last))
    with pytest.raises(offchain.errors.BadInput, match="of my own"):
        offchain.compile(**fields(model=model))
    assert vars(model) == before
    assert (model.seen, model.last) == parts
    assert F.mse_loss(model.linear(torch.ones(1, WIDTH)), torch.zeros(1, WIDTH)).requires_grad


def test_hooks_that_keep_what_they_see() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU())
    model[0].register_forward_hook(lambda module, given, result: setattr(module, "act", result))

    def loss(m: Any, b: Batch) -> Tensor:
        return m(b["x"]).square().mean() + 1e-3 * m[0].act.abs().mean()

    agree(model, loss=loss, dataset={"x": torch.randn(ROWS, WIDTH)})


def test_unsupported_is_what_is_raised() -> None:
    with pytest.raises(Unsupported):
        offchain.compile(**fields(model=nn.Sequential(Model(_counts))))
