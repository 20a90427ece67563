"""`offchain run`: run a task file on this machine, without a chain."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import click
from rich.progress import Progress

from offchain.commands.common import check_output, json_option, show
from offchain.commands.plot import curve
from offchain.commands.settings import settings_option
from offchain.continuation import texts_of
from offchain.errors import BadInput, OffchainError, ProcessGone
from offchain.exec.distributed import Processes, joined, own_device
from offchain.exec.make import EXECUTORS
from offchain.progress import bars
from offchain.store.checkpoint import save_model
from offchain.store.taskfile import load_task
from offchain.task import Task
from offchain.text import one_line
from offchain.training import Run

FILE = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("file", type=FILE)
@click.option("--executor", type=click.Choice(list(EXECUTORS)), default="fused", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads. Default: all cores.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--steps", type=click.IntRange(1), help="Stop after this many. Default: all of the task's.")
@click.option("-o", "--output", type=FILE, help="File for the trained model and the outputs (safetensors).")
@settings_option
@json_option
def run(
    file: Path,
    executor: str,
    threads: int | None,
    device: str,
    steps: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Run a task file, and show its metrics and the state root of each checkpoint.

    What its steps output is joined, and written beside what they change; of a generation the text is shown. If the job
    has a validation set, its figures at each checkpoint are shown too.

    Any executor, device, number of threads and number of processes gives the same roots. How precise matrix
    products are belongs to the task: `offchain task inspect` shows it.

    \b
    Example:  offchain run digits.task -o model.safetensors
              torchrun --nproc-per-node 2 -m offchain run digits.task
    """
    with joined(device) as processes:
        speaks = processes is None or processes.rank == 0
        if output and speaks:
            check_output(output, file)
        with bars(shown=speaks, lines=True) as progress:
            training = _agreed(
                processes, lambda: _prepared(file, executor, device, threads, steps, progress, processes)
            )
            began = time.perf_counter()
            _train(training, steps or training.task.steps, progress)
            roots = training.state_roots
            seconds = time.perf_counter() - began
    if not speaks:
        return
    if output:
        save_model(
            output,
            training.task,
            training.arrays(),
            training.metrics,
            training.validation,
            training.output_arrays,
        )
    _report(training, roots, seconds, output, as_json)


def _agreed(processes: Processes | None, prepared: Callable[[], Run]) -> Run:
    """The run, once every process has prepared its own. Only process 0 reports errors."""
    if processes is None:
        return prepared()
    try:
        return processes.agreed(prepared, lambda training: (training.task.graph_root + training.task.state_root).hex())
    except ProcessGone:
        raise
    except OffchainError as error:
        if processes.rank == 0:
            raise
        processes.wait_for_the_end()  # torchrun ends all processes once one fails, so wait until 0 has reported
        raise click.exceptions.Exit(error.exit_code) from error


def _loaded(file: Path) -> Task:
    if file.suffix == ".py":
        raise BadInput(f"{file} is a job file; first run: offchain task build {file} -o {file.stem}.task")
    return load_task(file, validated=True)


def _prepared(
    file: Path,
    executor: str,
    device: str,
    threads: int | None,
    steps: int | None,
    progress: Progress,
    processes: Processes | None,
) -> Run:
    """The run before its first step; shows a bar while kernels are compiled."""
    task = _loaded(file)
    if steps is not None and steps > task.steps:
        raise BadInput(f"--steps {steps}: the task has {task.steps}")
    bar = progress.add_task("kernels", total=None)

    def watch(done: int, of: int) -> None:
        progress.update(bar, completed=done, total=of)

    try:
        return Run(task, executor, own_device(device) if processes else device, threads, watch, processes)
    finally:
        progress.remove_task(bar)


def _train(training: Run, steps: int, progress: Progress) -> None:
    """Run all these steps, with a bar that shows the first metric, a job's loss, at the end of the last interval."""
    bar, name = progress.add_task("training", total=steps), training.task.graph.metrics[0]
    while training.t < steps:
        training.step()
        progress.update(bar, completed=training.t)
        if training.t % training.task.interval == 0:
            shown = f"{name} {training.last_rows[-1, 0]:.5g}"
            if training.validation:
                shown += f", validation {training.validation[name][-1]:.5g}"
            progress.update(bar, description=shown)


def _report(training: Run, roots: list[bytes], seconds: float, output: Path | None, as_json: bool) -> None:
    losses, name, texts = training.losses, training.task.graph.metrics[0], _texts(training)
    if as_json:
        facts = {
            "steps": training.t,
            name: [_finite(value) for value in losses],
            "state_roots": [root.hex() for root in roots],
            "metrics": _finite_ones(training.metrics),
            **({"validation": _finite_ones(training.validation)} if training.validation else {}),
            **({"texts": [{"prompt": prompt, "text": text} for prompt, text in texts]} if texts else {}),
            "seconds": round(seconds, 3),
        }
        click.echo(json.dumps(facts))
    else:
        rows = [
            (f"{when} {name}", f"{values[place]:.6g}")
            for name, values in training.metrics.items()
            for when, place in (("first", 0), ("last", -1))
        ]
        interval = training.task.interval
        rows += [
            (f"validation {name} at {i * interval}", f"{value:.6g}")
            for name, values in training.validation.items()
            for i, value in enumerate(values, 1)
        ]
        rows += [(f"state at {i * interval}", root.hex()) for i, root in enumerate(roots, 1)]
        rows += [("seconds", f"{seconds:.1f} ({seconds / training.t:.3g} a step)")]
        rows += [
            (f"output {key}", f"{'×'.join(map(str, array.shape))} {array.dtype}")
            for key, array in training.output_arrays.items()
        ]
        show([*rows, *([("model", str(output))] if output else [])], as_json=False)
        for line in (f"{row}: {one_line(prompt + text)}" for row, (prompt, text) in enumerate(texts)):
            click.echo(line)
        click.echo("\n".join(curve(losses)))
    bad = next((t for t, value in enumerate(losses) if not math.isfinite(value)), None)
    if bad is not None:
        click.echo(f"warning: the {name} of step {bad} is not finite ({losses[bad]})", err=True)


def _texts(training: Run) -> list[tuple[str, str]]:
    """What a generation has said: each prompt, and what follows it."""
    with suppress(BadInput):
        return texts_of(training.task, training.output_arrays) if training.task.vocabulary else []
    return []


def _finite_ones(metrics: Mapping[str, Sequence[float]]) -> dict[str, list[float | None]]:
    return {name: [_finite(value) for value in values] for name, values in metrics.items()}


def _finite(value: float) -> float | None:
    """The value, or None: JSON has no infinity and no NaN."""
    return value if math.isfinite(value) else None
