"""Random side effects of a loss in Python: refused, or the task trains as plain torch does. Never silently frozen."""

from __future__ import annotations

import ctypes
import inspect
import itertools
import math
import os
import random
import secrets
import threading
import time
from array import array
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import offchain
from offchain.errors import Unsupported
from tests.offchain.lower.refused import WIDTH, Batch, fields
from tests.support.draws import examples


@dataclass
class Memory:
    """What a loss keeps between steps, in all kinds of places."""

    n: int = 0
    items: list[Any] = field(default_factory=list)
    table: dict[str, Any] = field(default_factory=dict)
    kept: Tensor | None = None
    draws: random.Random = field(default_factory=lambda: random.Random(1))
    own: np.random.Generator = field(default_factory=lambda: np.random.default_rng(1))
    words: array[int] = field(default_factory=lambda: array("i", [0]))
    bytes: bytearray = field(default_factory=lambda: bytearray(1))
    numbers: np.ndarray[Any, Any] = field(default_factory=lambda: np.zeros(1))
    machine: ctypes.c_int = field(default_factory=ctypes.c_int)
    context: ContextVar[int] = field(default_factory=lambda: ContextVar("n", default=0))
    thread: threading.local = field(default_factory=threading.local)
    space: SimpleNamespace = field(default_factory=lambda: SimpleNamespace(n=0))
    kind: Any = field(default_factory=lambda: type("Kind", (), {"n": 0}))
    turns: Iterator[int] = field(default_factory=itertools.count)
    letters: Iterator[int] = field(default_factory=lambda: (n for n in range(99)))
    queue: deque[int] = field(default_factory=lambda: deque([0], maxlen=1))
    members: set[int] = field(default_factory=set)
    grouped: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def content(self) -> tuple[Any, ...]:
        """Everything in it that a count moves."""
        numbers = self.n, self.machine.value, self.space.n, self.words[0], self.bytes[0], self.numbers[0], self.queue[0]
        objects = dict(vars(self.thread)), dict(self.grouped), dict(self.table), list(self.items), set(self.members)
        drawn = self.draws.getstate(), self.own.bit_generator.state["state"]
        kept = {name: value for name, value in vars(self.kind).items() if name[:2] != "__"}
        return (
            numbers,
            objects,
            drawn,
            kept,
            self.kept,
            repr(self.turns),
            os.environ.get(COUNTED),
            vars(math).get(COUNTED),
        )


COUNTED = "OFFCHAIN_TEST_COUNTED"
Effect = Callable[[Memory, Tensor], Any]  # gives a number or a scalar tensor


def _counts(m: Memory, y: Tensor) -> int:
    m.n += 1
    return m.n


def _lags(m: Memory, y: Tensor) -> int:
    """Differs in the first step only."""
    before, m.n = m.n, 1
    return before


def _settles(m: Memory, y: Tensor) -> int:
    m.n = max(m.n, 1)
    return m.n


def _appends(m: Memory, y: Tensor) -> int:
    m.items.append(y.detach())
    return len(m.items)


def _replaces(m: Memory, y: Tensor) -> int:
    m.items[:] = [y.detach()]
    return len(m.items)


def _enters(m: Memory, y: Tensor) -> int:
    m.table["calls"] = m.table.get("calls", 0) + 1
    return len(m.table)


def _remembers(m: Memory, y: Tensor) -> Tensor:
    before = torch.zeros(()) if m.kept is None else m.kept
    m.kept = y.detach()
    return before


def _makes_once(m: Memory, y: Tensor) -> Tensor:
    if m.kept is None:
        m.kept = torch.ones(()) * 0.5
    return m.kept


def _starts_with_data(m: Memory, y: Tensor) -> Tensor:
    if m.kept is None:
        m.kept = y.detach()
    return m.kept


def _stores(m: Memory, y: Tensor) -> Tensor:
    m.kept = y.detach()
    return m.kept


def _counts_in(place: str) -> Effect:
    """Adds 1 to the attribute or the entry of a part of the memory, and gives the sum."""
    part, _, name = place.partition(".")

    def counts(m: Memory, y: Tensor) -> int:
        holder: Any = getattr(m, part)
        if name:
            setattr(holder, name, getattr(holder, name, 0) + 1)
            return int(getattr(holder, name))
        key: Any = "n" if part in ("table", "grouped") else 0
        holder[key] = (holder[key] if part != "table" else holder.get(key, 0)) + 1
        return int(holder[key])

    return counts


def _counts_in_the_environment(m: Memory, y: Tensor) -> int:
    os.environ[COUNTED] = str(int(os.environ.get(COUNTED, 0)) + 1)
    return int(os.environ[COUNTED])


def _counts_in_a_module(m: Memory, y: Tensor) -> int:
    math.OFFCHAIN_TEST_COUNTED = getattr(math, COUNTED, 0) + 1  # type: ignore[attr-defined]
    return int(getattr(math, COUNTED))


def _counts_in_a_context(m: Memory, y: Tensor) -> int:
    m.context.set(m.context.get() + 1)
    return m.context.get()


def _adds_to_a_set(m: Memory, y: Tensor) -> int:
    m.members.add(len(m.members))
    return len(m.members)


def _moves_on(m: Memory, y: Tensor) -> int:
    return next(m.turns)


def _moves_a_generator(m: Memory, y: Tensor) -> int:
    try:
        return next(m.letters)
    except Exception:
        return 0


def _catches_a_refusal(m: Memory, y: Tensor) -> float:
    try:
        return 3.0 if y.item() > 0 else 2.0
    except Exception:
        return 0.5


def _orders_new_objects(m: Memory, y: Tensor) -> float:
    first, second = object(), object()
    return 3.0 if next(iter({first, second})) is second else 0.0


PLACES = ("table", "grouped", "words", "bytes", "numbers", "queue", "machine.value", "thread.n", "space.n", "kind.n")


EFFECTS: dict[str, Effect] = {
    **{f.__name__: f for f in (_counts, _lags, _settles, _appends, _replaces, _enters)},
    **{f.__name__: f for f in (_remembers, _makes_once, _starts_with_data, _stores)},
    **{f.__name__: f for f in (_counts_in_the_environment, _counts_in_a_module, _counts_in_a_context, _adds_to_a_set)},
    **{f.__name__: f for f in (_moves_on, _moves_a_generator, _catches_a_refusal, _orders_new_objects)},
    **{f"counts in {place}": _counts_in(place) for place in (*PLACES, "kind.new", "space.new")},
    "own of NumPy": lambda m, y: float(m.own.random()),
    "secrets": lambda m, y: secrets.randbelow(97) / 97,
    "random": lambda m, y: random.random(),
    "numpy": lambda m, y: float(np.random.rand()),
    "own": lambda m, y: m.draws.random(),
    "seeded": lambda m, y: random.Random(7).random(),
    "clock": lambda m, y: time.time() % 1,
    "address": lambda m, y: id([]) % 97 / 97,
    "torch": lambda m, y: torch.rand(()),
    "tracer": lambda m, y: float(torch.compiler.is_compiling()),
    "version": lambda m, y: y._version,
    "stack": lambda m, y: len(inspect.stack()),
    "disk": lambda m, y: os.stat(__file__).st_mtime % 1,
}
USES: dict[str, Callable[[Any], Any]] = {
    "scales": lambda value: 1 + 0.1 * value,
    "branches": lambda value: 2.0 if not isinstance(value, Tensor) and value > 2.5 else 1.0,
    "is dropped": lambda value: 1.0,
}
CERTAIN = {"_settles", "_replaces", "_makes_once", "_stores", "seeded", "torch", "tracer"}  # alike in every step


WHERE = ("loss", "metric", "hook", "order")
CHOSEN = st.tuples(st.sampled_from(sorted(EFFECTS)), st.sampled_from(sorted(USES)), st.sampled_from(WHERE))


def job_with(chosen: list[tuple[str, str, str]], memories: list[Memory]) -> dict[str, Any]:
    """A job whose loss, metric, hook and order do these things, each with a memory of its own."""

    def done(where: str, y: Tensor) -> Any:
        total: Any = 1.0
        for memory, (effect, use, place) in zip(memories, chosen, strict=True):
            if place == where:
                total = total * USES[use](EFFECTS[effect](memory, y))
        return total

    def loss(model: Any, batch: Batch) -> Tensor:
        y = model(batch["x"]).square().mean()
        return y * done("loss", y)

    def metric(model: Any, batch: Batch) -> Tensor:
        y = batch["x"].sum()
        return y * done("metric", y)

    def order(t: Tensor) -> Tensor:
        scale = torch.as_tensor(done("order", t.float()), dtype=torch.float32)
        return (torch.arange(2, dtype=torch.int32) + 2 * t + (scale.detach() * 8).to(torch.int32)) % 8

    torch.manual_seed(0)
    model = nn.Linear(WIDTH, WIDTH)
    model.register_forward_hook(lambda module, given, result: result * done("hook", result.mean()))
    return fields(model=model, loss=loss, metrics={"m": metric}, order=order, dataset={"x": torch.randn(8, WIDTH)})


@given(st.lists(CHOSEN, min_size=1, max_size=3))
@example([("_counts", "branches", "loss")])
@example([("_remembers", "scales", "loss")])
@example([("_makes_once", "scales", "loss"), ("_stores", "is dropped", "metric")])
@example([("_moves_a_generator", "branches", "order")])
@example([("counts in kind.new", "branches", "hook")])
@example([("_catches_a_refusal", "scales", "metric")])
@settings(max_examples=examples(20), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_side_effect_is_silently_frozen(chosen: list[tuple[str, str, str]]) -> None:
    memories = [Memory() for _ in chosen]
    before = [memory.content() for memory in memories]
    given_fields = job_with(chosen, memories)
    training, refusal = None, ""
    try:
        training = offchain.compile(**given_fields, executor="torch")
    except Unsupported as error:
        refusal = str(error)
    assert training or f" at {__file__}:" in refusal
    assert training or not all(effect in CERTAIN for effect, *_ in chosen), refusal
    assert [memory.content() for memory in memories] == before
    if training is not None:
        plain = training.plain()
        try:
            training.run()
            plain.run()
        finally:
            os.environ.pop(COUNTED, None)
            vars(math).pop(COUNTED, None)
        for name, values in training.metrics.items():
            np.testing.assert_allclose(values, plain.metrics[name], rtol=1e-4)


@pytest.mark.parametrize("effect", sorted(EFFECTS))
def test_each_effect(effect: str) -> None:
    """As above, one by one: what a count does late is the most easily missed."""
    test_no_side_effect_is_silently_frozen.hypothesis.inner_test([(effect, "branches", "loss")])


def test_a_large_array_is_known_by_its_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offchain.lower.host.kinds.COPIED", 8)
    table = np.zeros(4)

    def loss(model: Any, batch: Batch) -> Tensor:
        table[0] += 1
        return model(batch["x"]).square().mean()

    rows = {"x": torch.ones(8, WIDTH)}
    with pytest.raises(Unsupported, match=r"variable 'table' at \S+: changes in every step"):
        offchain.compile(**fields(model=nn.Linear(WIDTH, WIDTH), loss=loss, dataset=rows), executor="torch")
    assert table[0] > 0  # a copy would be too large to put back, as `kept` says
