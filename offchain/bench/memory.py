"""Peak memory: `peak` of all that training holds, in a fresh process; `peak_memory` of one step beyond what stays.

A process that has run other things holds pages that a step would reuse unseen.
"""

from __future__ import annotations

import ctypes
import gc
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import torch

from offchain.errors import BadInput, OffchainError

WARM: Final = 3  # steps before the first that is measured
PAGE: Final = 4096
MEASURABLE: Final = 1_000_000  # bytes; the system counts pages, and the allocator keeps some


def peak_memory(step: Callable[[], object], device: str = "cpu") -> int:
    """Bytes that a step needs beyond what is resident before it: of the process, or of torch's on another device.

    At least a page.

    Raises BadInput on the CPU of a system that does not count them (Linux does).
    """
    gc.collect()
    if device != "cpu":
        torch.accelerator.synchronize()
        torch.accelerator.reset_peak_memory_stats()
        held = torch.accelerator.memory_allocated()
        step()
        torch.accelerator.synchronize()
        return max(PAGE, torch.accelerator.max_memory_allocated() - held)
    before = _start_anew()
    step()
    return max(PAGE, _resident("VmHWM") - before)


def _start_anew() -> int:
    """Have the system forget the peak so far; returns what is resident."""
    try:
        ctypes.CDLL(None).malloc_trim(0)  # or the step would reuse, unseen, what others freed
        Path("/proc/self/clear_refs").write_text("5")  # VmHWM starts anew
        return _resident("VmRSS")
    except (OSError, AttributeError) as error:
        raise BadInput(f"memory is measured on Linux only: {error}") from error


def _resident(field: str) -> int:
    """Bytes of this process: VmRSS now, or VmHWM at the peak (Linux)."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) * 1024


def peak(job: str, bits: int, way: str, settings: dict[str, Any]) -> int:
    """Bytes that a process of its own holds at the peak of a step of a job of `JOBS`, "ours" or "peer".

    Everything counts that was not there before: parameters, the optimizer's state, the dataset, workspaces; not
    Python and the libraries. Raises OffchainError with what that process said.
    """
    asked = json.dumps({"job": job, "bits": bits, "way": way, "settings": settings})
    done = subprocess.run([sys.executable, "-m", "offchain.bench.memory", asked], capture_output=True, text=True)
    if done.returncode:
        said = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise OffchainError(f"measuring the memory of {job!r} ({way}): {said[-1]}")
    return int(done.stdout)


def _measured(asked: dict[str, Any]) -> int:
    from offchain.bench.jobs import job
    from offchain.bench.plain import ordinary_step
    from offchain.bench.timing import Settings, Stepping
    from offchain.lower import compile as lower
    from offchain.store.taskfile import Task
    from offchain.training import torch_threads

    settings = Settings(**asked["settings"])
    made = job(asked["job"], asked["bits"], settings.quick)
    with TemporaryDirectory() as folder, torch_threads(settings.threads):
        file = Path(folder) / "measured.task"
        if asked["way"] == "ours":
            task = lower(made)
            task.save(file)
            settings.runs(task)  # kernels are compiled once for good
            del task
        before = _start_anew() if settings.device == "cpu" else 0
        if asked["way"] == "ours":
            task = Task.load(file)
            step: Callable[[], object] = Stepping(task, settings.runs(task))
        else:
            step = ordinary_step(made, settings.device, fused=True)
        for _ in range(WARM):
            step()
        if settings.device == "cpu":
            _start_anew()
            step()
            return max(PAGE, _resident("VmHWM") - before)
        step()
        torch.accelerator.synchronize()
        return torch.accelerator.max_memory_allocated()


if __name__ == "__main__":
    try:
        print(_measured(json.loads(sys.argv[1])))
    except OffchainError as error:
        sys.exit(str(error))
