"""What a requester writes: a Python file with `job = Job(...)`, or with a function `job()` that returns a Job.

    import torch
    from offchain.job import Job

    model = torch.nn.Linear(64, 10)
    job = Job(
        model=model,
        loss=lambda model, batch: torch.nn.functional.cross_entropy(model(batch["x"]), batch["y"]),
        optimizer=(torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
        dataset={"x": images, "y": labels},
        schedule=lambda t: 1 - t / 400,
        batch_size=64, steps=400, interval=50, seed=0,
    )

Only the requester runs this file. Workers get the step graph that `offchain.lower.compile` makes of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import InitVar, dataclass, field, replace
from functools import cached_property
from typing import Any, Final

import torch
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from offchain.columns import Unnamed, check_alike, columns_of
from offchain.errors import BadInput
from offchain.fields import check_model, check_name, check_number, shown
from offchain.groups import Chosen, ParameterGroup, groups_of
from offchain.lines import at, line_of_argument, line_of_caller
from offchain.schedules import MOST_UPDATES, Columns, Schedule, check_scheduler, factor, options_by_update
from offchain.task import EVALUATION

Batch = dict[str, Tensor]
Loss = Callable[[Any, Any], Tensor]  # of the model and the batch
Order = Callable[[Tensor], Tensor]

# As precise as products of that type. 13 bits are 12 beside the largest of a row, where TF32 has 11 in each element.
PRECISIONS: Final = {"int8": 8, "tf32": 13, "float32": 21}
DEFAULT_BITS: Final = PRECISIONS["tf32"]  # docs/decisions/0019


@dataclass(frozen=True)
class Job:
    """A training job in ordinary torch objects.

    model       module whose parameters that require a gradient are trained; its present values are the initial state
    loss        `loss(model, batch)`: scalar; `batch` maps each dataset name to its rows of this step, or is a tuple of
                them, where the dataset has no names
    optimizer   (torch.optim.X, its options), or a fresh optimizer over the model's parameters with groups of its own;
                a parameter in none of its groups is not trained
    dataset     float32, or integers that fit int32; all with the same first dimension. By name, or a tuple, a list or a
                TensorDataset; then they are named x0, x1, ...
    batch_size  rows a step
    steps       steps in all, a multiple of `interval`
    interval    steps between two checkpoints
    seed        for the default order, dropout and other random operations
    metrics     further scalars for the log, `metric(model, batch)`, after the loss
    bits        precision of matrix products, 2 to 27, by default 13: that of an element beside the largest of its row
    precision   the same by the name of a class: int8 (8), tf32 (13, the default), float32 (21), in place of `bits`
    order       `order(t)`: int32 rows of the batch of step t, from the int32 scalar t; default: uniform, by Philox
    schedule    `schedule(t)`: factor on every group's learning rate, from the int t, as torch's LambdaLR, or from t
                as a float32 scalar, by torch's operations; t counts the optimizer's updates. Or a scheduler of torch
                over the job's optimizer, which is stepped after each update, and may change other options too. What
                cannot be traced is evaluated for all updates
    clip_norm   as torch.nn.utils.clip_grad_norm_, over all trained parameters together
    clip_value  as torch.nn.utils.clip_grad_value_, after clip_norm
    accumulate  steps between two updates by the optimizer, which gets the mean of their gradients; divides `steps`
    name        shown to people
    validation  rows with the dataset's names and dtypes, at each checkpoint given to loss and metrics in batches of at
                most `batch_size`, the model in evaluation mode; no step reads them
    evaluation  an `offchain.Evaluation` of the job's model on data of its own, in steps after the last update, which
                the task has in addition to `steps`. Its figures are in the log as `evaluation.NAME`; precision, seed
                and interval are the job's
    """

    model: torch.nn.Module
    loss: Loss
    optimizer: Chosen
    dataset: Any
    batch_size: int
    steps: int
    interval: int
    seed: int = 0
    metrics: Mapping[str, Loss] = field(default_factory=dict)
    bits: int = DEFAULT_BITS
    order: Order | None = None
    schedule: Schedule | None = None
    clip_norm: float | None = None
    clip_value: float | None = None
    accumulate: int = 1
    name: str = "job"
    validation: Any = None
    evaluation: Any = None
    precision: InitVar[str | None] = None
    _left: frozenset[str] = field(init=False, repr=False, compare=False, default=frozenset())
    _line: str = field(init=False, repr=False, compare=False, default="")  # of the requester's call

    def __post_init__(self, precision: str | None) -> None:
        object.__setattr__(self, "_line", line_of_caller())
        try:
            if precision is not None:
                object.__setattr__(self, "bits", bits_of(precision, self.bits))
            check_name("the job", self.name)
            self._check_kinds()
            self._name_columns()
            self._check_numbers()
            check_model(self.model)
            self._check_optimizer()
            self._check_evaluation()
        except BadInput as error:
            raise BadInput(f"job{at(self._line)}: {error}") from error

    def line_of(self, name: str) -> str:
        """`FILE:LINE` where a field was given, or where the job was; "" if unknown."""
        return line_of_argument(self._line, name) if self._line else ""

    @cached_property
    def groups(self) -> tuple[type[torch.optim.Optimizer], tuple[ParameterGroup, ...]]:
        """The optimizer's class and its parameter groups, by name, every option filled in."""
        kind, groups = groups_of(self.model, self.optimizer, scheduled=isinstance(self.schedule, LRScheduler))
        return kind, tuple(group.without(self._left) for group in groups)

    def leave(self, names: frozenset[str]) -> None:
        """From now on these parameters, on which the loss does not depend, are in no group."""
        object.__setattr__(self, "_left", self._left | names)
        vars(self).pop("groups", None)

    def options_at(self, count: int) -> list[dict[str, Any]]:
        """The options of each group that the schedule sets in the update after `count` others."""
        if isinstance(self.schedule, LRScheduler):
            return [{name: column[count] for name, column in group.items()} for group in self.scheduled]
        by = 1.0 if self.schedule is None else factor(self.schedule, count)
        return [{"lr": group.options["lr"] * by} for group in self.groups[1]]

    @cached_property
    def scheduled(self) -> list[Columns]:
        """For each group the options that a scheduler of torch sets, by update."""
        assert isinstance(self.schedule, LRScheduler)
        try:
            return options_by_update(self.schedule, self.updates)
        except BadInput as error:
            raise BadInput(f"job{at(self.line_of('schedule'))}: {error}") from error

    @property
    def updates(self) -> int:
        """Updates by the optimizer in all steps."""
        return self.steps // self.accumulate

    @property
    def rows(self) -> int:
        """Rows of the dataset."""
        return rows_of(self.dataset)

    @property
    def columns(self) -> dict[str, Tensor]:
        """All that the task's steps read: the dataset's columns, and `evaluation.NAME` of the evaluation's."""
        if self.evaluation is None:
            return dict(self.dataset)
        return dict(self.dataset) | {f"{EVALUATION}{name}": rows for name, rows in self.evaluation.dataset.items()}

    @property
    def task_steps(self) -> int:
        """Steps of the task: the training's, then those of the evaluation, in whole intervals."""
        if self.evaluation is None:
            return self.steps
        count: int = -(-self.evaluation.rows // self.evaluation.batch_size)
        return self.steps + -(-count // self.interval) * self.interval

    @property
    def hosts(self) -> list[tuple[str, Any]]:
        """What of the requester's code runs in a step, by name."""
        return [
            ("the model", self.model),
            ("the loss", self.loss),
            *((f"metric {name!r}", metric) for name, metric in self.metrics.items()),
            ("order", self.order),
            ("the schedule", getattr(self.schedule, "lr_lambdas", self.schedule)),
            ("the optimizer", self.groups[0]),
            *([] if self.evaluation is None else self.evaluation.hosts),
        ]

    def given(self, batch: Mapping[str, Tensor]) -> Any:
        """The columns of a batch as the loss gets them."""
        return tuple(batch.values()) if isinstance(self.dataset, Unnamed) else dict(batch)

    def validations(self) -> tuple[Job, ...]:
        """The validation set as jobs whose steps read it once, in order: in whole batches, and what is left over."""
        if self.validation is None:
            return ()
        rows, size = rows_of(self.validation), self.batch_size
        parts = [(0, rows // size * size, size), (rows // size * size, rows, rows % size)]
        return tuple(self._reading(*part) for part in parts if part[0] < part[1])

    def _reading(self, first: int, end: int, size: int) -> Job:
        columns = type(self.dataset)({name: column[first:end] for name, column in self.validation.items()})
        count = (end - first) // size
        job = replace(
            self,
            dataset=columns,
            validation=None,
            evaluation=None,
            batch_size=size,
            steps=count,
            interval=count,
            accumulate=1,
            schedule=self.schedule if isinstance(self.schedule, LRScheduler) else None,  # whose mark is in the groups
            order=lambda t: t * size + torch.arange(size, dtype=torch.int32),
        )
        object.__setattr__(job, "_line", self._line)
        return job

    def _name_columns(self) -> None:
        object.__setattr__(self, "dataset", columns_of(self.dataset))
        if self.validation is not None:
            object.__setattr__(self, "validation", columns_of(self.validation, "validation"))
            check_alike(self.validation, self.dataset)

    def _check_kinds(self) -> None:
        if not isinstance(self.metrics, Mapping):
            raise BadInput(
                f'metrics is a {type(self.metrics).__name__}, must be a dict of named functions: {{"name": f}}'
            )
        functions: dict[str, Any] = {
            "loss": self.loss,
            **{f"metric {name!r}": metric for name, metric in self.metrics.items()},
        }
        if self.order is not None:
            functions["order"] = self.order
        if self.schedule is not None and not isinstance(self.schedule, LRScheduler):
            functions["schedule"] = self.schedule
        for what, value in functions.items():
            if not callable(value):
                raise BadInput(f"{what} is {shown(value)}, must be a function")
        for name in self.metrics:
            check_name("a metric", name)

    def _check_numbers(self) -> None:
        for what in ("batch_size", "steps", "interval", "accumulate"):
            value = getattr(self, what)
            if type(value) is not int or value < 1:
                raise BadInput(f"{what} is {shown(value)}, must be a positive integer")
        if self.batch_size > self.rows:
            raise BadInput(f"batch_size {self.batch_size} is larger than the {self.rows} rows of the dataset")
        for what in ("interval", "accumulate"):
            if self.steps % getattr(self, what):
                raise BadInput(f"steps {self.steps} is not a multiple of {what} {getattr(self, what)}")
        for what in ("clip_norm", "clip_value"):
            value = getattr(self, what)
            if value is not None and not (isinstance(value, int | float) and 0 < value < math.inf):
                raise BadInput(f"{what} is {shown(value)}, must be a positive number")
        check_number("steps", self.steps, 1, (1 << 31) - 1)
        check_number("seed", self.seed, -(1 << 63), (1 << 64) - 1)
        check_number("bits", self.bits, 2, 27)
        if "loss" in self.metrics:
            raise BadInput("a metric may not be named 'loss', which is always logged; rename it")

    def _check_evaluation(self) -> None:
        if self.evaluation is None:
            return
        if getattr(self.evaluation, "kind", "") != "evaluation":
            raise BadInput(f"evaluation is {shown(self.evaluation)}, must be an offchain.Evaluation of the job's model")
        if self.evaluation.model is not self.model:
            raise BadInput("evaluation is of another model; give it the model that the job trains")
        for name in (*self.dataset, *self.metrics):
            if name.startswith(EVALUATION):
                raise BadInput(f"{name!r} begins as the names of the evaluation's figures and columns; rename it")
        check_number("steps with those of the evaluation", self.task_steps, 1, (1 << 31) - 1)

    def _check_optimizer(self) -> None:
        _ = self.groups  # raises BadInput if the optimizer cannot be used
        if isinstance(self.schedule, LRScheduler):
            check_scheduler(self.schedule, self.optimizer)
            if self.updates > MOST_UPDATES:
                raise BadInput(f"a scheduler of torch for {self.updates} updates; at most {MOST_UPDATES}")


def rows_of(columns: Mapping[str, Tensor]) -> int:
    """Rows of each column."""
    return next(iter(columns.values())).shape[0]


def bits_of(precision: str, bits: int = DEFAULT_BITS) -> int:
    """The bits of a class of precision. Raises BadInput for another name, and where `bits` are given that differ."""
    if not isinstance(precision, str) or precision not in PRECISIONS:
        raise BadInput(f"precision is {shown(precision)}, must be one of {', '.join(PRECISIONS)}; or give bits")
    if bits not in (DEFAULT_BITS, PRECISIONS[precision]):
        raise BadInput(f"precision {precision} is {PRECISIONS[precision]} bits, and bits is {bits}: give one of them")
    return PRECISIONS[precision]
