"""Options about files that strangers serve, and about serving one's own to strangers."""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click

from offchain.commands.common import Connection
from offchain.store.addresses import WEB, is_loopback
from offchain.store.fetch import FetchOptions
from offchain.store.serve import ServeOptions

F = TypeVar("F", bound=Any)
GIB: Final = 1 << 30
KIB: Final = 1 << 10


@dataclass(frozen=True)
class Traffic:
    """What the options of `traffic_options` say."""

    fetch: FetchOptions
    serve: ServeOptions


def private_option(command: F) -> F:
    """Adds --allow-private, passed as `allow_private`."""
    text = (
        "Fetch files from addresses inside this machine's network too, whoever names them. "
        "Implied where --rpc is on this machine."
    )
    option: F = click.option("--allow-private", is_flag=True, help=text)(command)
    return option


def fetching(connection: Connection, allow_private: bool, **limits: Any) -> FetchOptions:
    """Limits of fetches; private addresses where they are allowed, or where the chain is local."""
    return FetchOptions(private=allow_private or is_loopback(urlsplit(connection.url).hostname), **limits)


def traffic_options(command: F) -> F:
    """Adds the options of a `Traffic`, and passes one as `traffic`. Below `connection_options`."""

    @private_option
    @click.option("--scheme", "schemes", multiple=True, metavar="NAME",
                  help="Fetch from such addresses of fsspec too: s3, gs …")  # fmt: skip
    @click.option("--max-file", default=16.0, show_default=True, help="GiB; the largest file that is fetched.")
    @click.option(
        "--disk-reserve", default=1.0, show_default=True, help="GiB that fetched files leave free on the disk."
    )
    @click.option("--least-rate", type=click.IntRange(1), default=16, show_default=True,
                  help="KiB a second. Who sends or takes less, averaged over 10 s, is given up.")  # fmt: skip
    @click.option("--clients", type=click.IntRange(1), default=128, show_default=True,
                  help="Connections at a time to the checkpoints that are served.")  # fmt: skip
    @click.option("--clients-per-address", type=click.IntRange(1), default=8, show_default=True,
                  help="… of one address. Behind a proxy, which has one, as many as --clients.")  # fmt: skip
    @wraps(command)
    def wrapped(
        connection: Connection,
        allow_private: bool,
        schemes: tuple[str, ...],
        max_file: float,
        disk_reserve: float,
        least_rate: int,
        clients: int,
        clients_per_address: int,
        **options: Any,
    ) -> Any:
        rate = least_rate * KIB
        fetch = fetching(
            connection,
            allow_private,
            schemes=WEB | set(schemes),
            max_bytes=int(max_file * GIB),
            reserve=int(disk_reserve * GIB),
            least_rate=rate,
        )
        serve = ServeOptions(clients, clients_per_address, least_rate=rate)
        return command(connection=connection, traffic=Traffic(fetch, serve), **options)

    return wrapped  # type: ignore[return-value]
