"""`offchain page`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import click

from offchain.chain.client import Chain
from offchain.commands.common import Connection, connection_options
from offchain.commands.fetching import fetching, private_option
from offchain.page.losses import Losses, limits
from offchain.page.site import Site
from offchain.page.watcher import Watcher
from offchain.store.blobs import BlobStore
from offchain.worker.holders import Holders, registered


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen. What is shown is public anyway.")
@click.option("--port", type=click.IntRange(0, 65535), default=8420, show_default=True, help="0 picks a free one.")
@click.option("--poll", type=click.FloatRange(0.05, 60), default=0.5, show_default=True,
              help="Seconds between two readings of the chain.")  # fmt: skip
@private_option
@connection_options
def page(connection: Connection, host: str, port: int, poll: float, allow_private: bool) -> None:
    """Serve a page to watch the deployment in a browser: tasks, bids, checkpoints, disputes, people, gas.

    It needs no account, and changes nothing.

    \b
    Example:  offchain page --port 8420
    """
    chain = connection.chain(signing=False)
    with watched(chain, fetching(connection, allow_private).private, host, port, poll) as site:
        click.echo(f"the page is at {site.url} (Ctrl-C ends it)")
        while True:
            time.sleep(3600)


@contextmanager
def watched(chain: Chain, private: bool, host: str, port: int, poll: float) -> Iterator[Site]:
    """Serves the page of a deployment while the context is open. `private`: see `FetchOptions`."""
    with TemporaryDirectory(prefix="offchain-page-") as folder:
        losses = Losses(BlobStore(Path(folder), options=limits(private)), Holders(registered(chain)))
        with Site(Watcher(chain, losses, poll), host, port) as site:
            yield site
