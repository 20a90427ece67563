"""Functions with a state that shows only after more steps than a build runs, and what holds them to a refusal."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final

from offchain.job import Job
from offchain.lower import compile
from tests.offchain.lower.refused import fields, refused, square

LATE: Final = 99  # more than the steps that a build runs
Number = Callable[[], float]
Make = Callable[[], Number]


def registers(makers: dict[str, Make]) -> Callable[[Make], Make]:
    """A decorator of functions that make such a function: it gives 1.0 until it was called LATE times."""

    def hidden(make: Make) -> Make:
        makers[make.__name__] = make
        return make

    return hidden


def late(count: Any) -> float:
    return 3.0 if count > LATE else 1.0


def check_found(number: Number) -> None:
    """The state itself is named, with a line of the test that calls this, and no difference that it made by chance."""
    text = refused(loss=lambda m, b: square(m, b) * number())
    file = sys._getframe(1).f_code.co_filename
    assert f" at {file}:" in text or f" at {__file__}:" in text, text
    assert "differs when the step is traced again" not in text, text


def built(loss: Any) -> None:
    """A job with this loss is not refused."""
    compile(Job(**fields(loss=loss)))
