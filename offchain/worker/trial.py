"""The first steps of a stranger's task, in a process that may hang, grow or die without harm to the worker.

Its work was counted before. Here its kernels are compiled, its first step is run, and what it takes is measured.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any, Final

import torch

from offchain.dispute.cost import DisputeCost
from offchain.dispute.replay import Ledger
from offchain.errors import BadInput, OffchainError, OutOfMemory
from offchain.exec.ahead import ahead_of
from offchain.exec.base import Limits
from offchain.market.view import Terms
from offchain.store.checkpoint import output_slots
from offchain.store.taskfile import load_task
from offchain.task import Task
from offchain.worker import subnormal
from offchain.worker.fit import Figures, NotNow, Unfit, longest_step
from offchain.worker.making import ExecutorFactory, finish
from offchain.worker.measure import measure
from offchain.worker.options import WorkerOptions
from offchain.worker.processes import Child, say, settle_in, silence

PLACE: Final = 2 << 30  # bytes that a process with torch has beside the tensors of a task
LASTS: Final = 600.0  # seconds for which figures are taken for those of now
STARTING: Final = 120.0  # seconds in which a process must have come up
COLD: Final = 5.0  # seconds by which a first step may take longer than the later ones
MEASURED: Final = 25  # steps, or what takes as long, that are timed at most where steps are long
NICE: Final = 5  # what is held goes first
FAIR: Final = 60.0  # seconds after which a trial makes place for another requester's
TICK: Final = 1.0  # seconds between two looks whether one waits
FATAL: Final = ("SIGSEGV", "SIGABRT", "SIGBUS", "SIGILL", "SIGFPE", "SIGTRAP")  # what a kernel or the compiler dies of


@dataclass(frozen=True, slots=True)
class _Limits:
    executor: Limits
    memory: int  # bytes of data, of the process
    measuring: float  # seconds
    threads: int
    own: bool  # whether the process is one for this trial alone


class Trials:
    """Tries one task at a time, so that none is measured while another runs; a file that was, not again for a while."""

    def __init__(self, executors: ExecutorFactory, options: WorkerOptions) -> None:
        self._executors, self._options = executors, options
        self._one = Lock()
        self._running: Child | None = None
        self._closed = False
        self._found: dict[str, tuple[float, Figures]] = {}  # by name of the file: when, and what

    def run(self, path: Path, terms: Terms, memory: int, yields: Callable[[], bool] = lambda: False) -> Figures:
        """Figures of the task in a checked file, whose name says what is in it and whose step touches that many bytes.

        Args:
            yields: whether it should make place for another requester's task.

        Raises:
            Unfit: the executor refuses it, or the trial's process died of it.
            NotNow: it took longer than fits the terms, or is fair while others wait, or more memory than there was.
        """
        given = self._options.max_memory
        longest = min(longest_step(terms, self._options), self._options.trial_time)
        own = self._options.trials == "process"
        limits = _Limits(
            Limits(given - memory, self._options.max_kernels, whole=True),
            given + PLACE,
            longest,
            torch.get_num_threads(),
            own,
        )
        with self._one:
            now = time.monotonic()
            self._found = {name: found for name, found in self._found.items() if now < found[0] + LASTS}
            if path.name not in self._found:
                self._found[path.name] = now, self._in_child(path, limits, yields) if own else self._here(path, limits)
            return self._found[path.name][1]

    def _here(self, path: Path, limits: _Limits) -> Figures:
        try:
            return _tried(path, self._executors, limits, lambda phase: None)
        except BadInput as error:
            raise Unfit(str(error)) from error
        except OutOfMemory as error:
            raise NotNow(str(error)) from error

    def close(self) -> None:
        """End the trial that runs, if any."""
        self._closed = True
        running = self._running
        if running is not None:
            running.process.kill()

    def _in_child(self, path: Path, limits: _Limits, yields: Callable[[], bool]) -> Figures:
        with Child("trial", _main, str(path), self._executors, limits) as child:
            self._running = child
            try:
                if self._closed:
                    raise NotNow("the worker ends")
                return self._listen(child, limits, yields)
            except EOFError:
                raise self._died(child) from None
            finally:
                self._running = None

    def _listen(self, child: Child, limits: _Limits, yields: Callable[[], bool]) -> Figures:
        """Hears of each phase in its time."""
        fair = time.monotonic() + FAIR
        for phase, what, seconds in (
            ("begun", "the process of the trial did not come up", STARTING),
            ("made", "its file was not read, and its kernels not compiled,", self._options.making_time),
            ("stepped", "a step took too long: it was not done", limits.measuring + COLD),
            ("measured", "its steps were not measured", MEASURED * limits.measuring + COLD),
        ):
            said = _heard(child, seconds, lambda: time.monotonic() > fair and yields())
            if said is None:
                raise NotNow(f"{what} within {seconds:.1f} s")
            if "refused" in said:
                raise (Unfit if said.get("own") is True else NotNow)(f"{said['refused']}")
            if said.get("phase") != phase:
                raise EOFError
        assert said
        try:  # a kernel that wrote over its process can make it say anything
            return Figures(DisputeCost(**said["cost"]), int(said["memory"]))
        except (
            KeyError,
            TypeError,
            ValueError,
        ) as error:
            raise EOFError from error

    def _died(self, child: Child) -> OffchainError:
        how = child.ending()
        if any(how.endswith(name) for name in FATAL):
            return Unfit(f"its trial crashed: {how}")
        return NotNow(f"its trial ended early: {how}")


def _heard(child: Child, seconds: float, yields: Callable[[], bool]) -> dict[str, Any] | None:
    """The child's next message; None after so many seconds. Raises NotNow where it should make place."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        if (said := child.hear(min(left, TICK))) is not None:
            return said
        if yields():
            raise NotNow(f"its trial was not done within {FAIR:g} s, and others' tasks wait to be tried")
    return None


def _main(connection: Connection, path: str, executors: ExecutorFactory, limits: _Limits) -> None:
    """The trial's process."""
    settle_in(limits.threads, dies_with_parent=True)
    silence()
    with suppress(OSError):
        os.nice(NICE)
    _bound_memory(limits.memory)
    say(connection, {"phase": "begun"})
    try:
        figures = _tried(Path(path), executors, limits, lambda phase: say(connection, {"phase": phase}))
        say(connection, {"phase": "measured"} | asdict(figures))
    except BadInput as error:
        say(connection, {"refused": str(error), "own": True})
    except (OffchainError, MemoryError, RuntimeError, OSError) as error:
        say(connection, {"refused": f"{type(error).__name__}: {error}"[:500], "own": False})


def _tried(path: Path, executors: ExecutorFactory, limits: _Limits, phase: Callable[[str], None]) -> Figures:
    before = _peak()
    task = load_task(path)
    ledger = Ledger(task.graph, task.constants, task.datasets)
    executor = executors(ledger, limits.executor)
    if task.outputs:
        ahead_of(executor, output_slots(task))  # what an audit compiles: it may die of that as well
    phase("made")
    executor.step(executor.load(task.state), 0)
    finish()
    phase("stepped")
    memory = max(step_bytes(task), _peak() - before if limits.own else 0)
    return measure(task, ledger, executor, subnormal.measured(executors), memory)


def step_bytes(task: Task) -> int:
    """Bytes of all tensors of a step: those that the reference executor holds at its end.

    The same for every executor; what an executor needs beside them is limited when it is made.
    """
    tensors = [*task.constants, *task.datasets, *task.state, *task.state]
    return sum(array.nbytes for array in tensors) + 4 * sum(node.length for node in task.graph.nodes)


def _peak() -> int:
    """The most bytes that this process had in memory so far, on the host or on a device."""
    device = torch.cuda.max_memory_reserved() if torch.cuda.is_available() else 0
    try:
        import resource
    except ImportError:  # not on this platform
        return int(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return max(int(device), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _bound_memory(size: int) -> None:
    """The process may not have more bytes of data than that, where the platform can bound it. Not with a GPU, whose
    driver maps all of its memory."""
    if torch.cuda.is_available():
        return
    with suppress(ImportError, OSError, ValueError):
        import resource

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))
