"""`offchain bench engines`: how much the choice of what multiplies differs from process to process."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from offchain.bench.jobs import job
from offchain.bench.plain import ordinary_step
from offchain.bench.timing import Row, Settings, Stepping, Watch, unwatched
from offchain.errors import OffchainError
from offchain.exec.fused.choice import anew
from offchain.exec.fused.executor import FusedExecutor
from offchain.lower import compile as lower
from offchain.store.taskfile import load_task, save_task

PROCESSES: Final = 20
PAIRS: Final = 8  # in each


def rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """The slowest of PROCESSES fresh processes beside the median one, each of which chooses anew.

    A step's time in a process is compared with plain torch's there, so that what slows the machine for a while does
    not count; the row's seconds are those of these two processes.
    """
    for name in jobs:
        for bits in settings.bits:
            with TemporaryDirectory() as folder:
                file, label = Path(folder) / "measured.task", f"engines {name}"
                save_task(lower(job(name, bits, settings.quick)), file)
                found = list(_processes(name, bits, file, settings, watch))
            found.sort(key=lambda process: process["ratio"])
            slowest, middle = found[-1], found[len(found) // 2]
            ratio = slowest["ratio"] / statistics.median(process["ratio"] for process in found)
            row = Row(label, bits, slowest["seconds"], middle["seconds"], ratio, len(found))
            chosen = Counter(process["engines"] for process in found)
            yield replace(row, notes={"chosen": ", ".join(f"{count} × {what}" for what, count in chosen.items())})


def _processes(name: str, bits: int, file: Path, settings: Settings, watch: Watch) -> Iterator[dict[str, Any]]:
    count = settings.pairs(PROCESSES)
    asked = {"job": name, "file": str(file), "settings": asdict(replace(settings, bits=(bits,), n=None))}
    for done in range(count):
        watch(f"engines {name}", done, count)
        ran = subprocess.run(
            [sys.executable, "-m", "offchain.bench.engines", json.dumps(asked)], capture_output=True, text=True
        )
        if ran.returncode:
            said = ran.stderr.strip().splitlines() or [f"exit code {ran.returncode}"]
            raise OffchainError(f"measuring a process: {said[-1]}")
        yield json.loads(ran.stdout)


def _measured(asked: dict[str, Any]) -> dict[str, Any]:
    from offchain.training import torch_threads

    settings = Settings(**asked["settings"] | {"bits": tuple(asked["settings"]["bits"])})
    task, made = load_task(Path(asked["file"])), job(asked["job"], settings.bits[0], settings.quick)
    with torch_threads(settings.threads), anew():
        executor = settings.runs(task)
    ours, peer = Stepping(task, executor), ordinary_step(made, settings.device, fused=True)
    pairs = settings.measure(ours, peer, settings.pairs(PAIRS), unwatched, "")
    row = Row.of("", settings.bits[0], pairs)
    return {"seconds": row.ours, "ratio": row.ratio, "engines": _named(executor, row.bits)}


def _named(executor: object, bits: int) -> str:
    if not isinstance(executor, FusedExecutor) or executor.engines is None:
        return type(executor).__name__
    digits = executor.engines.digits(bits)
    return f"{digits.lanes} lanes" if digits else executor.engines.blas.name


if __name__ == "__main__":
    try:
        print(json.dumps(_measured(json.loads(sys.argv[1]))))
    except OffchainError as error:
        sys.exit(str(error))
