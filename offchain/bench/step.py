"""`offchain bench step`: a training step beside one of plain torch."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from offchain.bench import memory
from offchain.bench.asked import asked_for, peer_of
from offchain.bench.plain import deterministic
from offchain.bench.timing import Row, Settings, Stepping, Watch, unwatched
from offchain.lower import compile as lower
from offchain.store.taskfile import save_task

PAIRS: Final = 10
PEAKS: Final = 2  # each a median over steps, in a process of its own


def rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """Each job at each precision, beside eager torch with autograd and a fused optimizer, and deterministic torch."""
    if settings.device != "cpu":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS refuses to be deterministic
    for name in jobs:
        for bits in settings.bits:
            made = asked_for(name, bits, settings)
            peer = peer_of(made, settings.device)
            watch(f"compiling {name}", 0, 1)
            task = lower(made)
            ours = Stepping(task, settings.runs(task, watch))
            for label, other in ((name, peer), (f"{name}, deterministic", deterministic(peer))):
                pairs = settings.measure(ours, other, settings.pairs(PAIRS), watch, label)
                yield Row.of(label, bits, pairs)


def memory_rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """Bytes held at the peak of a step, each in a fresh process; plain torch's are the same at every precision."""
    count = settings.pairs(PEAKS)
    for name in jobs:
        peers = list(_peaks(name, settings, count, watch))
        for bits in settings.bits:
            with TemporaryDirectory() as folder:
                file = Path(folder) / "measured.task"
                save_task(lower(asked_for(name, bits, settings)), file)
                ours = list(_peaks(name, settings, count, watch, file))
            row = Row.of(f"memory {name}", bits, list(zip(ours, peers, strict=True)), "bytes")
            yield replace(row, notes={"": "too little to tell"}) if row.peer < memory.MEASURABLE else row


def _peaks(name: str, settings: Settings, count: int, watch: Watch, file: Path | None = None) -> Iterator[int]:
    for done in range(count):
        watch(f"memory {name}", done, count)
        yield memory.peak(name, settings, file)
