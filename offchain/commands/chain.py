"""`offchain chain up` and `offchain deploy`."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click
from web3 import Web3

from offchain.chain.deploying import deploy as deploy_all
from offchain.chain.deployment import PRESETS, BadDeploymentFile, Deployment, DeploymentError
from offchain.chain.ganache import ACCOUNTS, CHAIN_ID, Ganache, GanacheError
from offchain.chain.local import WEALTH, prepare
from offchain.chain.rpc import asking, connect
from offchain.commands.common import DEPLOYMENT_FILE, Connection, connection_options, json_option, say, show
from offchain.commands.identity import LOCAL_CHAINS
from offchain.commands.settings import settings_option
from offchain.errors import BadInput
from offchain.market.money import tokens
from offchain.store.tensorfile import check_writable


@click.group()
def chain() -> None:
    """Run a chain of your own.

    \b
    Example:  offchain chain up --deploy --fund 5
    """


@chain.command()
@click.option("--port", type=click.IntRange(0, 65535), default=8545, show_default=True, help="0 picks a free one.")
@click.option("--block-time", type=click.FloatRange(0), default=1.0, show_default=True,
              help="Seconds between two blocks; 0: a block for each transaction, and none without one.")  # fmt: skip
@click.option("--database", type=click.Path(path_type=Path, file_okay=False), help="Keep the chain in this folder.")
@click.option("--deploy", "deploying", is_flag=True, help="Deploy the contracts too, with limits for local chains.")
@click.option("--fund", type=click.IntRange(0, ACCOUNTS - 1), default=0, metavar="N",
              help="With --deploy: put tokens into the vault for accounts 1 to N.")  # fmt: skip
@click.option(
    "--deployment", "deployment_file", envvar="OFFCHAIN_DEPLOYMENT", default=DEPLOYMENT_FILE, show_default=True,
    type=click.Path(path_type=Path, dir_okay=False), help="With --deploy: where the addresses go.",
)  # fmt: skip
@settings_option
def up(port: int, block_time: float, database: Path | None, deploying: bool, fund: int, deployment_file: Path) -> None:
    """Start Ganache with twenty rich accounts, until Ctrl-C or SIGTERM.

    A block is mined every second even when nothing happens, because windows and clocks are measured by the timestamps
    of blocks.

    \b
    Example:  offchain chain up --deploy --fund 5
    """
    if fund and not deploying:
        raise BadInput("--fund needs the contracts: add --deploy")
    with _ended_by_sigterm(), Ganache(port=port, block_time=block_time, database=database) as ganache:
        say(f"chain {CHAIN_ID} at {ganache.url}; sign with --dev-account 0 … {ACCOUNTS - 1}. Ctrl-C stops it.")
        if not block_time:
            click.echo(
                "No block is mined while nobody sends a transaction: windows and clocks stand still, and workers wait "
                "for ever. Leave out --block-time 0 to run workers."
            )
        if deploying:
            _, made = prepare(ganache.url, deployment_file, "local", fund)
            click.echo(f"contracts {'deployed' if made else 'were there already'}: {deployment_file}")
        if fund:
            click.echo(f"accounts 1 to {fund} have {tokens(WEALTH)} tokens in the vault")
        while ganache.running:
            time.sleep(0.5)
    raise GanacheError("Ganache ended by itself")


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """What a service manager sends ends the command in order, and Ganache with it."""

    def leave(number: int, frame: FrameType | None) -> None:
        raise click.exceptions.Exit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _require_nothing_lost(file: Path, w3: Web3) -> None:
    """Raises BadInput where a file has addresses that somebody may need, or is somebody's other file."""
    if not file.exists():
        return
    rest = "name another file with -o, or add --replace"
    try:
        known = Deployment.read(file)
    except BadDeploymentFile as error:
        raise BadInput(f"{file}: is no deployment file; {rest}") from error
    where = f"chain {known.chain_id}"
    if known.chain_id in LOCAL_CHAINS:
        try:
            with asking("looking at the chain"):
                known.require_on(w3)
        except DeploymentError:
            return
        where = "this chain"
    raise BadInput(f"{file}: has the addresses of contracts on {where}, where money may be locked; {rest}")


@click.command()
@connection_options
@click.option(
    "--preset", type=click.Choice(list(PRESETS)), default="local", show_default=True,
    help="The least windows, clocks and bonds that the contracts accept.",
)  # fmt: skip
@click.option(
    "-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Default: the file of --deployment."
)
@click.option("--replace", is_flag=True, help="Write over a file, though it has addresses that are nowhere else.")
@json_option
def deploy(connection: Connection, preset: str, output: Path | None, replace: bool, as_json: bool) -> None:
    """Deploy and wire all contracts, and write their addresses to a file.

    A file that has a deployment's addresses is written over only where that was on a local chain that is gone.

    \b
    Example:  offchain deploy --dev-account 0 -o deployment.json
    """
    from web3.middleware import SignAndSendRawMiddlewareBuilder

    w3 = connect(connection.url)
    with asking("looking at the chain"):
        connection.identity.require_fit(w3.eth.chain_id)
    account = connection.account()
    w3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(account), layer=0)
    path = output or connection.deployment_file or Path(DEPLOYMENT_FILE)
    path.parent.mkdir(parents=True, exist_ok=True)
    check_writable(path)
    if not replace:
        _require_nothing_lost(path, w3)
    deployment = deploy_all(w3, account.address, PRESETS[preset])
    rows = [(part, str(address)) for part, address in deployment.addresses.items()]
    rows += [("chain", str(deployment.chain_id)), ("block", str(deployment.block))]
    try:
        deployment.write(path)
    except OSError as error:
        show(rows, as_json)  # the only place where the addresses are now
        raise BadInput(
            f"{path}: {error.strerror}; the contracts are deployed, and their addresses are above"
        ) from error
    show([*rows, ("file", str(path))], as_json)
