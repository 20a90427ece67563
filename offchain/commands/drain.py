"""`offchain worker drain`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import click

from offchain.commands.settings import settings_option
from offchain.errors import BadInput
from offchain.worker import draining
from offchain.worker.home import holder

PACE: Final = 0.5  # seconds between two looks of --wait


@click.command()
@click.option(
    "--home", type=click.Path(path_type=Path, file_okay=False), default=Path("worker"), show_default=True,
    envvar="OFFCHAIN_WORKER_HOME", help="Folder of the worker that is to end.",
)  # fmt: skip
@click.option("--linger", type=click.FloatRange(0), default=600, show_default=True,
              help="Seconds for which it still serves its checkpoints: requesters fetch models there.")  # fmt: skip
@click.option("--wait", is_flag=True, help="Return when it has ended.")
@click.option("--undo", is_flag=True, help="Have it take tasks again.")
@settings_option
def drain(home: Path, linger: float, wait: bool, undo: bool) -> None:
    """Have a running worker take no new tasks, see to its end what it holds, and then end itself.

    It shows and keeps the bids that it has sealed, defends what it committed, and takes over where it stands by. Its
    log says what it still holds. A verifier that leaves for good takes its stake out first, with `offchain verifier
    unstake`, and drains once the delay is over: until then it is drawn, and committees wait for it.

    \b
    Example:  offchain worker drain --home worker-2 --wait
    """
    process = holder(home)
    if process is None:
        raise BadInput(f"{home}: no worker runs here; name its folder with --home")
    if undo:
        draining.withdraw(home)
        click.echo(f"worker process {process} takes tasks again")
        return
    draining.request(home, linger)
    click.echo(f"worker process {process} takes nothing new, and ends {linger:g} s after it holds nothing more")
    while wait and holder(home) is not None:
        time.sleep(PACE)
    if wait:
        click.echo("it has ended")
