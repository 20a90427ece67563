"""`offchain demo`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.util import find_spec
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import click
from rich.console import Console

from offchain.commands.common import show
from offchain.errors import BadInput
from offchain.store.tensorfile import check_writable

Rows = Sequence[tuple[str, Any]]


@click.command()
@click.option("--cheat", metavar="NAME", help="Play that cheat instead, until its task has ended; `list` shows all.")
@click.option("--generation", is_flag=True, help="A text is bought instead, of which a solver swaps one word.")
@click.option("--json", "report_file", default="reports/demo.json", show_default=True, help="File for the report.",
              type=click.Path(path_type=Path, dir_okay=False))  # fmt: skip
@click.option("--logs", type=click.Path(path_type=Path, file_okay=False), help="Keep the files of all processes here.")
def demo(cheat: str | None, generation: bool, report_file: Path, logs: Path | None) -> None:
    """Show everything on a chain of its own: an honest run, then a cheat who is convicted of one float.

    Starts Ganache, a requester, three solvers, a cheat and three verifiers, one of which replays nothing, each as a
    process. Takes about two minutes. With --cheat, one of the cheats of the catalogue meets an honest solver and an
    honest verifier, for about three. With --generation a solver swaps one word of a text; a verifier notices, and the
    word is shown beside the true one, for about one.

    \b
    Example:  offchain demo --json reports/demo.json
              offchain demo --generation
              offchain demo --cheat list
              offchain demo --cheat sock-puppet
    """
    if cheat == "list":
        _list()
        return
    if cheat is not None:
        if generation:
            raise BadInput("--cheat and --generation are demos of their own: name one of them")
        _require(cheat)
    if not generation and find_spec("sklearn") is None:
        raise BadInput("the demo trains on scikit-learn's digits: run `make setup` in the project")
    report_file.parent.mkdir(parents=True, exist_ok=True)
    check_writable(report_file)
    folder = logs or Path(mkdtemp(prefix="offchain-demo-"))
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if sys.stdout.isatty() else 80, highlight=False)
    report, rows = _played(folder, console, cheat, generation)
    report_file.write_text(json.dumps(report, indent=2) + "\n")
    console.rule("[bold]Report")
    show([*rows, ("report", str(report_file)), ("logs", str(folder))], as_json=False)


def _played(folder: Path, console: Console, cheat: str | None, generation: bool) -> tuple[dict[str, Any], Rows]:
    """The report of one of the demos, and what of it is shown."""
    from offchain.demo import named, play, swapped

    if cheat is not None:
        report = named.play_cheat(folder, console, cheat)
        return report, [(name, report[name]) for name in ("ends", "status", "moves", "seconds")]
    if generation:
        report = swapped.play_generation(folder, console)
        return report, swapped.summary(report)
    report = play.play(folder, console)
    return report, play.summary(report)


def _list() -> None:
    """The catalogue: who cheats, how, and how that ends."""
    from offchain.demo.cheats.catalogue import CHEATS

    rows = [(name, f"a {cheat.role} that {cheat.does}; {cheat.ends.value}") for name, cheat in CHEATS.items()]
    show(rows, as_json=False)


def _require(name: str) -> None:
    from offchain.demo.cheats.catalogue import CHEATS

    if name not in CHEATS:
        close = get_close_matches(name, CHEATS, 1)
        meant = f"did you mean {close[0]}?" if close else "`offchain demo --cheat list` shows them"
        raise BadInput(f"--cheat {name}: there is no such cheat; {meant}")
