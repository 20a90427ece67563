"""Runs a task on this machine; behind `offchain.compile` in Python and `offchain run` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor

from offchain.commit.closing import Reached, close
from offchain.commit.roots import state_root
from offchain.errors import BadInput
from offchain.evaluation import Evaluation
from offchain.exec import Executor, Setting, make_executor
from offchain.exec.distributed import Processes
from offchain.groups import optimizer_on
from offchain.ir.arrays import Array
from offchain.job import Job, rows_of
from offchain.progress import Count, unwatched
from offchain.store.taskfile import save_task
from offchain.task import Task

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
        self._evaluation = Evaluation(
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
        if self.task.validation:
            self._validated.append(self._evaluation.of(state))
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

    def plain(self) -> PlainTraining:
        """The same job in ordinary torch, from the same initial values."""
        return PlainTraining(self.job, self._initial)


class PlainTraining:
    """A job in eager torch: torch's kernels, autograd and optimizer, from the task's initial state, on its batches."""

    def __init__(self, job: Job, initial: dict[str, Tensor]) -> None:
        self.job, self.t = job, 0
        trained = {name for group in job.groups[1] for name in group.names}
        self._tensors = {name: tensor.clone().requires_grad_(name in trained) for name, tensor in initial.items()}
        self._trained = [self._tensors[name] for name in trained]
        self._optimizer = optimizer_on(job.model, job.optimizer, self._tensors)
        self._rows: list[list[float]] = []
        self._validated: list[list[float]] = []

    def step(self) -> None:
        """Run one step. Raises BadInput after the last one."""
        from offchain.lower.random import replayed

        job = self.job
        if self.t >= job.steps:
            raise BadInput(f"cannot run 1 step: 0 of {job.steps} are left")
        named = {f"model.{name}": tensor for name, tensor in self._tensors.items()}
        with replayed(job.seed, self.t):
            loss, metrics = self._losses(job, named, self.t)
            (loss / job.accumulate).backward()  # type: ignore[no-untyped-call]
            if (self.t + 1) % job.accumulate == 0:
                self._update(self.t // job.accumulate)
        self._tensors = {name: named[f"model.{name}"] for name in self._tensors}  # a model may replace its buffers
        self._rows.append([metric.item() for metric in metrics])
        self.t += 1
        if self.t % job.interval == 0:
            self._validate()

    @staticmethod
    def _losses(job: Job, named: dict[str, Tensor], t: int) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The loss, and all metrics, of the batch of step t."""
        from offchain.lower.capture import Losses, batch_of

        batch = batch_of(job, job.dataset, torch.tensor(t, dtype=torch.int32))
        given: tuple[Tensor, tuple[Tensor, ...]] = torch.func.functional_call(Losses(job), named, (batch,))
        return given

    def _validate(self) -> None:
        from offchain.lower.capture import evaluating
        from offchain.lower.random import replayed

        totals = [0.0] * (1 + len(self.job.metrics))
        with evaluating(self.job.model), torch.no_grad():
            for part in self.job.validations():
                for t in range(part.steps):
                    named = {f"model.{name}": tensor.detach().clone() for name, tensor in self._tensors.items()}
                    with replayed(part.seed, t):
                        _, metrics = self._losses(part, named, t)
                    totals = [total + part.batch_size * m.item() for total, m in zip(totals, metrics, strict=True)]
        if self.job.validation is not None:
            self._validated.append([total / rows_of(self.job.validation) for total in totals])

    def _update(self, count: int) -> None:
        """The optimizer's update after `count` others."""
        job, utils = self.job, torch.nn.utils
        if job.clip_norm is not None:
            utils.clip_grad_norm_(self._trained, job.clip_norm)
        if job.clip_value is not None:
            utils.clip_grad_value_(self._trained, job.clip_value)
        if job.schedule is not None:
            for group, rate in zip(self._optimizer.param_groups, job.rates(count), strict=True):
                group["lr"] = rate
        self._optimizer.step()
        self._optimizer.zero_grad()

    def run(self, steps: int | None = None) -> None:
        """Run `steps` steps; by default all that are left."""
        for _ in range(self.job.steps - self.t if steps is None else steps):
            self.step()

    @property
    def metrics(self) -> dict[str, list[float]]:
        """Each metric of all steps so far, the loss first."""
        return {name: [row[i] for row in self._rows] for i, name in enumerate(("loss", *self.job.metrics))}

    @property
    def losses(self) -> list[float]:
        """The loss of each step so far."""
        return [row[0] for row in self._rows]

    @property
    def validation(self) -> dict[str, list[float]]:
        """Each metric on the validation set, at each checkpoint so far; {} for a job without one."""
        names = () if self.job.validation is None else ("loss", *self.job.metrics)
        return {name: [row[i] for row in self._validated] for i, name in enumerate(names)}

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Current parameters and buffers by name, tied ones once."""
        return {name: tensor.detach() for name, tensor in self._tensors.items()}


def compile(
    job: Job | None = None,
    *,
    executor: str = "fused",
    device: str = "cpu",
    threads: int | None = None,
    processes: Processes | None = None,
    **fields: Any,
) -> Training:
    """A Job, or its fields, compiled to a task that can be saved, run here, and compared with plain torch.

    The `processes` of `offchain.exec.distributed.joined`, which must compile the same job, share every step.
    Without `interval` there is a checkpoint every 100 steps, or as many as the next smaller divisor of `steps`.
    Raises BadInput or Unsupported in one line.
    """
    if job is not None and fields:
        raise BadInput(f"compile: give a job, or its fields ({', '.join(fields)}), not both")
    if job is None:
        steps = fields.get("steps")
        if "interval" not in fields and isinstance(steps, int) and steps > 0:
            fields["interval"] = max(c for c in range(1, min(steps, MAX_INTERVAL) + 1) if steps % c == 0)
        try:
            job = Job(**fields)
        except TypeError as error:
            raise BadInput(f"compile: {str(error).replace('Job.__init__()', 'a job')}") from error
    return Training(job, executor, device, threads, processes)


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
