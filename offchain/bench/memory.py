"""Peak memory: `peak` of everything that training holds, in a fresh process; `peak_memory` of one step on top of it.

A process that has done other things holds freed pages, which a step would reuse without raising the peak.
"""

from __future__ import annotations

import ctypes
import gc
import json
import statistics
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import torch

from offchain.errors import BadInput, OffchainError

if TYPE_CHECKING:
    from offchain.bench.timing import Settings

WARM: Final = 2  # steps before the first that is measured: the optimizer's state is there, buffers are taken
STEPS: Final = 5  # that are measured: what the allocator keeps of one for the next comes and goes
PAGE: Final = 4096
MEASURABLE: Final = 1_000_000  # bytes; the system counts pages, and the allocator keeps some


def peak_memory(step: Callable[[], object], device: str = "cpu", before: int | None = None) -> int:
    """Bytes at the peak of a step in addition to `before` (None: to what is held when it begins), at least a page.

    Counts the process's memory, or torch's allocator on another device. Raises BadInput for the CPU of a system that
    does not count it (Linux does).
    """
    gc.collect()
    held = _start_anew(device)
    step()
    return max(PAGE, _peak(device) - (held if before is None else before))


def _start_anew(device: str) -> int:
    """Resets the peak; returns the bytes held now."""
    if device != "cpu":
        torch.accelerator.synchronize()
        torch.accelerator.reset_peak_memory_stats()
        return torch.accelerator.memory_allocated()
    try:
        ctypes.CDLL(None).malloc_trim(0)  # otherwise the step would reuse freed memory, which the peak does not show
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        return _resident("VmRSS")
    except (OSError, AttributeError) as error:
        raise BadInput(f"memory is measured on Linux only: {error}") from error


def _peak(device: str) -> int:
    if device == "cpu":
        return _resident("VmHWM")
    torch.accelerator.synchronize()
    return torch.accelerator.max_memory_allocated()


def _resident(field: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM at the peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def peak(job: str, settings: Settings, file: Path | None = None) -> int:
    """Bytes that a process of its own holds at the peak of a step: of the task in `file`, or of the job in plain torch.

    A median over steps. Everything counts that was not there before: parameters, the optimizer's state, the dataset,
    workspaces; not Python and the libraries, nor what compiling kernels takes. Raises OffchainError with what that
    process said.
    """
    asked = json.dumps({"job": job, "file": file and str(file), "settings": asdict(settings)})
    done = subprocess.run([sys.executable, "-m", "offchain.bench.memory", asked], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise OffchainError(f"measuring the memory of {job!r} ({'ours' if file else 'peer'}): {said[-1]}")
    return int(done.stdout)


def _measured(asked: dict[str, Any]) -> int:
    from offchain.bench.asked import asked_for, peer_of
    from offchain.bench.timing import Settings, Stepping
    from offchain.program import Asked, Program
    from offchain.store.taskfile import load_task
    from offchain.training import torch_threads

    settings = Settings(**asked["settings"])
    with torch_threads(settings.threads):
        if asked["file"]:
            settings.runs(load_task(Path(asked["file"])))  # kernels are compiled once for good
            gc.collect()
            before = _start_anew(settings.device)
            task = load_task(Path(asked["file"]))
            step: Callable[[], object] = Stepping(task, settings.runs(task))
        else:
            made: Asked | None = asked_for(asked["job"], settings.bits[0], settings)
            if isinstance(made, Program):  # its step reads the model's own weights: made again, these count
                made = None
            gc.collect()
            before = _start_anew(settings.device)
            step = peer_of(made or asked_for(asked["job"], settings.bits[0], settings), settings.device)
        for _ in range(WARM):
            step()
        return int(statistics.median(peak_memory(step, settings.device, before) for _ in range(STEPS)))


if __name__ == "__main__":
    try:
        print(_measured(json.loads(sys.argv[1])))
    except OffchainError as error:
        sys.exit(str(error))
