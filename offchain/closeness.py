"""How close the first update of a task comes to plain torch's: what the precision of its products does to this loss.

Rounding of products matters where a loss compares numbers that are nearly equal, or divides by what is nearly zero. No
bound over the operations tells those losses from others; their gradients do. Other losses move on in small steps of
their own: their first updates agree, and a few later they are apart.
"""

from __future__ import annotations

import math
from typing import Any, Final

import torch
from torch import Tensor

from offchain.exec import Executor, Setting, make_executor
from offchain.ir.arrays import Array
from offchain.ir.graph import work_units
from offchain.job import Job
from offchain.plain import PlainTraining
from offchain.task import Task

FAR: Final = 0.1  # as far as which no ordinary loss was at 13 bits (docs/decisions/0019)
LATER: Final = 8  # updates, after which a loss that follows another course has left plain torch's
LITTLE: Final = 10**9  # work units


def judged(job: Job, task: Task, executor: Executor[Any] | None = None) -> tuple[float | None, str]:
    """`first_update`, and one line of warning about it, or about the updates after it, or "".

    Updates after it are taken where LATER of them cost little.
    """
    first = first_update(job, task, executor)
    said = "" if first is None else warning(first, job.bits)
    little = job.updates >= LATER and LATER * job.accumulate * work_units(task.graph) <= LITTLE
    later = after(LATER, job, task, executor) if little and not said else None
    return first, said or ("" if later is None else warning_later(later, job.bits))


def first_update(job: Job, task: Task, executor: Executor[Any] | None = None) -> float | None:
    """Distance of the parameters after the first update from plain torch's, in units of how far plain torch moves them.

    None where plain torch moves nothing, as at a learning rate of 0, where the distance is not a number, or where plain
    torch cannot run the loss. The job is left as it was.
    """
    return after(1, job, task, executor)


def after(updates: int, job: Job, task: Task, executor: Executor[Any] | None = None) -> float | None:
    """The same after some updates; the task's by `executor`, which holds its graph, or by one of torch."""
    from offchain.lower.host import kept  # not at the start: who runs a task file needs no compiler

    first = {name: tensor.detach().clone() for name, tensor in job.model.named_parameters()}
    buffers = {name: tensor.detach().clone() for name, tensor in job.model.named_buffers()}
    plain, steps = PlainTraining(job, first | buffers), updates * job.accumulate
    try:
        with kept(job):
            plain.run(steps)
    except Exception:  # whatever the job's own code raises: the task stands, and there is nothing to compare it with
        return None
    if executor is None:
        executor = make_executor("torch", task.graph, task.constants, task.datasets, Setting())
    arrays = task.tensors(_after(task, executor, steps))
    names = [name for name in first if name in arrays]
    have = _joined([torch.from_numpy(arrays[name]) for name in names])
    want = _joined([plain.parameters[name] for name in names])
    moved = float((want - _joined([first[name] for name in names])).norm())
    distance = float((have - want).norm()) / moved if moved else math.nan
    return distance if math.isfinite(distance) else None


def warning(distance: float, bits: int) -> str:
    """One line about an update that is far from plain torch's, or ""."""
    if distance < FAR:
        return ""
    finer = "" if bits >= 21 else ', or set precision="float32"'
    return (
        f"the first update differs by {100 * distance:.0f} % from plain torch's, as where products of {bits} bits are "
        f"nearly equal and are subtracted: subtract before you multiply, as (a - b).pow(2).sum(-1){finer}; "
        "docs/library.md, Products"
    )


def warning_later(distance: float, bits: int) -> str:
    """One line about updates that have left plain torch's course, or ""."""
    if distance < FAR:
        return ""
    finer = "" if bits >= 21 else '; precision="float32" delays it'
    return (
        f"after {LATER} updates the parameters differ by {100 * distance:.0f} % from plain torch's: at this learning "
        f"rate the loss turns any rounding into another course of training. A smaller one keeps to the course{finer}; "
        "docs/library.md, Products"
    )


def _after(task: Task, executor: Executor[Any], steps: int) -> list[Array]:
    """The state after the first steps."""
    state = executor.load(list(task.state))
    for t in range(steps):
        state = executor.step(state, t)
    return executor.dump(state)


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.double().reshape(-1) for tensor in tensors])
