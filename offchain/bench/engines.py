"""`offchain bench engines`: how much the choice of what multiplies differs from process to process."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from subprocess import PIPE
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
TURNS: Final = 5  # of each
LIVING: Final = 4  # at the same time: each takes a gigabyte
PAIRS: Final = 2  # in a turn, after one that does not count: others had the caches in between


def rows(jobs: Sequence[str], settings: Settings, watch: Watch = unwatched) -> Iterator[Row]:
    """How the slowest of PROCESSES fresh processes, each of which chooses anew, compares with the median one.

    Three rows: steps relative to plain torch's in the same process; seconds of steps; seconds of plain torch's, which
    has nothing to choose, so that its spread is the machine's. Processes take turns, LIVING at a time: whatever slows
    the machine for a while slows some pairs of each of them.
    """
    for name in jobs:
        for bits in settings.bits:
            with TemporaryDirectory() as folder:
                file = Path(folder) / "measured.task"
                save_task(lower(job(name, bits, settings.quick)), file)
                asked = {"job": name, "file": str(file), "settings": asdict(replace(settings, bits=(bits,), n=None))}
                processes = _measured(asked, settings.pairs(PROCESSES), watch)
            found = [Row.of("", bits, process.pairs) for process in processes]
            chosen = Counter(process.engines for process in processes)
            notes = {"chosen": ", ".join(f"{count} × {what}" for what, count in chosen.items())}
            yield replace(_spread(f"engines {name}", bits, found, lambda row: row.ratio), notes=notes)
            yield _spread(f"engines {name}: seconds", bits, found, lambda row: row.ours)
            torchs = [replace(row, ours=row.peer) for row in found]
            yield _spread(f"engines {name}: torch's seconds", bits, torchs, lambda row: row.ours)


def _spread(label: str, bits: int, found: Sequence[Row], figure: Callable[[Row], float]) -> Row:
    """The slowest process by a figure, beside the median one. The row's seconds are those of these two processes."""
    ordered = sorted(found, key=figure)
    slowest, middle = ordered[-1], ordered[len(ordered) // 2]
    ratio = figure(slowest) / statistics.median(map(figure, found))
    return Row(label, bits, slowest.ours, middle.ours, ratio, len(found))


class _Process:
    """A fresh process that has chosen its engines, and runs some pairs whenever it is asked."""

    def __init__(self, asked: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "offchain.bench.engines", json.dumps(asked)]
        self.running = subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True)
        self.engines: str = self._told()["engines"]
        self.pairs: list[tuple[float, float]] = []

    def turn(self) -> None:
        assert self.running.stdin is not None
        self.running.stdin.write("go\n")
        self.running.stdin.flush()
        self.pairs += map(tuple, self._told()["pairs"])

    def _told(self) -> Any:
        assert self.running.stdout is not None
        line = self.running.stdout.readline()
        if not line:
            said = self.running.communicate()[1].strip().splitlines() or [f"exit code {self.running.returncode}"]
            raise OffchainError(f"measuring a process: {said[-1]}")
        return json.loads(line)

    def end(self) -> None:
        self.running.communicate()


def _measured(asked: dict[str, Any], count: int, watch: Watch) -> list[_Process]:
    """Processes that have run all their pairs; those that live at the same time in turn."""
    processes: list[_Process] = []
    what, done, of = f"{asked['job']}, {asked['settings']['bits'][0]} bits", 0, count * (1 + TURNS)

    def next_is(doing: str) -> None:
        nonlocal done
        watch(f"engines {what}: {doing}", done, of)
        done += 1

    while len(processes) < count:
        living: list[_Process] = []
        try:
            for _ in range(min(LIVING, count - len(processes))):
                next_is("choosing")
                living.append(_Process(asked))
            for _ in range(TURNS):
                for process in living:
                    next_is("measuring")
                    process.turn()
        finally:
            for process in living:
                process.end()
        processes += living
    return processes


def _serve(asked: dict[str, Any]) -> None:
    """Choose, say what, and measure some pairs for each line of the input."""
    from offchain.training import torch_threads

    settings = Settings(**asked["settings"] | {"bits": tuple(asked["settings"]["bits"])})
    task, made = load_task(Path(asked["file"])), job(asked["job"], settings.bits[0], settings.quick)
    with torch_threads(settings.threads), anew():
        executor = settings.runs(task)
    ours, peer = Stepping(task, executor), ordinary_step(made, settings.device, fused=True)
    print(json.dumps({"engines": _named(executor, settings.bits[0])}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"pairs": settings.measure(ours, peer, PAIRS, unwatched, "", warm=1)}), flush=True)


def _named(executor: object, bits: int) -> str:
    if not isinstance(executor, FusedExecutor) or executor.engines is None:
        return type(executor).__name__
    digits = executor.engines.digits(bits)
    return f"{digits.lanes} lanes" if digits else executor.engines.blas.name


if __name__ == "__main__":
    try:
        _serve(json.loads(sys.argv[1]))
    except OffchainError as error:
        sys.exit(str(error))
