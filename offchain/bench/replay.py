"""`offchain bench replay`: a disputed step with its trace beside the same step in training."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from offchain.bench.jobs import job
from offchain.bench.timing import Row, Settings, Watch, unwatched
from offchain.dispute.replay import Ledger, Replay
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.lower import compile as lower

PAIRS: Final = 10
BEFORE: Final = 2  # steps before the measured one, so that its state is not the initial one


def rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """For each job at each precision: the step with its full trace, all of it hashed, beside the step alone."""
    for name in jobs:
        for bits in settings.bits:
            watch(f"compiling {name}", 0, 1)
            task = lower(job(name, bits, settings.quick))
            executor, ledger = settings.runs(task, watch), Ledger(task.graph, task.constants, task.datasets)
            state = executor.load(task.state)
            for t in range(BEFORE):
                state = executor.step(state, t)
            yield _beside(name, bits, executor, ledger, executor.dump(state), settings, watch)


def _beside(
    name: str, bits: int, executor: Executor[Any], ledger: Ledger, state: list[Array], settings: Settings, watch: Watch
) -> Row:
    held, label = executor.load(state), f"replay {name}"

    def ours() -> bytes:
        return trace_root(executor, ledger, state)

    def peer() -> Any:
        return executor.step(held, BEFORE)

    return Row.of(label, bits, settings.measure(ours, peer, settings.pairs(PAIRS), watch, label))


def trace_root(executor: Executor[Any], ledger: Ledger, state: Sequence[Array]) -> bytes:
    """The root of the trace of a step, as both players compute it: with the trees of its state and its trace."""
    return Replay(executor, ledger, BEFORE, state).step(BEFORE).trace.root
