"""Options of an optimizer by update: learning rates by a function of its number, and all that a scheduler changes."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from offchain.errors import BadInput
from offchain.groups import NOT_OPTIONS, plain_option
from offchain.lines import at, line_of

Schedule = Callable[[Tensor], Tensor | float] | LRScheduler
Columns = dict[str, list[Any]]  # of an optimizer's group: values of an option by update
MOST_UPDATES: Final = 1 << 22  # that a table holds


def factor(schedule: Callable[[Any], Any], count: int) -> float:
    """`schedule(count)` as a number. It gets an int, as from torch's LambdaLR, or a float32 scalar where it wants that.

    Raises BadInput where it gives no number, and whatever the schedule raises.
    """
    found = by_number(schedule, count)
    if found is None:
        found = _number(schedule(torch.tensor(float(count))))
    if found is None:
        line = at(line_of(schedule))
        raise BadInput(f"job: schedule(t){line} must return one number, a factor on the learning rate")
    return found


def by_number(schedule: Callable[[Any], Any], count: int) -> float | None:
    """`schedule(count)` of an int as a number; None where it can do nothing with that."""
    try:
        return _number(schedule(count))
    except Exception:  # it may be written for tensors, and is tried with one
        return None


def _number(found: Any) -> float | None:
    if isinstance(found, Tensor) and found.numel() == 1:
        return float(found)
    return float(found) if isinstance(found, int | float | np.number | np.bool_) else None


def check_scheduler(scheduler: LRScheduler, optimizer: Any) -> None:
    """Raise BadInput unless this is a fresh scheduler of the optimizer that looks at the number of updates alone."""
    name = type(scheduler).__name__
    if isinstance(scheduler, ReduceLROnPlateau):
        raise BadInput(f"{name} needs losses, which only a run knows; use a schedule of the update's number")
    if scheduler.optimizer is not optimizer:
        raise BadInput(f"{name} belongs to another optimizer; give the optimizer that it was made for")
    if getattr(scheduler, "last_epoch", 0) != 0:
        raise BadInput(f"{name} was used already; give a fresh one")


class _Groups(Optimizer):
    """The groups of an optimizer without its parameters, for a scheduler to change."""

    def __init__(self, groups: Sequence[Mapping[str, Any]]) -> None:
        own = [{name: value for name, value in group.items() if name != "params"} for group in groups]
        self.param_groups = [{**copy.deepcopy(group), "params": []} for group in own]
        self.defaults, self.state = {}, {}  # type: ignore[assignment]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing."""


def options_by_update(scheduler: LRScheduler, updates: int) -> list[Columns]:
    """For each group what the scheduler sets in each of the first updates: `lr`, and other options that it changes.

    The scheduler and its optimizer stay as they are. Raises BadInput for a scheduler that changes more than options.
    """
    name, groups = type(scheduler).__name__, _Groups(scheduler.optimizer.param_groups)
    copied: dict[int, Any] = {id(scheduler.optimizer): groups}
    own = copy.deepcopy(scheduler, copied)
    if any(isinstance(value, nn.Module | nn.Parameter) for value in copied.values()):
        raise BadInput(
            f"{name} holds a model or parameters, whose changes no step would see; leave them out, set options only"
        )
    first = _seen(groups)
    columns: list[Columns] = [{"lr": []} for _ in first]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch misses the optimizer's own steps
        for count in range(updates):
            now = _seen(groups)
            added = any(group["params"] for group in groups.param_groups)
            if added or [group.keys() for group in now] != [group.keys() for group in first]:
                raise BadInput(
                    f"{name} adds to the optimizer's groups in its update {count + 1}, or takes from them; give all "
                    "parameters and options from the start, and keep what is its own in the scheduler"
                )
            for column, before, group in zip(columns, first, now, strict=True):
                _noted(column, before, group, count)
            _step(own, count)
    return columns


def _step(scheduler: LRScheduler, count: int) -> None:
    try:
        scheduler.step()
    except Exception as error:  # of the requester's code, or of torch's
        text = f"{type(error).__name__}: {error}".splitlines()[0]
        raise BadInput(f"{type(scheduler).__name__} after {count + 1} updates: {text}") from error


def _noted(columns: Columns, first: Mapping[str, Any], group: Mapping[str, Any], count: int) -> None:
    """Adds the options of the update after `count` others; an option has a column from its first change on."""
    for name, value in group.items():
        if name in columns or value != first[name]:
            columns.setdefault(name, [first[name]] * count).append(value)


def _seen(groups: Optimizer) -> list[dict[str, Any]]:
    """The options of each group, as numbers."""
    return [
        {n: float(v) if n == "lr" else plain_option(n, v) for n, v in group.items() if n not in NOT_OPTIONS}
        for group in groups.param_groups
    ]
