"""Batch prediction as a program: each step takes the next rows of a dataset, in order, and outputs what the model makes
of them.

    job = Inference(model, {"x": images}, batch_size=64, forward=lambda model, batch: model(batch["x"]).softmax(1))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn

from offchain.columns import columns_of
from offchain.errors import BadInput
from offchain.fields import check_model, shown
from offchain.job import DEFAULT_BITS, rows_of
from offchain.lines import at, line_of, line_of_caller
from offchain.modes import evaluating
from offchain.program import Program, Step

Forward = Callable[[Any, Any], Any]
LEAST: Final = 10  # steps of an interval, where no other number is named and there are as many
MOST: Final = 100


class OfModel(Program):
    """A program whose steps ask a model through `forward`."""

    reader: nn.Module
    forward: Callable[..., Any]

    @property
    def model(self) -> nn.Module:
        """The module whose parts errors name."""
        return self.reader

    @property
    def theirs(self) -> tuple[str, Callable[..., Any]]:
        return "forward", self.forward

    @property
    def hosts(self) -> list[tuple[str, Any]]:
        return [("the model", self.reader), ("forward", self.forward), *super().hosts]


class Readings(OfModel):
    """Its steps read a dataset once, in order; the last batch is filled up with its last row."""

    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        batch_size: int,
        forward: Forward,
        step: Step,
        state: Mapping[str, Any],
        interval: int | None,
        outputs: Sequence[str] = (),
        **fields: Any,
    ) -> None:
        try:
            columns = columns_of(dataset)
            if type(batch_size) is not int or batch_size < 1:
                raise BadInput(f"batch_size is {shown(batch_size)}, must be a positive integer")
            if interval is not None and (type(interval) is not int or interval < 1):
                raise BadInput(f"interval is {shown(interval)}, must be a positive integer")
            check_model(model)
            check_forward(forward)
        except BadInput as error:
            raise BadInput(f"{self.kind}{at(line_of_caller())}: {error}") from error
        object.__setattr__(self, "reader", model)
        object.__setattr__(self, "forward", forward)
        rows = rows_of(columns)
        size = min(batch_size, rows)
        count = -(-rows // size)
        whole = interval or interval_of(count)
        super().__init__(
            step=step,
            state=state,
            data=columns,
            steps=-(-count // whole) * whole,
            interval=whole,
            batch_size=size,
            order=lambda t: (t * size + torch.arange(size, dtype=torch.int32)).clamp(max=rows - 1),
            outputs=dict.fromkeys(outputs, rows),
            **fields,
        )

    def valid(self, t: Tensor) -> Tensor:
        """Which rows of the batch of step t are rows of the dataset, and no padding: bool, (batch_size,)."""
        assert self.batch_size is not None
        return t * self.batch_size + torch.arange(self.batch_size, dtype=torch.int32) < self.rows

    def made(self, batch: Any) -> Any:
        """What `forward` makes of a batch, the model in evaluation mode, without gradients."""
        with evaluating(self.reader), torch.no_grad():
            return self.forward(self.reader, batch)


class Inference(Readings):
    """Prediction of all rows of a dataset.

    model       its parameters are constants; it runs in evaluation mode
    dataset     as a Job's
    batch_size  rows a step; the last batch may be short: it is filled up, and what it outputs is cut
    forward     `forward(model, batch)`: a tensor with a row for each row of the batch, or a dict of such tensors by the
                names in `outputs`. By default the model is called with the columns, by name where they have names
    outputs     names of what is output
    interval    steps between two checkpoints; by default up to 100. Steps are rounded up to a multiple of it
    bits, precision, seed, name  as a Program's

    The log holds the mean of each step's first output.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        batch_size: int,
        forward: Forward | None = None,
        *,
        outputs: Sequence[str] = ("prediction",),
        interval: int | None = None,
        seed: int = 0,
        bits: int = DEFAULT_BITS,
        precision: str | None = None,
        name: str = "inference",
    ) -> None:
        names = (outputs,) if isinstance(outputs, str) else tuple(outputs) if isinstance(outputs, list | tuple) else ()
        line = line_of(forward) if forward else line_of_caller()

        def step(state: Any, batch: Any, t: Tensor) -> Any:
            found = _named(self.made(batch), names, len(self.valid(t)), line)
            first, valid = found[names[0]], self.valid(t)
            values = first.reshape(len(valid), -1).float().mean(1)
            mean = torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)
            return state, {"mean": mean}, found

        if not names:
            raise BadInput(
                f"inference{at(line_of_caller())}: outputs is {shown(outputs)}, must be a name, or a list of names"
            )
        super().__init__(
            model, dataset, batch_size, forward or called, step, {}, interval,
            outputs=names, seed=seed, bits=bits, precision=precision, name=name,
        )  # fmt: skip


def check_forward(forward: Any) -> None:
    """Raise BadInput unless it is a function, or None for the default."""
    if forward is not None and not callable(forward):
        raise BadInput(f"forward is {shown(forward)}, must be a function of the model and a batch")


def called(model: Any, batch: Any) -> Any:
    """The model of a batch's columns."""
    return model(*batch) if isinstance(batch, tuple) else model(**batch)


def _named(made: Any, names: Sequence[str], rows: int, line: str) -> dict[str, Tensor]:
    """The outputs by name. Raises BadInput unless each has a row for each row of the batch."""
    found = dict(made) if isinstance(made, Mapping) else {names[0]: made}
    if set(found) != set(names):
        given = ", ".join(map(repr, found))
        raise BadInput(f"inference: forward{at(line)} gives {given}, but outputs= names {', '.join(map(repr, names))}")
    for name, value in found.items():
        if not isinstance(value, Tensor) or value.ndim < 1 or value.shape[0] != rows:
            gave = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise BadInput(
                f"inference: forward{at(line)} gives {gave} as {name!r}, must give a row for each of the {rows} rows "
                "of the batch"
            )
    return found


def interval_of(steps: int) -> int:
    """Steps between two checkpoints, MOST or fewer, so that as few steps as possible are added to fill the last one."""
    tried = range(min(steps, LEAST), min(steps, MOST) + 1)
    return min(tried, key=lambda count: (-steps % count, -count))
