"""A job's file becomes a task file."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from offchain.commands.common import check_output, patience, printing_aside
from offchain.store.taskfile import save_task
from offchain.task import Task

JOB: Final = ".py"  # how the name of a job's file ends


def build_file(job: Path, output: Path) -> tuple[Task, float | None]:
    """Trace, lower and check a job or a program, and write it with its data. The task, and how far a job's first update
    is from torch's.

    Raises BadInput, and what lowering raises.
    """
    from offchain.closeness import judged
    from offchain.job import Job
    from offchain.jobfile import load
    from offchain.lower import compile as lower

    check_output(output, job)
    with patience(f"tracing and lowering {job.name}"), printing_aside():  # of the job's own code
        loaded = load(job)
        built = lower(loaded, lent=True)  # nothing else runs here that could change the job's tensors
        save_task(built, output)
        apart, said = judged(loaded, built) if isinstance(loaded, Job) else (None, "")
    if said:
        click.echo(f"warning: {job}: {said}", err=True)
    return built, apart


def task_file(file: Path) -> Path:
    """A task file as it is; of a job's file the task file that it is built into, in this folder."""
    if file.suffix != JOB:
        return file
    output = Path(file.with_suffix(".task").name)
    build_file(file, output)
    click.echo(f"built {output}", err=True)
    return output
