"""Times ours and a peer in turn, in one process, so that a busy machine slows both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import torch

from offchain.errors import BadInput
from offchain.exec.base import UNLIMITED, Executor, Limits, Setting
from offchain.exec.make import EXECUTORS, make_executor
from offchain.progress import Watch as Watch
from offchain.progress import unwatched as unwatched
from offchain.task import Task
from offchain.training import torch_threads

WARM: Final = 2  # pairs before anything is measured: kernels are compiled, buffers taken

Call = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """What ours costs beside a peer, over `n` pairs.

    `ours` and `peer` are medians in `unit` (s, bytes, gas); `ratio` is the median of the pairs' own ratios, ours to
    peer: the halves of a pair are neighbours in time, so that what slows the machine for a while slows both. `bits` is
    the precision of products, 0 where there are none. `notes` are shown to people.
    """

    name: str
    bits: int
    ours: float
    peer: float
    ratio: float
    n: int
    unit: str = "s"
    notes: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, name: str, bits: int, pairs: Sequence[tuple[float, float]], unit: str = "s", **notes: str) -> Row:
        ours, peer = (statistics.median(side) for side in zip(*pairs, strict=True))
        ratio = statistics.median(a / b for a, b in pairs)
        return cls(name, bits, ours, peer, ratio, len(pairs), unit, notes)

    def facts(self) -> dict[str, Any]:
        """For programs: always the same six fields."""
        ours, peer = f"ours_{self.unit}", f"peer_{self.unit}"
        return {
            "name": self.name,
            "bits": self.bits,
            ours: self.ours,
            peer: self.peer,
            "ratio": self.ratio,
            "n": self.n,
        }


@dataclass(frozen=True)
class Settings:
    """How to measure. `n` pairs (None: what suits the verb), `quick` for small sizes that only show that it works.

    Raises BadInput for an unknown executor or a device that torch does not have.
    """

    executor: str = "fused"
    device: str = "cpu"
    threads: int | None = None
    bits: tuple[int, ...] = (13, 21)
    n: int | None = None
    quick: bool = False

    def __post_init__(self) -> None:
        if self.executor not in EXECUTORS:
            raise BadInput(f"no executor {self.executor!r}; there are {', '.join(EXECUTORS)}")
        if self.n is not None and self.n < 1:
            raise BadInput(f"n is {self.n}, must be at least 1")
        try:
            torch.zeros(1, device=self.device).item()
        except (RuntimeError, AssertionError) as error:  # torch raises either where it has no such device
            raise BadInput(f"device {self.device!r}: {str(error).splitlines()[0]}") from error

    def pairs(self, usual: int) -> int:
        """The number of pairs; `usual` is what suits the measurement."""
        return self.n or (2 if self.quick else usual)

    def runs(self, task: Task, watch: Watch | None = None, limits: Limits = UNLIMITED) -> Executor[Any]:
        """The chosen executor on a task. `watch` is called as its kernels are compiled, which may take a while."""
        tell = partial(watch, "compiling kernels") if watch else unwatched
        setting = Setting(self.device, tell, limits=limits)
        return make_executor(self.executor, task.graph, task.constants, task.datasets, setting)

    def measure(
        self, ours: Call, peer: Call, n: int, watch: Watch, what: str, warm: int = WARM
    ) -> list[tuple[float, float]]:
        """Seconds of n pairs, after `warm` pairs that do not count. Which of the two goes first alternates."""
        watch(what, 0, n)
        with torch_threads(self.threads), _undisturbed():
            for call in (ours, peer) * warm:
                self._timed(call)
            return list(self._alternate(ours, peer, n, watch, what))

    def _alternate(self, ours: Call, peer: Call, n: int, watch: Watch, what: str) -> Iterator[tuple[float, float]]:
        for i in range(n):
            if i % 2:
                second = self._timed(peer)
                yield self._timed(ours), second
            else:
                yield self._timed(ours), self._timed(peer)
            watch(what, i + 1, n)

    def _timed(self, call: Call) -> float:
        """Seconds until the device has finished the call."""
        start = time.perf_counter()
        result = call()
        if self.device != "cpu":
            torch.accelerator.synchronize()
        seconds = time.perf_counter() - start
        del result  # freed outside of the measured time, whichever side made it
        return seconds


class Stepping:
    """A task under an executor: each call is the next step; after the last one it starts counting again."""

    def __init__(self, task: Task, executor: Executor[Any]) -> None:
        self.task, self.executor = task, executor
        self.state, self.t = executor.load(task.state), 0

    def __call__(self) -> None:
        self.state = self.executor.step(self.state, self.t)
        self.t = (self.t + 1) % self.task.steps


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Without the garbage collector, as timeit does."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
