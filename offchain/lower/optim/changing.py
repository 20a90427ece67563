"""Options of an optimizer that its schedule changes, as rules compute with them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any, Final

import torch
from torch import Tensor

from offchain.lower.optim.lookup import looked_up

_NONE: Final = object()
_BRANCHES: Final = frozenset({"momentum", "betas"})  # an update is another one where they are 0


class Changing:
    """A number in each update: in arithmetic with numbers all of them, in Python's precision; with a tensor this one's.

    It counts as one that is not 0, so that a rule may ask whether there is any; see `fits_rules`.
    """

    def __init__(self, values: Sequence[float], count: Tensor) -> None:
        self.values, self.count = tuple(values), count

    def each(self, f: Callable[..., float], *others: Any) -> Changing:
        """f of the number, and of others, in each update."""
        columns = [x.values if isinstance(x, Changing) else [x] * len(self.values) for x in others]
        return Changing([f(*numbers) for numbers in zip(self.values, *columns, strict=True)], self.count)

    def _with(self, other: Any, f: Callable[[Any, Any], Any]) -> Any:
        if isinstance(other, Changing | int | float):
            return self.each(f, other)
        return NotImplemented

    def __add__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: a * b)

    def __rmul__(self, other: Any) -> Any:
        return self._with(other, lambda a, b: b * a)

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = {name: _now(value) for name, value in (kwargs or {}).items()}
        return func(*map(_now, args), **kwargs)


def _now(value: Any) -> Any:
    return torch.as_tensor(looked_up(value.values, value.count)) if isinstance(value, Changing) else value


def changing(column: Sequence[Any], count: Tensor) -> Any:
    """An option in the update after `count` others: as it is where it stays, else Changing; of a tuple each number."""
    if isinstance(column[0], tuple):
        return tuple(changing(entries, count) for entries in zip(*column, strict=True))
    return column[0] if all(value == column[0] for value in column) else Changing(column, count)


def fits_rules(name: str, column: Sequence[Any]) -> bool:
    """Whether rules can compute with an option that changes so: by fractions, those of _BRANCHES above 0."""
    if all(value == column[0] for value in column):
        return True
    if all(isinstance(value, tuple) for value in column):
        return all(fits_rules(name, entries) for entries in zip_longest(*column, fillvalue=_NONE))
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in column)
    fractions = numbers and any(isinstance(value, float) for value in column)
    return fractions and (name not in _BRANCHES or all(value > 0 for value in column))
