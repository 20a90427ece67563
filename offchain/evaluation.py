"""The evaluation of a model on a dataset as a program: sums and counts in the state, one figure each in the end.

job = Evaluation(model, {"x": images, "y": labels}, ["accuracy", "loss"], batch_size=64, target="y",
                 forward=lambda model, batch: model(batch["x"]))
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from offchain.errors import BadInput
from offchain.fields import check_name, shown
from offchain.inference import Forward, Readings, called
from offchain.job import DEFAULT_BITS
from offchain.lines import at, line_of, line_of_caller

IGNORED: Final = -100  # a target that does not count, as in torch.nn.functional.cross_entropy
CONFUSION: Final = "confusion"
MOST_CLASSES: Final = 1 << 13  # of which a confusion matrix has 256 MiB
Metric = Callable[[Any, Any], Tensor]  # of what the model made, and the batch


def _accuracy(scores: Tensor, target: Tensor) -> Tensor:
    return scores.argmax(-1) == target


def _loss(scores: Tensor, target: Tensor) -> Tensor:
    values = F.cross_entropy(scores.flatten(0, -2), target.flatten(), ignore_index=IGNORED, reduction="none")
    return values.reshape(target.shape)


_WORDS: Final[dict[str, Callable[[Tensor, Tensor], Tensor]]] = {
    "accuracy": _accuracy,
    "loss": _loss,
    "perplexity": _loss,
}
WORDS: Final = (*_WORDS, CONFUSION)


class Evaluation(Readings):
    """Figures of a model over all rows of a dataset.

    model       it runs in evaluation mode, and does not change
    dataset     as a Job's
    metrics     words, or a dict of names and functions: `metric(made, batch)` of what `forward` made, with a value for
                each row, or several, of which the figure is the mean. A dict may hold words too.
                accuracy    share of targets with the greatest score
                loss        mean cross-entropy
                perplexity  its exponential
                confusion   how often target i was taken for j: the tensor "confusion" of the result, (classes, classes)
    batch_size  rows a step; the last batch may be short
    target      for words: the column of class numbers, (rows, ...), where `forward` makes scores (rows, ..., classes);
                -100 does not count
    classes     for confusion: how many there are
    forward     `forward(model, batch)`; by default the model is called with the batch's columns
    interval, bits, precision, seed, name  as an Inference's

    The log holds each figure over the rows so far: its last row is the result.
    """

    def __init__(
        self,
        model: nn.Module,
        dataset: Any,
        metrics: Sequence[str] | Mapping[str, Any],
        batch_size: int,
        forward: Forward | None = None,
        *,
        target: str | None = None,
        classes: int | None = None,
        interval: int | None = None,
        seed: int = 0,
        bits: int = DEFAULT_BITS,
        precision: str | None = None,
        name: str = "evaluation",
    ) -> None:
        try:
            chosen = _chosen(metrics, dataset, target, classes)
        except BadInput as error:
            raise BadInput(f"evaluation{at(line_of_caller())}: {error}") from error
        state, line = _zeros(chosen, classes), line_of(forward) if forward else line_of_caller()
        words = any(not callable(metric) for metric in chosen.values())
        highest = _highest(dataset[target]) if words else (0, -1)

        def step(state: Any, batch: Any, t: Tensor) -> Any:
            made, valid, after, figures = self.made(batch), self.valid(t), dict(state), {}
            if words:
                _check_scores(made, batch[target], classes, highest, line)
            for key, metric in chosen.items():
                if metric == CONFUSION:
                    after[key] = state[key] + _confused(made, batch[target], valid, state[key])
                    continue
                values, counted = _values(key, metric, made, batch, target)
                after[key] = _added(state[key], values, valid.reshape(-1, *[1] * (values.ndim - 1)) & counted)
                mean = after[key]["sum"] / after[key]["count"].clamp(min=1)
                figures[key] = mean.exp() if metric == "perplexity" else mean
            return after, figures or {"rows": valid.sum()}

        super().__init__(
            model,
            dataset,
            batch_size,
            forward or called,
            step,
            state,
            interval,
            seed=seed,
            bits=bits,
            precision=precision,
            name=name,
        )


def _chosen(metrics: Any, dataset: Any, target: str | None, classes: int | None) -> dict[str, Any]:
    """Each metric by name, a word or a function."""
    named = {metrics: metrics} if isinstance(metrics, str) else metrics
    if isinstance(named, list | tuple):
        named = {word: word for word in named}
    if not isinstance(named, Mapping) or not named:
        raise BadInput(f"metrics is {shown(metrics)}, must be words ({', '.join(WORDS)}) or a dict of named functions")
    for name, metric in named.items():
        check_name("a metric", name)
        if not callable(metric) and metric not in WORDS:
            raise BadInput(f"metric {name!r} is {shown(metric)}, must be a function or one of {', '.join(WORDS)}")
    words = any(not callable(metric) for metric in named.values())
    if words and (not isinstance(dataset, Mapping) or target not in dataset):
        raise BadInput(f"target is {shown(target)}, must name the column of the dataset that has the class numbers")
    if (CONFUSION in named.values() or classes is not None) and (type(classes) is not int or classes < 1):
        raise BadInput(f"classes is {shown(classes)}, must be how many there are, for a confusion matrix")
    if CONFUSION in named.values() and classes is not None and classes > MOST_CLASSES:
        raise BadInput(f"classes is {classes}, of which a confusion matrix may have {MOST_CLASSES}; leave it out")
    if words:
        _check_target(target, dataset[target], classes)
    return dict(named)


def _check_target(name: Any, column: Any, classes: int | None) -> None:
    """Raise BadInput unless a column holds class numbers, of so many classes."""
    if not isinstance(column, Tensor):
        return  # what a dataset may hold is said later
    if column.dtype not in (torch.int64, torch.int32):
        raise BadInput(f"target {name!r} is {column.dtype}, must be class numbers, int64 or int32; use .long()")
    counted = column[column != IGNORED]
    if len(column) and not len(counted):
        raise BadInput(f"target {name!r} holds nothing but {IGNORED}, which does not count: there would be no figures")
    outside = counted[(counted < 0) | (counted >= (classes or 1 << 31))]
    if len(outside):
        most = "0 or more" if classes is None else f"0 to {classes - 1}, since classes is {classes}"
        raise BadInput(f"target {name!r} holds the class {int(outside[0])}, must be {most}; {IGNORED} does not count")


def _highest(column: Any) -> tuple[int, int]:
    """The first row with the highest class number, and that number; -1 for what is no column of any."""
    if not isinstance(column, Tensor) or not column.numel():
        return 0, -1
    of_rows = column.reshape(len(column), -1).amax(1)
    row = int(of_rows.argmax())
    return row, int(of_rows[row])


def _zeros(chosen: Mapping[str, Any], classes: int | None) -> dict[str, Any]:
    """The state before the first step."""
    state: dict[str, Any] = {}
    for name, metric in chosen.items():
        if metric == CONFUSION:
            state[name] = torch.zeros(classes or 1, classes or 1, dtype=torch.int32)
        else:
            kind = torch.int32 if metric == "accuracy" else torch.float32
            state[name] = {"sum": torch.zeros((), dtype=kind), "count": torch.zeros((), dtype=torch.int32)}
    return state


def _values(name: str, metric: Any, made: Any, batch: Any, target: str | None) -> tuple[Tensor, Tensor]:
    """A metric's values, with a row for each row of the batch, and which of them count."""
    if metric in _WORDS:
        wanted = batch[target]
        return _WORDS[metric](made, wanted), wanted != IGNORED
    values, rows = metric(made, batch), len(next(iter(batch.values() if isinstance(batch, dict) else batch)))
    if not isinstance(values, Tensor) or values.ndim < 1 or values.shape[0] != rows:
        gave = f"a tensor of shape {tuple(values.shape)}" if isinstance(values, Tensor) else type(values).__name__
        raise BadInput(
            f"evaluation: metric {name!r}{at(line_of(metric))} gives {gave}, must give a value for each of the {rows} "
            "rows of the batch"
        )
    return values.float(), torch.ones_like(values, dtype=torch.bool)


def _check_scores(made: Any, target: Tensor, classes: int | None, highest: tuple[int, int], line: str) -> None:
    if not isinstance(made, Tensor) or made.ndim < 2 or made.shape[:-1] != target.shape:
        gave = f"a tensor of shape {tuple(made.shape)}" if isinstance(made, Tensor) else type(made).__name__
        raise BadInput(
            f"evaluation: forward{at(line)} gives {gave}, must give scores of shape {(*target.shape, 'classes')} for a "
            f"target of shape {tuple(target.shape)}"
        )
    if classes is not None and made.shape[-1] != classes:
        raise BadInput(
            f"evaluation: forward{at(line)} gives scores of {made.shape[-1]} classes, and classes is {classes}; give "
            f"classes={made.shape[-1]}"
        )
    row, number = highest
    if number >= made.shape[-1]:
        raise BadInput(
            f"evaluation: forward{at(line)} gives scores of {made.shape[-1]} classes, and row {row} of the target "
            f"holds the class {number}, which none of them is"
        )


def _added(before: Mapping[str, Tensor], values: Tensor, counted: Tensor) -> dict[str, Tensor]:
    total = torch.where(counted, values, torch.zeros_like(values)).sum()
    return {
        "sum": before["sum"] + total.to(before["sum"].dtype),
        "count": before["count"] + counted.sum().to(torch.int32),
    }


def _confused(scores: Any, target: Tensor, valid: Tensor, before: Tensor) -> Tensor:
    """How often each class (row) was taken for each other (column) in a batch."""
    classes = torch.arange(len(before))
    counted = valid.reshape(-1, *[1] * (target.ndim - 1)) & (target != IGNORED)
    true = (target.reshape(-1, 1) == classes) & counted.reshape(-1, 1)
    taken = scores.argmax(-1).reshape(-1, 1) == classes
    found: Tensor = true.float().T @ taken.float()  # products of 0 and 1, whose sums are exact
    return found.to(torch.int32)
