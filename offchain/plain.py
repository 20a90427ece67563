"""A job or a program in ordinary torch: what a task is compared with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from offchain.errors import BadInput
from offchain.groups import optimizer_on
from offchain.job import Job, rows_of
from offchain.modes import evaluating
from offchain.program import Program, filled


class PlainTraining:
    """A job in eager torch: torch's kernels, autograd and optimizer, from the task's initial state, on its batches."""

    def __init__(self, job: Job, initial: dict[str, Tensor]) -> None:
        self.job, self.t = job, 0
        trained = {name for group in job.groups[1] for name in group.names}
        self._tensors = {name: tensor.clone().requires_grad_(name in trained) for name, tensor in initial.items()}
        self._trained = [self._tensors[name] for name in trained]
        self._optimizer = optimizer_on(job.model, job.optimizer, self._tensors)
        for group in self._optimizer.param_groups:
            group |= {"capturable": False} if "capturable" in group else {}  # wants a GPU, and changes no number
        self._rows: list[list[float]] = []
        self._validated: list[list[float]] = []

    def step(self) -> None:
        """Run one step. Raises BadInput after the last one."""
        from offchain.lower.losses import losses_at
        from offchain.lower.random import replayed

        job = self.job
        if self.t >= job.steps:
            raise BadInput(f"cannot run 1 step: 0 of {job.steps} are left")
        named = {f"model.{name}": tensor for name, tensor in self._tensors.items()}
        with replayed(job.seed, self.t), torch.enable_grad():  # a job's file may have turned it off
            loss, metrics = losses_at(job, named, torch.tensor(self.t, dtype=torch.int32))
            (loss / job.accumulate).backward()  # type: ignore[no-untyped-call]
            if (self.t + 1) % job.accumulate == 0:
                self._update(self.t // job.accumulate)
        self._tensors = {name: named[f"model.{name}"] for name in self._tensors}  # a model may replace its buffers
        self._rows.append([metric.item() for metric in metrics])
        self.t += 1
        if self.t % job.interval == 0:
            self._validate()

    def _validate(self) -> None:
        from offchain.lower.losses import losses_at
        from offchain.lower.random import replayed

        totals = [0.0] * (1 + len(self.job.metrics))
        with evaluating(self.job.model), torch.no_grad():
            for part in self.job.validations():
                for t in range(part.steps):
                    named = {f"model.{name}": tensor.detach().clone() for name, tensor in self._tensors.items()}
                    with replayed(part.seed, t):
                        _, metrics = losses_at(part, named, torch.tensor(t, dtype=torch.int32))
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
            for group, options in zip(self._optimizer.param_groups, job.options_at(count), strict=True):
                group.update(options)
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
    def evaluation(self) -> dict[str, float]:
        """The figures of the job's evaluation, of the model as it is now; {} for a job without one."""
        if self.job.evaluation is None:
            return {}
        named = {f"model.{name}": tensor.detach() for name, tensor in self._tensors.items()}
        found: dict[str, float] = torch.func.functional_call(_Evaluated(self.job), named, ())
        return found

    @property
    def parameters(self) -> dict[str, Tensor]:
        """Current parameters and buffers by name, tied ones once."""
        return {name: tensor.detach() for name, tensor in self._tensors.items()}


class _Evaluated(nn.Module):
    """A job's evaluation as a module over its model, so that `functional_call` can replace the model's tensors."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.model, self.job = job.model, job

    def forward(self) -> dict[str, float]:
        run = PlainProgram(self.job.evaluation)
        run.run()
        return {name: values[-1] for name, values in run.metrics.items()}


class PlainProgram:
    """A program in eager torch: its own steps with torch's kernels, from the initial state, on its batches."""

    def __init__(self, program: Program) -> None:
        from offchain.lower.capture import inputs_of
        from offchain.lower.stepping import program_form

        self.program, self.t = program, 0
        self._form = program_form(program, plain=True)
        self._tensors = {name: tensor.clone() for name, tensor in program.tensors.items()}
        self._columns = inputs_of(program)[:-1]
        self._rows: list[list[float]] = []
        self._outputs: list[list[Tensor]] = []

    def step(self) -> None:
        """Run one step. Raises BadInput after the last one."""
        from offchain.lower.random import replayed

        if self.t >= self.program.steps:
            raise BadInput(f"cannot run 1 step: 0 of {self.program.steps} are left")
        t = torch.tensor(self.t, dtype=torch.int32)
        with replayed(self.program.seed, t):
            given = [tensor.detach() for tensor in self._form.step(*self._tensors.values(), *self._columns, t)]
        count, told = len(self._tensors), self._form.told
        self._tensors = dict(zip(self._tensors, given, strict=False))
        self._rows.append([value.item() for value in given[count : count + len(told.metrics)]])
        self._outputs.append(given[count + len(told.metrics) :])
        self.t += 1

    def run(self, steps: int | None = None) -> None:
        """Run `steps` steps; by default all that are left."""
        for _ in range(self.program.steps - self.t if steps is None else steps):
            self.step()

    @property
    def state(self) -> Any:
        """The current state, in the program's structure."""
        return filled(self.program.state, iter(self._tensors.values()))

    @property
    def metrics(self) -> dict[str, list[float]]:
        """Each metric of all steps so far."""
        return {name: [row[i] for row in self._rows] for i, name in enumerate(self._form.told.metrics)}

    @property
    def outputs(self) -> dict[str, Tensor]:
        """The rows that all steps so far have output, by name."""
        names = [output.name for output in self._form.told.outputs]
        return {
            name: torch.cat([step[i] for step in self._outputs])[: self.program.outputs[name]]
            for i, name in enumerate(names)
        }
