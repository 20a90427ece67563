"""`offchain demo`."""

from __future__ import annotations

import json
import sys
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp

import click
from rich.console import Console

from offchain.commands.common import show
from offchain.errors import BadInput


@click.command()
@click.option("--json", "report_file", default="reports/demo.json", show_default=True, help="File for the report.",
              type=click.Path(path_type=Path, dir_okay=False))  # fmt: skip
@click.option("--logs", type=click.Path(path_type=Path, file_okay=False), help="Keep the files of all processes here.")
def demo(report_file: Path, logs: Path | None) -> None:
    """Show everything on a chain of its own: an honest run, then a cheat who is convicted of one float.

    Starts Ganache, a requester, three solvers, a cheat and two verifiers, each as a process. Takes about two minutes.

    \b
    Example:  offchain demo --json reports/demo.json
    """
    if find_spec("sklearn") is None:
        raise BadInput("the demo trains on scikit-learn's digits: run `make setup` in the project")
    from offchain.demo.play import play, summary

    folder = logs or Path(mkdtemp(prefix="offchain-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 100, highlight=False)
    report = play(folder, console)
    report_file.parent.mkdir(parents=True, exist_ok=True)
    report_file.write_text(json.dumps(report, indent=2) + "\n")
    console.rule("[bold]Report")
    show([*summary(report), ("report", str(report_file)), ("logs", str(folder))], as_json=False)
