"""`offchain chain up` and `offchain deploy`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from offchain.chain.deployment import PRESETS
from offchain.chain.deployment import deploy as deploy_all
from offchain.chain.ganache import Ganache
from offchain.chain.rpc import connect
from offchain.commands.common import DEPLOYMENT_FILE, Connection, connection_options, json_option, show


@click.group()
def chain() -> None:
    """Run a chain of your own."""


@chain.command()
@click.option("--port", default=8545, show_default=True, help="0 picks a free one.")
@click.option("--block-time", default=1.0, show_default=True, help="Seconds; 0: a block for each transaction.")
@click.option("--database", type=click.Path(path_type=Path, file_okay=False), help="Keep the chain in this folder.")
def up(port: int, block_time: float, database: Path | None) -> None:
    """Start Ganache with twenty rich accounts, until Ctrl-C.

    A block is mined every second even when nothing happens, because windows and clocks are measured by the timestamps
    of blocks.

    \b
    Example:  offchain chain up --port 8545
    """
    with Ganache(port=port, block_time=block_time, database=database) as ganache:
        click.echo(f"chain 1337 at {ganache.url}; sign with --dev-account 0 … 19. Ctrl-C stops it.")
        while ganache.running:
            time.sleep(0.5)


@click.command()
@connection_options
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), default="local", show_default=True,
    help="The least windows, clocks and bonds that the contracts accept.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: the file of --deployment."
)
@json_option
def deploy(connection: Connection, preset: str, output: Path | None, as_json: bool) -> None:
    """Deploy and wire all contracts, and write their addresses to a file.

    \b
    Example:  offchain deploy --dev-account 0 -o deployment.json
    """
    from web3.middleware import SignAndSendRawMiddlewareBuilder

    account = connection.account()
    w3 = connect(connection.url)
    w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    deployment = deploy_all(w3, account.address, PRESETS[preset])
    path = output or connection.deployment_file or Path(DEPLOYMENT_FILE)
    deployment.write(path)
    rows = [(part, str(address)) for part, address in deployment.addresses.items()]
    show([*rows, ("chain", deployment.chain_id), ("file", str(path))], as_json)
