"""What a state holds of its interval's steps so far, one row a step: the log of their metrics, and their outputs.

Row t mod c takes what step t gives, and earlier rows are carried over. Later rows read nothing of the slot before, so
the first step of an interval does not depend on it (docs/decisions/0001).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Final

from offchain.ir.graph import Source
from offchain.ir.log import carried_rows
from offchain.ir.program import F32, Value
from offchain.ir.rows import is_row
from offchain.lower.builder import GraphBuilder
from offchain.lower.refs import Ref

TOGETHER: Final = 8  # metrics that one map writes: a dispute opens a chunk of each


def next_log(builder: GraphBuilder, slot: int, shape: tuple[int, ...], metrics: Sequence[Ref]) -> Ref:
    """The log after a step, from the old log in `slot` and this step's metrics, each of one element.

    `shape` is (steps of an interval, metrics).
    """
    floats = [builder.map(lambda v: v.cast(F32), metric.expand(())) for metric in metrics]
    kept = _carried(builder, Ref.whole(Source.STATE, slot, F32, shape))
    for first in range(0, shape[1], TOGETHER):
        kept = _written(builder, kept, first, floats[first : first + TOGETHER])
    return kept


def next_rows(builder: GraphBuilder, slot: int, interval: int, output: Ref) -> Ref:
    """The outputs of an interval after a step, (interval, *shape of an output), from the old ones in `slot`."""
    shape = (interval, *output.shape)
    flat = builder.reshape(output, (prod(output.shape),))
    kept = _carried(builder, Ref.whole(Source.STATE, slot, output.dtype, (interval, *flat.shape)))

    def row(kept: Value, new: Value) -> Value:
        return is_row(kept.program, interval).where(new, kept)

    return builder.reshape(builder.generate(kept.shape, row, kept, flat.unsqueeze(0)), shape)


def _carried(builder: GraphBuilder, old: Ref) -> Ref:
    """Those of the old rows that belong to the interval's steps so far; the others are 0."""
    rows = old.shape[0]
    index = builder.numbers((rows,), carried_rows(rows), (-1, rows - 1)).unsqueeze(1)
    return builder.gather(old.permute([1, 0]).unsqueeze(0), index.expand(old.shape))


def _written(builder: GraphBuilder, log: Ref, first: int, metrics: Sequence[Ref]) -> Ref:
    """The log with row t mod c overwritten by metrics, from column `first` on."""
    rows, columns = log.shape

    def row(kept: Value, *values: Value) -> Value:
        p = kept.program
        new = values[-1]
        for column in reversed(range(len(values) - 1)):
            new = p.index(1).eq(first + column).where(values[column], new)
        here = is_row(p, rows)
        if first:
            here = here & p.index(1).ge(first)
        if first + len(values) < columns:
            here = here & p.index(1).lt(first + len(values))
        return here.where(new, kept)

    return builder.generate(log.shape, row, log, *metrics)
