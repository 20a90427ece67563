"""`offchain bench step`: a training step beside one of plain torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from typing import Final

from offchain.bench import memory
from offchain.bench.jobs import job
from offchain.bench.plain import deterministic, ordinary_step
from offchain.bench.timing import Row, Settings, Stepping, Watch, unwatched
from offchain.lower import compile as lower

PAIRS: Final = 10
PEAKS: Final = 3


def rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """Each job at each precision, beside eager torch with autograd and a fused optimizer, once more deterministic."""
    if settings.device != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses to be deterministic
    for name in jobs:
        for bits in settings.bits:
            made = job(name, bits, settings.quick)
            watch(f"compiling {name}", 0, 1)
            task = lower(made)
            ours, peer = Stepping(task, settings.runs(task, watch)), ordinary_step(made, settings.device, fused=True)
            for label, other in ((name, peer), (f"{name}, deterministic", deterministic(peer))):
                pairs = settings.measure(ours, other, settings.pairs(PAIRS), watch, label)
                yield Row.of(label, bits, pairs)


def memory_rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """Bytes held at the peak of a step, each side in a fresh process."""
    count = settings.pairs(PEAKS)
    for name in jobs:
        for bits in settings.bits:
            label, pairs = f"memory {name}", list[tuple[int, int]]()
            for done in range(count):
                watch(label, done, count)
                ours, peer = (memory.peak(name, bits, way, asdict(settings)) for way in ("ours", "peer"))
                pairs.append((ours, peer))
            row = Row.of(label, bits, pairs, "bytes")
            yield replace(row, notes={"": "too little to tell"}) if row.peer < memory.MEASURABLE else row
