"""The log, the last slot of every state: the metrics of the interval's steps so far, one row a step."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from offchain.ir.division import remainder
from offchain.ir.graph import Source
from offchain.ir.log import carried_rows
from offchain.ir.program import F32, Value
from offchain.lower.builder import GraphBuilder
from offchain.lower.refs import Ref

TOGETHER: Final = 8  # metrics that one map writes: a dispute opens a chunk of each


def next_log(builder: GraphBuilder, slot: int, shape: tuple[int, ...], metrics: Sequence[Ref]) -> Ref:
    """The log after a step, from the old log in `slot` and this step's metrics, each of one element.

    `shape` is (steps of an interval, metrics). Row t mod c takes the metrics and earlier rows are carried over. Later
    rows read nothing of the old log, so the first step of an interval does not depend on it.
    """
    rows, columns = shape
    old = Ref.whole(Source.STATE, slot, F32, shape)
    floats = [builder.map(lambda v: v.cast(F32), metric.expand(())) for metric in metrics]
    index = builder.numbers((rows,), carried_rows(rows), (-1, rows - 1)).unsqueeze(1)
    kept = builder.gather(old.permute([1, 0]).unsqueeze(0), index.expand(shape))

    for first in range(0, columns, TOGETHER):
        kept = _written(builder, kept, first, floats[first : first + TOGETHER])
    return kept


def _written(builder: GraphBuilder, log: Ref, first: int, metrics: Sequence[Ref]) -> Ref:
    """The log with row t mod c overwritten by metrics, from column `first` on."""
    rows, columns = log.shape

    def row(kept: Value, *values: Value) -> Value:
        p = kept.program
        new = values[-1]
        for column in reversed(range(len(values) - 1)):
            new = p.index(1).eq(first + column).where(values[column], new)
        here = p.index(0).eq(remainder(p.step(), rows))
        if first:
            here = here & p.index(1).ge(first)
        if first + len(values) < columns:
            here = here & p.index(1).lt(first + len(values))
        return here.where(new, kept)

    return builder.generate(log.shape, row, log, *metrics)
