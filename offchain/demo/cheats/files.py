"""What a requester serves in place of the file of the task that it posted."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from offchain.store.taskfile import save_task
from offchain.task import Task


def another(task: Task, path: Path) -> None:
    """The same task with another start."""
    first = task.state[0].copy()
    first.reshape(-1)[0] += 1
    save_task(replace(task, state=(first, *task.state[1:]), validation=()), path)


def torn(task: Task, path: Path) -> None:
    """Half of the file."""
    save_task(replace(task, validation=()), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def none(task: Task, path: Path) -> None:
    """No file at all."""
    path.unlink(missing_ok=True)
