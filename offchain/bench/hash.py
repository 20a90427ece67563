"""`offchain bench hash`: the Merkle root of a state beside one plain SHA-256, and what a commitment costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from offchain.bench.jobs import job
from offchain.bench.timing import Row, Settings, Stepping, Watch, unwatched
from offchain.commit.roots import state_root
from offchain.ir.arrays import Array
from offchain.lower import compile as lower

PAIRS: Final = 10
INTERVAL: Final = 100  # steps


def rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """The root of each job's state, and at each precision a commitment beside the steps of an interval."""
    n = settings.pairs(PAIRS)
    for name in jobs:
        for first, bits in enumerate(settings.bits):
            watch(f"compiling {name}", 0, 1)
            task = lower(job(name, bits, settings.quick))
            steps = Stepping(task, settings.runs(task, watch))
            if not first:
                yield _root(f"state root {name}", list(task.state), settings, n, watch)
            label = f"commit {name}"
            pairs = settings.measure(lambda: commit(steps), steps, n, watch, label)  # noqa: B023  called here
            yield Row.of(label, bits, [(ours, INTERVAL * step) for ours, step in pairs])


def commit(steps: Stepping) -> bytes:
    """What a solver does at the end of an interval, except sending the commitment."""
    return state_root(steps.executor.dump(steps.state))


def _root(label: str, state: Sequence[Array], settings: Settings, n: int, watch: Watch) -> Row:
    pairs = settings.measure(lambda: state_root(state), lambda: digest(state), n, watch, label)
    row = Row.of(label, 0, pairs)
    size = sum(array.nbytes for array in state)
    return replace(row, notes={"GB/s": f"{size / row.ours / 1e9:.2f}", "MB": f"{size / 1e6:.3g}"})


def digest(state: Sequence[Array]) -> bytes:
    """SHA-256 of the same bytes, by one core."""
    digest = sha256()
    for array in state:
        digest.update(array.data.cast("B"))
    return digest.digest()
