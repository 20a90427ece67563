"""Processes that run one task together, over torch.distributed: gloo between CPUs, and NCCL between GPUs.

torchrun starts them and sets the rank of each in its environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist

from offchain.errors import BadInput, OffchainError, ProcessGone

T = TypeVar("T")
PATIENCE: Final = timedelta(minutes=5)  # how long to wait for a process that does not answer


@dataclass(frozen=True)
class Processes:
    """This process among those that share a step."""

    rank: int
    size: int

    # On a GPU both run in the order of its current stream, and the host does not wait for them.

    def greatest(self, numbers: torch.Tensor) -> torch.Tensor:
        """Every number becomes, in place, the greatest that a process holds."""
        return self._reduced(numbers, dist.ReduceOp.MAX)

    def total(self, numbers: torch.Tensor) -> torch.Tensor:
        """Every number becomes, in place, the sum of all processes' numbers."""
        return self._reduced(numbers, dist.ReduceOp.SUM)

    def agreed(self, value: Callable[[], T], same: Callable[[T], str]) -> T:
        """The result of `value`, once all processes have it and `same` gives the same text for it in each.

        If `value` raises an OffchainError in one process, all raise it. Raises BadInput where the texts differ,
        ProcessGone where a process does not answer.
        """
        mine: T | None = None
        problem, what = None, ""
        try:
            mine = value()
            what = same(mine)
        except OffchainError as error:
            problem = error
        found: list[Any] = [None] * self.size
        self._asked(lambda: dist.all_gather_object(found, (problem, what)))
        for rank, (told, other) in enumerate(found):
            if told is not None:
                raise told
            if other != found[0][1]:
                raise BadInput(f"process {rank} of {self.size} was given another task than process 0")
        assert mine is not None
        return mine

    def wait_for_the_end(self) -> None:
        """Returns when another process has gone."""
        with suppress(ProcessGone):
            self._asked(dist.barrier)

    def _reduced(self, numbers: torch.Tensor, operation: Any) -> torch.Tensor:
        self._asked(lambda: dist.all_reduce(numbers, operation))
        return numbers

    def _asked(self, call: Callable[[], Any]) -> None:
        try:
            call()
        except (RuntimeError, ValueError) as error:  # torch has no class of its own for each of these
            raise ProcessGone(f"process {self.rank} of {self.size}: another is gone ({_reason(error)})") from error


@contextmanager
def joined(device: str = "cpu", patience: timedelta = PATIENCE) -> Iterator[Processes | None]:
    """The processes that torchrun started together with this one; None where there is no other.

    Raises ProcessGone where they cannot be reached, BadInput where torch has no such device.
    """
    size, rank = (int(os.environ.get(name, default)) for name, default in (("WORLD_SIZE", "1"), ("RANK", "0")))
    if size == 1:
        yield None
        return
    on_cuda = device.partition(":")[0] == "cuda"
    if on_cuda:
        gpu, count = own_device(device), torch.cuda.device_count()
        if gpu not in [f"cuda:{n}" for n in range(count)]:
            raise BadInput(f"process {rank} of {size}: no device {gpu!r} here, torch finds {count} GPUs")
        torch.cuda.set_device(gpu)
    try:
        # On GPUs NCCL joins numbers, which stay there; objects and barriers go over gloo, as on CPUs.
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo", timeout=patience)
    except (RuntimeError, ValueError) as error:
        raise ProcessGone(f"process {rank} of {size}: the others cannot be reached ({_reason(error)})") from error
    yield Processes(rank, size)
    dist.destroy_process_group()  # not after an error: the others notice that this process ends, after its message


def _reason(error: Exception) -> str:
    """The first sentence, without the place in torch's sources."""
    return re.sub(r"^\[[^]]*\]\s*", "", str(error).strip()).splitlines()[0].split(". ")[0]


def own_device(device: str) -> str:
    """The device; for `cuda`, the GPU with this process's number on its machine."""
    return f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
