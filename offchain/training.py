"""Runs a task on this machine; behind `offchain.compile` in Python and `offchain run` on the command line."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, overload

import numpy as np
import torch
from torch import Tensor

from offchain.closeness import judged
from offchain.commit.closing import Reached, close
from offchain.commit.roots import state_root
from offchain.errors import BadInput
from offchain.exec import Executor, Setting, make_executor
from offchain.exec.distributed import Processes
from offchain.ir.arrays import Array
from offchain.job import Job
from offchain.plain import PlainProgram, PlainTraining
from offchain.program import Asked, Program, filled
from offchain.progress import Count, unwatched
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.validation import Validation

MAX_INTERVAL: Final = 100  # steps, of a job that names no interval


class Run:
    """A run of a task from its initial state. The executor can be changed on the way; `processes` share every step.

    The state at the end of an interval is hashed while the next interval's steps run.

    Raises BadInput for an unknown executor or a missing device.
    """

    def __init__(
        self,
        task: Task,
        executor: str = "fused",
        device: str = "cpu",
        threads: int | None = None,
        watch: Count = unwatched,
        processes: Processes | None = None,
    ) -> None:
        self.task, self.t, self._watch, self._processes = task, 0, watch, processes
        self._roots: list[bytes] = []  # of the states at interval ends, as far as they are hashed
        self._closing: Future[Reached] | None = None  # the hashing of the next one
        self._rows: list[Array] = []  # the log, one array for each interval
        self._outputs: list[dict[str, Array]] = []  # of each interval
        self._validated: list[dict[str, float]] = []  # one at each checkpoint
        self._place(list(task.state), executor, device, threads)

    def use(self, executor: str = "fused", device: str = "cpu", threads: int | None = None) -> None:
        """Continue with another executor; all give the same bits. `threads` are torch's threads on the CPU."""
        self._place(self.arrays(), executor, device, threads)

    def _place(self, state: list[Array], executor: str, device: str, threads: int | None) -> None:
        task = self.task
        require_device(device)
        made = make_executor(
            executor,
            task.graph,
            task.constants,
            task.datasets,
            Setting(device, self._watch, self._processes),
        )
        self._validation = Validation(
            task, lambda p: make_executor(executor, p.graph, p.constants, p.datasets, Setting(device, self._watch))
        )
        self._state: Any = made.load(state)
        self._executor: Executor[Any] = made
        self._threads = threads

    def step(self) -> None:
        """Run one step. Raises BadInput after the last one."""
        self.run(1)

    def run(self, steps: int | None = None) -> None:
        """Run `steps` steps; by default all that are left."""
        left = self.task.steps - self.t
        count = left if steps is None else steps
        if not 0 <= count <= left:
            raise BadInput(f"cannot run {count} steps: {left} of {self.task.steps} are left")
        with torch_threads(self._threads):
            for _ in range(count):
                self._state = self._executor.step(self._state, self.t)
                self.t += 1
                if self.t % self.task.interval == 0:
                    self._close_interval()

    def _close_interval(self) -> None:
        state = self.arrays()
        self._rows.append(self._log(state))
        self._outputs.append(self.task.output_arrays(state))
        if self.task.validation:
            self._validated.append(self._validation.of(state))
        done = self.state_roots  # hashes one state at a time, since each takes memory
        self._closing = close(len(done), state)

    @property
    def state_roots(self) -> list[bytes]:
        """Roots of the states at the ends of intervals so far, as a solver commits them. Waits for the hashing."""
        if self._closing is not None:
            closed, self._closing = self._closing, None
            self._roots.append(closed.result().root)
        return list(self._roots)

    @property
    def validation(self) -> dict[str, list[float]]:
        """Each metric on the validation set, at each checkpoint so far; {} for a task without one."""
        names = self.task.graph.metrics if self.task.validation else ()
        return {name: [figures[name] for figures in self._validated] for name in names}

    @property
    def evaluation(self) -> dict[str, Any]:
        """The figures of the job's evaluation after the last step; {} before, and for a task without one."""
        return self.task.figures(self.arrays(), self.metrics)

    @property
    def last_rows(self) -> Array:
        """The log of the last whole interval: one row a step, one column a metric. Raises IndexError before its end."""
        return self._rows[-1]

    def _log(self, arrays: list[Array]) -> Array:
        return arrays[-1].reshape(self.task.interval, -1)

    def arrays(self) -> list[Array]:
        """The current state: flat arrays in slot order."""
        return self._executor.dump(self._state)

    @property
    def state_root(self) -> bytes:
        """Root of the current state."""
        return state_root(self.arrays())

    @property
    def metrics(self) -> dict[str, list[float]]:
        """Each metric at all steps so far, the loss first, from the state's log."""
        rows, rest = list(self._rows), self.t % self.task.interval
        if rest:
            rows.append(self._log(self.arrays())[:rest])
        names = self.task.graph.metrics
        table = np.concatenate([np.empty((0, len(names)), np.float32), *rows])
        return {name: [float(value) for value in table[:, i]] for i, name in enumerate(names)}

    @property
    def output_arrays(self) -> dict[str, Array]:
        """The rows that all steps so far have output, by name."""
        rest = [self.task.output_arrays(self.arrays())] if self.t % self.task.interval else []
        return self.task.joined([*self._outputs, *rest], self.t)

    @property
    def losses(self) -> list[float]:
        """The loss of each step so far."""
        return self.metrics[self.task.graph.metrics[0]]

    def save(self, path: str | Path) -> None:
        """Write the task file: the task as it was at step 0."""
        save_task(self.task, path)


class Training(Run):
    """A job compiled to a task, and its run. The job's model is not changed."""

    def __init__(
        self,
        job: Job,
        executor: str = "fused",
        device: str = "cpu",
        threads: int | None = None,
        processes: Processes | None = None,
    ) -> None:
        from offchain.lower import compile as lower

        self.job = job
        self._initial, self._keys = _tensors(job), _keys(job.model)
        super().__init__(lower(job), executor, device, threads, processes=processes)

    def state_dict(self) -> dict[str, Tensor]:
        """Current parameters and buffers, for `load_state_dict` of the model or of a copy of it."""
        arrays = self.task.tensors(self.arrays())
        values = {
            name: torch.from_numpy(arrays[name]).reshape(tensor.shape).to(tensor.dtype) if name in arrays else tensor
            for name, tensor in self._initial.items()
        }
        return {key: values[name].clone() for key, name in self._keys.items()}

    def imprecise(self) -> str:
        """A warning if the precision of products takes the first updates far from plain torch's, or ""."""
        with torch_threads(self._threads):
            return judged(self.job, self.task, self._executor)[1]

    def plain(self) -> PlainTraining:
        """The same job in ordinary torch, from the same initial values."""
        return PlainTraining(self.job, self._initial)


class ProgramRun(Run):
    """A program compiled to a task, and its run. The program's state is not changed."""

    def __init__(
        self,
        program: Program,
        executor: str = "fused",
        device: str = "cpu",
        threads: int | None = None,
        processes: Processes | None = None,
    ) -> None:
        from offchain.lower import compile as lower

        self.program = program
        super().__init__(lower(program), executor, device, threads, processes=processes)

    @property
    def state(self) -> Any:
        """The current state, in the program's structure."""
        arrays = self.task.tensors(self.arrays())
        tensors = self.program.tensors.items()
        values = [
            torch.from_numpy(arrays[name].copy()).to(tensor.dtype) if name in arrays else tensor
            for name, tensor in tensors
        ]
        return filled(self.program.state, iter(values))

    @property
    def outputs(self) -> dict[str, Tensor]:
        """The rows that all steps so far have output, by name."""
        return {name: torch.from_numpy(rows) for name, rows in self.output_arrays.items()}

    def plain(self) -> PlainProgram:
        """The same program in ordinary torch, from the same initial values."""
        return PlainProgram(self.program)


@overload
def compile(
    job: Job | None = None,
    *,
    executor: str = "fused",
    device: str = "cpu",
    threads: int | None = None,
    processes: Processes | None = None,
    **fields: Any,
) -> Training: ...


@overload
def compile(
    job: Program,
    *,
    executor: str = "fused",
    device: str = "cpu",
    threads: int | None = None,
    processes: Processes | None = None,
) -> ProgramRun: ...


def compile(
    job: Asked | None = None,
    *,
    executor: str = "fused",
    device: str = "cpu",
    threads: int | None = None,
    processes: Processes | None = None,
    **fields: Any,
) -> Run:
    """A Job, its fields, or a Program, compiled to a task that can be saved, run here, and compared with plain torch.

    The `processes` of `offchain.exec.distributed.joined`, which must compile the same job, share every step.
    Without `interval` there is a checkpoint every 100 steps, or as many as the next smaller divisor of `steps`.
    Warns where the precision of products takes the first update far from plain torch's, as `offchain task build` does.
    Raises BadInput or Unsupported in one line.
    """
    if job is not None and fields:
        raise BadInput(f"compile: give a job, or its fields ({', '.join(fields)}), not both")
    if isinstance(job, Program):
        return ProgramRun(job, executor, device, threads, processes)
    if job is None:
        steps = fields.get("steps")
        if "interval" not in fields and isinstance(steps, int) and steps > 0:
            fields["interval"] = max(c for c in range(1, min(steps, MAX_INTERVAL) + 1) if steps % c == 0)
        try:
            job = Job(**fields)
        except TypeError as error:
            raise BadInput(f"compile: {str(error).replace('Job.__init__()', 'a job')}") from error
    training = Training(job, executor, device, threads, processes)
    said = training.imprecise()
    if said and (processes is None or processes.rank == 0):
        warnings.warn(f"compile: {said}", stacklevel=2)
    return training


def _tensors(job: Job) -> dict[str, Tensor]:
    """Copies of the model's parameters and buffers by name, tied ones once."""
    named = (*job.model.named_parameters(), *job.model.named_buffers())
    return {name: tensor.detach().clone() for name, tensor in named}


def _keys(model: torch.nn.Module) -> dict[str, str]:
    """Key in the model's state_dict (tied weights have several) -> name of its tensor."""
    names = {id(tensor): name for name, tensor in (*model.named_parameters(), *model.named_buffers())}
    state = model.state_dict(keep_vars=True)
    return {key: names[id(tensor)] for key, tensor in state.items() if id(tensor) in names}


def require_device(device: str) -> None:
    """Raise BadInput where torch has no such device, or where its memory cannot be read."""
    try:
        torch.zeros(1, device=torch.device(device), dtype=torch.float64).cpu()
    except (RuntimeError, AssertionError, ImportError, TypeError) as error:  # torch raises any of these
        said = str(error).splitlines()[0].partition(". ")[0].removesuffix(".")
        raise BadInput(f"device {device!r}: {said}; use cpu, or cuda where torch finds one") from error


@contextmanager
def torch_threads(count: int | None) -> Iterator[None]:
    """While open, torch uses `count` threads on the CPU; None leaves the number as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
