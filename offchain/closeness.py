"""How close the first update of a task comes to plain torch's: what the precision of its products does to this loss.

Rounding of products matters where a loss compares numbers that are nearly equal, or divides by what is nearly zero. No
bound over the operations tells those losses from others; their gradients do.
"""

from __future__ import annotations

import math
from typing import Final

import torch
from torch import Tensor

from offchain.job import Job
from offchain.task import Task
from offchain.training import PlainTraining, Run

FAR: Final = 0.1  # as far as which no ordinary loss was at 13 bits (docs/decisions/0019)


def first_update(job: Job, task: Task) -> float | None:
    """Distance of the parameters after the first update from plain torch's, in units of how far plain torch moves them.

    Takes one step of both, or `job.accumulate`. None where plain torch moves nothing, as at a learning rate of 0, where
    the distance is not a number, or where plain torch cannot run the loss.
    """
    first = {name: tensor.detach().clone() for name, tensor in job.model.named_parameters()}
    buffers = {name: tensor.detach().clone() for name, tensor in job.model.named_buffers()}
    plain, ours = PlainTraining(job, first | buffers), Run(task, executor="torch")
    try:
        plain.run(job.accumulate)
    except Exception:  # whatever the job's own code raises: the task stands, and there is nothing to compare it with
        return None
    ours.run(job.accumulate)
    arrays = task.tensors(ours.arrays())
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


def _joined(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.double().reshape(-1) for tensor in tensors])
