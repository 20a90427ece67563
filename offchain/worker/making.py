"""How a worker makes executors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from offchain.dispute.replay import Ledger
from offchain.exec.base import UNLIMITED, Executor, Limits, Setting
from offchain.exec.make import make_executor
from offchain.ir.graph import Source

ExecutorFactory = Callable[[Ledger, Limits], Executor[Any]]  # one that can be pickled, where processes share it


@dataclass(frozen=True, slots=True)
class Named:
    """Executors by name, see `offchain.exec.make`."""

    name: str
    device: str = "cpu"

    def __call__(self, ledger: Ledger, limits: Limits = UNLIMITED) -> Executor[Any]:
        arrays, setting = ledger.arrays, Setting(self.device, limits=limits)
        return make_executor(self.name, ledger.graph, arrays[Source.CONST], arrays[Source.DATA], setting)


def executor_factory(name: str, device: str = "cpu") -> ExecutorFactory:
    """Executors by name, of a device that torch knows."""
    return Named(name, device)


def finish() -> None:
    """Wait until a device of torch's has done everything that it was given."""
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
