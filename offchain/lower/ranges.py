"""Indices that torch would refuse when a step runs: found when a job is built, over all rows and steps.

An index that is computed from the dataset, the step number and constants is computed here as it will be in each step.
What depends on what a job learns is not known: a gather reads 0 outside of its table, a write outside is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Final, cast

import torch
from torch import Tensor, fx

from offchain.errors import BadInput
from offchain.ir.program import Bounds
from offchain.job import Job
from offchain.lines import at, line_of
from offchain.lower.origin import described
from offchain.program import Asked
from offchain.task import EVALUATION

aten = torch.ops.aten
_STEPS: Final = 1 << 16  # of more steps this many are tried, evenly spaced
_MOST: Final = 1 << 28  # numbers that are looked at, to try each row alone
_BLOCK: Final = 256  # batches that are computed at once
_MOST_PRODUCTS: Final = 1 << 34  # that are computed: a step whose weights never change could be run here as a whole


@dataclass(frozen=True)
class Index:
    """An index of a captured operation: its values must be `low` to `high`."""

    user: fx.Node
    node: fx.Node
    low: int
    high: int

    def outside(self, values: Tensor) -> Tensor:
        return (values < self.low) | (values > self.high)


def _along(node: fx.Node) -> Iterator[Index]:
    table, arguments = _table(node), cast("Any", node.args)
    size = table.shape[arguments[1]] if table.ndim else 1
    yield Index(node, arguments[2], 0, size - 1)


def _rows(node: fx.Node) -> Iterator[Index]:
    yield Index(node, node.args[1], 0, _table(node).shape[0] - 1)  # type: ignore[arg-type]


def _axes(node: fx.Node) -> Iterator[Index]:
    indices: Any = node.args[1]
    for size, index in zip(_table(node).shape, indices, strict=False):
        if index is not None and index.meta["val"].dtype is not torch.bool:
            yield Index(node, index, -size, size - 1)


def _flat(node: fx.Node) -> Iterator[Index]:
    size = prod(_table(node).shape)
    yield Index(node, node.args[1], -size, size - 1)  # type: ignore[arg-type]


def _table(node: fx.Node) -> Tensor:
    table: Any = node.args[0]
    value: Tensor = table.meta["val"]
    return value


_INDICES: Final[dict[Any, Callable[[fx.Node], Iterator[Index]]]] = {
    **dict.fromkeys((aten.index_select, aten.gather), _along),
    **dict.fromkeys((aten.scatter, aten.scatter_add, aten.scatter_reduce), _along),
    aten.embedding: _rows,
    **dict.fromkeys((aten.index, aten._unsafe_index, aten.index_put, aten._unsafe_index_put), _axes),
    aten.put: _flat,
}


_PRODUCTS: Final[dict[Any, int]] = {aten.mm: 1, aten.addmm: 2, aten.bmm: 1, aten.baddbmm: 2, aten.convolution: 1}


@dataclass(frozen=True)
class Known:
    """What a captured step reads: the dataset's columns by name, the step number, and all that never changes."""

    data: Mapping[fx.Node, str]
    step: fx.Node
    fixed: Mapping[fx.Node, Tensor]


def check_ranges(job: Asked, module: fx.GraphModule, known: Known, bounds: Callable[[Any], Bounds]) -> None:
    """Raise BadInput if an index leaves its range in some row or step; `bounds` knows some of captured values."""
    found: dict[fx.Node, Index] = {}
    for node in module.graph.nodes:
        found_in = _INDICES.get(getattr(node.target, "overloadpacket", None))
        for index in found_in(node) if found_in else ():
            low, high = bounds(index.node)
            if not index.low <= low <= high <= index.high and (job.order or index.user.args[0] not in known.data):
                found.setdefault(index.node, index)
    for index in found.values():
        part = _Part.of(index.node, known, module)
        if part is not None and part.products * max(job.steps, job.rows) <= _MOST_PRODUCTS:
            _check(job, index, part)


@dataclass(frozen=True)
class _Part:
    """The part of a captured step that computes an index: its nodes, and the rows of the dataset that it reads."""

    nodes: tuple[fx.Node, ...]
    rows: Mapping[fx.Node, str]
    known: Known
    module: fx.GraphModule

    @classmethod
    def of(cls, index: fx.Node, known: Known, module: fx.GraphModule) -> _Part | None:
        """None if it depends on what a job learns, or counts."""
        nodes: set[fx.Node] = set()
        rows: dict[fx.Node, str] = {}
        waiting = [index]
        while waiting:
            node = waiting.pop()
            if node in nodes or node in rows or node is known.step or node in known.fixed:
                continue
            if node.op == "placeholder":
                return None
            if node.args and node.args[0] in known.data:
                rows[node] = known.data[node.args[0]]  # type: ignore[index]
            else:
                nodes.add(node)
                waiting += node.all_input_nodes
        return cls(tuple(node for node in module.graph.nodes if node in nodes), rows, known, module)

    @property
    def of_evaluation(self) -> bool:
        """Whether the rows that it reads are those of a job's evaluation."""
        return all(name.startswith(EVALUATION) for name in self.rows.values())

    @property
    def products(self) -> int:
        """How many numbers its matrix products multiply, of one batch."""
        count = 0
        for node in self.nodes:
            packet, arguments = getattr(node.target, "overloadpacket", None), cast("Any", node.args)
            if packet in _PRODUCTS:
                shape = arguments[_PRODUCTS[packet]].meta["val"].shape
                extent = prod(shape[1:]) if packet is aten.convolution else shape[-2]
                count += node.meta["val"].numel() * extent
        return count

    def value(self, t: Tensor, *columns: Tensor) -> Tensor:
        """The index in step t, whose batch has these rows."""
        values: dict[fx.Node, Any] = {
            self.known.step: t,
            **self.known.fixed,
            **dict(zip(self.rows, columns, strict=True)),
        }
        for node in self.nodes:
            if node.op == "get_attr":
                values[node] = getattr(self.module, str(node.target))
                continue
            args, kwargs = fx.map_arg((node.args, node.kwargs), values.__getitem__)
            values[node] = node.target(*args, **kwargs)  # type: ignore[operator]
        result: Tensor = values[self.nodes[-1]] if self.nodes else columns[0] if columns else t
        return result


def _check(job: Asked, index: Index, part: _Part) -> None:
    columns = [job.columns[name] for name in part.rows.values()]
    if isinstance(job, Job) and job.evaluation is not None and columns and part.of_evaluation:
        job = job.evaluation
    columns = [column if column.dtype is torch.float32 else column.to(torch.int32) for column in columns]
    for steps, rows in _batches(job, columns):
        values = _values(part, steps, [column[rows] for column in columns])
        bad = index.outside(values).reshape(len(steps), -1).any(1)
        if bad.any():
            k = int(bad.nonzero()[0])
            if columns:
                _refuse_row(index, part, columns, rows[k])
            _refuse_step(job, index, int(steps[k]), values[k])


def _batches(job: Asked, columns: Sequence[Tensor]) -> Iterator[tuple[Tensor, Tensor]]:
    """Steps and the rows of their batches, some at once: all rows in turn, then, unless that is too much, each row as a
    whole batch, since a loss may look at some places of a batch only. Without columns: all steps."""
    size = job.batch_size or 1
    count = -(-job.rows // size) if columns else min(job.task_steps, _STEPS)
    tried = torch.arange(count) if columns else torch.linspace(0, job.task_steps - 1, count, dtype=torch.float64).long()
    place = torch.arange(size)
    for steps in torch.split(tried, _BLOCK):
        rows = (steps[:, None] * size + place).clamp(max=job.rows - 1)
        yield (steps % job.steps).int(), rows
    if columns and sum(column.numel() for column in columns) * size <= _MOST:
        for rows in torch.split(torch.arange(job.rows), _BLOCK):
            yield torch.zeros(len(rows), dtype=torch.int32), rows[:, None].expand(-1, size)


def _values(part: _Part, steps: Tensor, columns: Sequence[Tensor]) -> Tensor:
    """The index of each of several steps."""
    with torch.no_grad():
        try:
            return torch.func.vmap(part.value)(steps, *columns)
        except (RuntimeError, NotImplementedError):  # an operation that torch cannot batch
            return torch.stack([part.value(*one) for one in zip(steps, *columns, strict=True)])


def _refuse_row(index: Index, part: _Part, columns: Sequence[Tensor], rows: Tensor) -> None:
    alone = rows[:, None].expand(-1, len(rows))  # batches of one row each, repeated
    values = _values(part, torch.zeros(len(rows), dtype=torch.int32), [column[alone] for column in columns])
    bad = index.outside(values).reshape(len(rows), -1)
    place = f"row {int(rows[int(bad.any(1).nonzero()[0])])}" if bad.any() else f"rows {int(rows[0])} to {int(rows[-1])}"
    value = int(values.reshape(len(rows), -1)[bad][0]) if bad.any() else "one"
    names = ", ".join(repr(name) for name in dict.fromkeys(part.rows.values()))
    what = f"gives the index {value}, outside of {index.low} to {index.high}"
    if not index.high:  # the table of one row that `substitutes` looks a condition up in
        what = "is outside of what the function takes"
    raise BadInput(
        f"{described(index.user)}: {place} of dataset {names} {what}; correct that row, or make the table that is "
        "indexed larger"
    )


def _refuse_step(job: Asked, index: Index, step: int, values: Tensor) -> None:
    value = int(values[index.outside(values)][0])
    if job.order is not None and index.user.op == "call_function" and index.high == job.rows - 1 and not index.low:
        where = at(line_of(job.order))
        raise BadInput(
            f"order(t){where}: gives row {value} in step {step}, outside of 0 to {index.high}; take rows % {job.rows}"
        )
    raise BadInput(
        f"{described(index.user)}: the index is {value} in step {step}, outside of {index.low} to {index.high}; "
        "index within the tensor's shape"
    )
