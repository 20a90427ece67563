"""Numbers that follow from the count of updates alone: evaluated for all updates while a job is built, into a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Final

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.optim.lr_scheduler import LRScheduler

from offchain.errors import Unsupported
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.origin import Origins, within
from offchain.lower.refusals import refusal
from offchain.schedules import MOST_UPDATES, by_number, factor

_TRIED: Final = 4096  # updates
_NEAR: Final = 1e-4
Table = tuple[float, ...]  # a value for each update


def table_of(job: Job) -> Table:
    """The factor by update, for a schedule that is a function and cannot be traced; else ().

    Raises what the schedule raises, in one line, and Unsupported where there are too many updates.
    """
    schedule = job.schedule
    if schedule is None or isinstance(schedule, LRScheduler) or _can_be_traced(schedule, job.updates):
        return ()
    if job.updates > MOST_UPDATES:
        raise Unsupported(
            f"schedule{at(line_of(schedule))}: looks at the value of t, and {job.updates} updates are too many for a "
            f"table, which holds {MOST_UPDATES}; write it with torch's operations, as torch.where for `if`"
        )
    try:
        with within("schedule", line_of(schedule)):
            return tuple(factor(schedule, i) for i in range(job.updates))
    except Exception as error:
        raise refusal(error, Origins(), job.model) from error


def looked_up(values: Sequence[float], count: Tensor) -> float | Tensor:
    """The value at the place `count`, which is traced; the value itself where all are equal."""
    if all(value == values[0] for value in values):
        return values[0]
    return torch.tensor(values, dtype=torch.float32).index_select(0, count.reshape(1)).reshape(())


def _can_be_traced(schedule: Callable[[Tensor], Any], updates: int) -> bool:
    """Whether a schedule is torch's operations on its argument, and does not look at its value, or at its type."""
    try:
        found = []
        make_fx(lambda t: found.append(schedule(t)))(torch.zeros(()))
        one = isinstance(found[0], Tensor) and found[0].numel() == 1
        return one and all(_alike(schedule, count) for count in range(min(updates, _TRIED)))
    except Exception:  # evaluating the schedule shows whether it is wrong
        return False


def _alike(schedule: Callable[[Tensor], Any], count: int) -> bool:
    """Whether it gives for a number, if it can, what it gives for a tensor: a dict or a set knows no tensors."""
    number = by_number(schedule, count)
    return number is None or math.isclose(
        number, float(schedule(torch.tensor(float(count)))), rel_tol=_NEAR, abs_tol=_NEAR
    )
