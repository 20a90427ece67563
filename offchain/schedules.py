"""Learning rates by update: of a function of the update's number, or of a scheduler of torch."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from offchain.errors import BadInput
from offchain.lines import at, line_of

Schedule = Callable[[Tensor], Tensor | float] | LRScheduler
MOST_UPDATES: Final = 1 << 22  # that a table holds


def factor(schedule: Callable[[Any], Any], count: int) -> float:
    """`schedule(count)` as a number. It gets a float32 scalar, or an int where it can do nothing with that.

    Raises BadInput where it gives no number, and whatever the schedule raises.
    """
    try:
        found = schedule(torch.tensor(float(count)))
    except TypeError:
        found = schedule(count)
    if isinstance(found, Tensor) and found.numel() == 1:
        return float(found)
    if not isinstance(found, int | float | np.number | np.bool_):
        line = at(line_of(schedule))
        raise BadInput(f"job: schedule(t){line} must return one number, a factor on the learning rate")
    return float(found)


def check_scheduler(scheduler: LRScheduler, optimizer: Any) -> None:
    """Raise BadInput unless this is a fresh scheduler of the optimizer, and rates follow from the update's number."""
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
        self.param_groups = [{**group, "params": []} for group in groups]
        self.defaults, self.state = {}, {}  # type: ignore[assignment]

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Nothing."""


def rates_of(scheduler: LRScheduler, updates: int) -> list[tuple[float, ...]]:
    """The learning rate of each group in each of the first updates. The scheduler and its optimizer stay as they are.

    Raises BadInput for a scheduler that changes more than learning rates.
    """
    groups = _Groups(scheduler.optimizer.param_groups)
    own = copy.deepcopy(scheduler, {id(scheduler.optimizer): groups})
    first, rates = _others(groups), []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch misses the optimizer's own steps
        for _ in range(updates):
            rates.append(tuple(float(group["lr"]) for group in groups.param_groups))
            own.step()
            changed = [
                name
                for before, now in zip(first, _others(groups), strict=True)
                for name in now
                if before.get(name) != now[name]
            ]
            if changed:
                raise BadInput(
                    f"{type(scheduler).__name__} changes the option {changed[0]!r} too; let it change learning rates "
                    "only, as with cycle_momentum=False"
                )
    return rates


def _others(groups: Optimizer) -> list[dict[str, Any]]:
    return [{n: v for n, v in group.items() if n not in ("params", "lr")} for group in groups.param_groups]
