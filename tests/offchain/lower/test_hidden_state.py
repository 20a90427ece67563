"""State of a job where few look for it: beside a list, in slots, in caches, in functions, in files. Found all the same,
although it shows only after more steps than a build runs."""

from __future__ import annotations

import collections
import contextvars
import datetime
import decimal
import functools
import importlib
import logging
import sys
import types
from collections.abc import Callable, Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.offchain.lower.hidden import LATE, Number, built, check_found, late, registers
from tests.offchain.lower.refused import Batch, refused, square

MAKERS: dict[str, Callable[[], Number]] = {}
hidden = registers(MAKERS)


class Table(dict[str, int]):
    n = 0


class Array(np.ndarray[Any, Any]):
    n = 0


class Whole(int):
    n = 0


class Based:
    __slots__ = ("n",)


class Slotted(Based):
    """Has slots and attributes."""


class Private:
    __slots__ = ("__n",)

    def __init__(self) -> None:
        self.__n = 0

    def count(self) -> int:
        self.__n += 1
        return self.__n


class Dunder:
    __count__ = 0


class Counting(type):
    made = 0


class Made(metaclass=Counting):
    """Its class's class has the number."""


class Described:
    """A descriptor."""

    def __init__(self) -> None:
        self.calls = {"n": 0}

    def __get__(self, owner: Any, kind: Any = None) -> int:
        self.calls["n"] += 1
        return self.calls["n"]


class Owner:
    n = Described()


class Stage(IntEnum):
    WARM = 1


class Handler(logging.Handler):
    n = 0

    def emit(self, record: Any) -> None:
        self.n += 1


@hidden
def attribute_of_a_dict() -> Number:
    return _counting(Table())


@hidden
def attribute_of_an_array() -> Number:
    return _counting(np.zeros(1).view(Array))


@hidden
def attribute_of_a_number() -> Number:
    return _counting(Whole(3))


@hidden
def attribute_of_an_enum() -> Number:
    Stage.WARM.n = 0  # type: ignore[attr-defined]
    return _counting(Stage.WARM)


@hidden
def slot_beside_attributes() -> Number:
    made: Any = Slotted()
    made.n = 0
    return _counting(made)


def _counting(thing: Any) -> Number:
    def number() -> float:
        thing.n += 1
        return late(thing.n)

    return number


@hidden
def private_slot() -> Number:
    made = Private()
    return lambda: late(made.count())


@hidden
def dunder_of_a_class() -> Number:
    def number() -> float:
        Dunder.__count__ += 1
        return late(Dunder.__count__)

    return number


@hidden
def attribute_of_a_metaclass() -> Number:
    def number() -> float:
        type(Made).made += 1
        return late(Counting.made)

    return number


@hidden
def descriptor() -> Number:
    owner = Owner()
    return lambda: late(owner.n)


@hidden
def coroutine() -> Number:
    @types.coroutine
    def gives(n: int) -> Iterator[int]:
        yield n

    async def counts() -> None:
        n = 0
        while True:
            n += 1
            await gives(n)

    made = counts()
    return lambda: late(made.send(None))


@hidden
def variable_of_another_context() -> Number:
    context, variable = contextvars.copy_context(), contextvars.ContextVar("n", default=0)
    context.run(variable.set, 0)

    def counts() -> int:
        variable.set(variable.get() + 1)
        return variable.get()

    return lambda: late(context.run(counts))


@hidden
def handler_of_a_log() -> Number:
    handler, log = Handler(), logging.getLogger("offchain.test.hidden")
    log.handlers, log.propagate = [handler], False
    log.setLevel(logging.INFO)

    def number() -> float:
        log.info("step")
        return late(handler.n)

    return number


@hidden
def what_a_cache_remembers() -> Number:
    @functools.cache
    def state() -> dict[str, int]:
        return {"n": 0}

    return _entry(state)


@hidden
def what_a_bounded_cache_remembers() -> Number:
    @functools.lru_cache(maxsize=4)
    def state() -> dict[str, int]:
        return {"n": 0}

    return _entry(state)


def _entry(state: Callable[[], dict[str, int]]) -> Number:
    def number() -> float:
        state()["n"] += 1
        return late(state()["n"])

    return number


@hidden
def decimal_number() -> Number:
    return _added(decimal.Decimal(0), decimal.Decimal(1), decimal.Decimal(LATE))


@hidden
def date() -> Number:
    first = datetime.date(2020, 1, 1)
    return _added(first, datetime.timedelta(days=1), first + datetime.timedelta(days=LATE))


def _added(first: Any, step: Any, last: Any) -> Number:
    state = {"n": first}

    def number() -> float:
        state["n"] += step
        return 3.0 if state["n"] > last else 1.0

    return number


@hidden
def functions_in_a_queue() -> Number:
    turns = collections.deque([lambda: 1.0] * LATE + [lambda: 3.0])

    def number() -> float:
        turns.rotate(-1)
        return turns[-1]()

    return number


@hidden
def methods_in_a_list() -> Number:
    turns = ["a".upper] * LATE + ["b".lower]

    def number() -> float:
        turns.append(turns.pop(0))
        return 1.0 if turns[-1]() == "A" else 3.0

    return number


@hidden
def partial() -> Number:
    state = [functools.partial(late, 0)]

    def number() -> float:
        state[0] = functools.partial(late, state[0].args[0] + 1)
        return state[0]()

    return number


@hidden
def defaults_of_a_function() -> Number:
    def helper(n: int = 0) -> int:
        return n

    def number() -> float:
        helper.__defaults__ = ((helper.__defaults__ or (0,))[0] + 1,)
        return late(helper())

    return number


STATE = {"n": 0}


@hidden
def global_variable_by_its_text() -> Number:
    def number() -> float:
        globals()["STATE"]["n"] += 1
        return late(globals()["STATE"]["n"])

    return number


@hidden
def evaluated_text() -> Number:
    def number() -> float:
        exec("STATE['n'] += 1")
        return late(eval("STATE['n']"))

    return number


@hidden
def object_in_an_array() -> Number:
    array = np.array([[None]], dtype=object)
    array[0, 0] = {"n": 0}

    def number() -> float:
        array[0, 0]["n"] += 1
        return late(array[0, 0]["n"])

    return number


@pytest.mark.parametrize("name", MAKERS)
def test_hidden_state_is_found(name: str) -> None:
    check_found(MAKERS[name]())


def test_state_in_a_module_of_a_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hidden_package").mkdir()
    (tmp_path / "hidden_package" / "config.py").write_text("STATE = {'n': 0}\n")
    (tmp_path / "hidden_package" / "__init__.py").write_text("from . import config\n")
    monkeypatch.syspath_prepend(tmp_path)
    package = importlib.import_module("hidden_package")

    def by_attributes(model: Any, batch: Batch) -> Tensor:
        package.config.STATE["n"] += 1
        return square(model, batch) * late(package.config.STATE["n"])

    def by_name(model: Any, batch: Batch) -> Tensor:
        config = importlib.import_module("hidden_package.config")
        config.STATE["n"] += 1
        return square(model, batch) * late(config.STATE["n"])

    for loss in (by_attributes, by_name):
        text = refused(loss=loss)
        assert text.startswith("entry 'n' of attribute 'STATE' of module hidden_package.config at "), text
        assert package.config.STATE == {"n": 0}
    del sys.modules["hidden_package"]


def test_a_cache_that_was_filled_before_stays() -> None:
    @functools.cache
    def table() -> Tensor:
        return torch.linspace(0, 1, 4)

    before = table()
    built(lambda m, b: square(m, {"x": b["x"] * table()}))
    assert table() is before


def test_functions_that_a_step_makes_anew_may_be_kept() -> None:
    kept: dict[str, Any] = {}

    def loss(model: Any, batch: Batch) -> Tensor:
        y = model(batch["x"])
        kept["hook"] = lambda gradient: gradient * y.detach()
        kept["method"], kept["kind"] = y.mean, type(y)
        return y.square().mean()

    built(loss)
