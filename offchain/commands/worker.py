"""`offchain worker`: a worker, and the commands about one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import torch

from offchain.chain.keys import BadKey
from offchain.chain.transactions import GWEI, SendOptions
from offchain.commands.check import check
from offchain.commands.common import TOKENS, Connection, HostPort, connection_options
from offchain.commands.drain import drain
from offchain.commands.fetching import Traffic, traffic_options
from offchain.commands.machine import machine_memory, require_cuda
from offchain.commands.page import watched
from offchain.exec.make import EXECUTORS
from offchain.roles.policy import Policy
from offchain.roles.table import ROLES
from offchain.worker.display import LEVELS, LogFile, configure_logging
from offchain.worker.events import Tell
from offchain.worker.making import executor_factory
from offchain.worker.notices import Notices
from offchain.worker.operate import operate, patiently
from offchain.worker.options import GIB, WorkerOptions

MIB: Final = 1 << 20  # bytes
FASTEST_GPU: Final = 1e16  # units of work a second that no GPU exceeds


@click.group(invoke_without_command=True)
@connection_options
@traffic_options
@click.option("--role", "roles", multiple=True, type=click.Choice(list(ROLES)), help="Required; may be given again.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), default=Path("worker"), show_default=True,
              help="Folder of its database and checkpoints.")  # fmt: skip
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--executor", type=click.Choice(list(EXECUTORS)), default="fused", show_default=True)
@click.option("--threads", type=click.IntRange(1), help="CPU threads. Default: all cores.")
@click.option(
    "--listen", type=HostPort(), default="127.0.0.1:0", show_default=True, help="Checkpoints are served here."
)
@click.option("--public-url", help="Where others reach that address, if elsewhere.")
@click.option("--keep", type=click.FloatRange(min=0), default=10, show_default=True,
              help="GiB for files of tasks that are over. They are served on, so that results stay to be had; what "
              "ended first is removed first. 0: none.")  # fmt: skip
@click.option("--hourly", type=TOKENS, default="1", show_default=True,
              help="Tokens that an hour of this machine costs you. Bids follow from it and from measured times. The "
              "best bid is paid what the second best would have cost: the truth serves you best.")  # fmt: skip
@click.option("--audit-share", type=click.FloatRange(0, 1), default=0.5, show_default=True,
              help="Share of checkpoints that a verifier replays, drawn in secret.")  # fmt: skip
@click.option(
    "--min-clock", type=int, default=60, show_default=True, help="Seconds; ignore tasks with a shorter clock."
)
@click.option("--min-window", type=int, default=60, show_default=True, help="… a shorter challenge window.")
@click.option("--min-interval-time", type=int, default=30, show_default=True, help="… a shorter interval time.")
@click.option("--memory", type=click.FloatRange(min=0, min_open=True),
              help="GiB that all tasks together may take. Default: three quarters of this machine's.")  # fmt: skip
@click.option("--move-time", type=click.FloatRange(min=0), default=0.5, show_default=True,
              help="Seconds until a move in a dispute is mined: the chain's block time, and a little.")  # fmt: skip
@click.option("--coin-price", type=click.FloatRange(0), default=1.0, show_default=True,
              help="Tokens that a coin is worth: a bid covers its gas.")  # fmt: skip
@click.option("--max-fee", type=click.FloatRange(min=0, min_open=True), default=500, show_default=True,
              help="Gwei; most that a unit of gas may cost.")  # fmt: skip
@click.option("--max-fee-dispute", type=click.FloatRange(min=0, min_open=True), default=2_000, show_default=True,
              help="… that it may cost in a dispute.")  # fmt: skip
@click.option("--tx-timeout", type=click.FloatRange(min=1), default=30, show_default=True,
              help="Seconds until a transaction is replaced at a higher fee; less where a clock is short.")  # fmt: skip
@click.option("--poll", type=float, default=1.0, show_default=True, help="Seconds between two readings of the chain.")
@click.option("--page", type=HostPort(), metavar="HOST:PORT", help="Serve the page of `offchain page` there too.")
@click.option("--least-moves", type=click.IntRange(0), default=30, show_default=True,
              help="Warn when the account's ether pays for fewer moves in disputes.")  # fmt: skip
@click.option("--metrics", type=HostPort("127.0.0.1"), metavar="[HOST:]PORT",
              help="Serve /metrics for Prometheus and /healthz there. Host: 127.0.0.1.")  # fmt: skip
@click.option("--notify", multiple=True, metavar="URL", help="Tell of losses and fraud there, as apprise reads it.")
@click.option("--log-file", type=click.Path(path_type=Path, dir_okay=False), help="Log there, not to standard error.")
@click.option("--log-size", type=click.FloatRange(min=0.01), default=10, show_default=True,
              help="MiB after which --log-file is renamed to FILE.1 and begun anew.")  # fmt: skip
@click.option("--log-keep", type=click.IntRange(1), default=5, show_default=True, help="Renamed files to keep.")
@click.option("--json-lines", is_flag=True, help="Log one JSON object a line.")
@click.option("--log-level", type=click.Choice(list(LEVELS)), default="info", show_default=True)
@click.pass_context
def worker(
    context: click.Context,
    /,
    connection: Connection,
    traffic: Traffic,
    roles: tuple[str, ...],
    json_lines: bool,
    log_level: str,
    threads: int | None,
    device: str,
    executor: str,
    page: tuple[str, int] | None,
    metrics: tuple[str, int] | None,
    notify: tuple[str, ...],
    log_file: Path | None,
    log_size: float,
    log_keep: int,
    **chosen: Any,
) -> None:
    """Bid, train, audit and dispute, until stopped by Ctrl-C or SIGTERM.

    The account needs ether for gas, and free tokens in the vault for stakes and bonds. --home keeps what it has trained
    and committed to, so that a restart resumes.

    \b
    Example:  offchain worker --role solver --role verifier --key worker.key
    """
    if context.invoked_subcommand:
        return
    if not roles:
        raise click.MissingParameter(ctx=context, param_hint="'--role'", param_type="option")
    log = LogFile(log_file, int(log_size * MIB), log_keep) if log_file else None
    configure_logging(json_lines, log_level, log)
    if threads:
        torch.set_num_threads(threads)
    options = worker_options(traffic, **chosen)
    if "verifier" in roles:
        options = replace(options, signing_key=ticket_key(connection))
    if device.startswith("cuda"):
        require_cuda(device)
        options = replace(options, fastest=FASTEST_GPU)
    with ExitStack() as beside:
        if page is not None:
            chain = patiently(partial(connection.chain, signing=False))
            site = beside.enter_context(watched(chain, options.fetch.private, *page, options.poll))
            click.echo(f"the page is at {site.url}", err=True)
        listeners = list(_listeners(beside, connection, roles, metrics, notify))
        connect = partial(connection.chain, send=options.send)
        operate(connect, roles, options, executor_factory(executor, device), listeners=listeners)


def _listeners(
    beside: ExitStack,
    connection: Connection,
    roles: tuple[str, ...],
    metrics: tuple[str, int] | None,
    notify: tuple[str, ...],
) -> Iterator[Tell]:
    """Who hears the worker's events; `beside` ends them with the worker."""
    if metrics is not None:
        from offchain.worker.metrics import Metrics, MetricsServer

        counted = Metrics(roles)
        server = beside.enter_context(MetricsServer(counted, *metrics))
        click.echo(f"metrics are at {server.url}/metrics", err=True)
        yield counted.on_event
    if notify:
        yield beside.enter_context(Notices(notify, connection.account().address[:8])).on_event


worker.add_command(drain)
worker.add_command(check)


def worker_options(
    traffic: Traffic,
    home: Path,
    listen: tuple[str, int],
    public_url: str | None,
    poll: float,
    memory: float | None,
    move_time: float,
    max_fee: float,
    max_fee_dispute: float,
    tx_timeout: float,
    least_moves: int,
    keep: float,
    **policy: Any,
) -> WorkerOptions:
    """Options from the command line; what is not named here is `policy_of`'s. Raises BadInput."""
    given = int(memory * GIB) if memory else machine_memory() * 3 // 4
    most = given // 2  # of one task, which two processes compute: one trains it, one defends it
    return WorkerOptions(
        folder=home,
        policy=policy_of(memory=given, **policy),
        listen=listen,
        public_url=public_url,
        poll=poll,
        send=SendOptions(
            max_fee=int(max_fee * GWEI),
            max_fee_dispute=int(max(max_fee, max_fee_dispute) * GWEI),
            receipt_timeout=tx_timeout,
        ),
        max_memory=most,
        least_moves=least_moves,
        keep=int(keep * GIB),
        move_time=move_time,
        fetch=traffic.fetch,
        serve=traffic.serve,
    )


def ticket_key(connection: Connection) -> int | None:
    """The secret that signs the account's tickets; None where it has none: `offchain verifier enroll` makes one."""
    with suppress(BadKey):
        return connection.signing_key()
    return None


def policy_of(coin_price: float, **same: Any) -> Policy:
    """The operator's policy from the command line; `same` are fields as they are."""
    return Policy(coin_price=Fraction(coin_price).limit_denominator(10**9), **same)
