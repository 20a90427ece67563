"""`offchain worker check`: whether everything that a worker needs is there, before it holds other people's money."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import urlsplit

import click
import requests
import torch
from rich.console import Console
from rich.table import Table

from offchain import __version__
from offchain.chain.client import Chain
from offchain.chain.code import differing
from offchain.chain.rpc import asking
from offchain.chain.verifiers import standing
from offchain.commands.common import Connection, HostPort, connection_options, json_option, patience
from offchain.commands.machine import require_cuda
from offchain.economics.stakes import STAKE_BOUNTIES
from offchain.errors import BadInput, OffchainError
from offchain.exec.make import EXECUTORS
from offchain.market.money import about, balance, needed
from offchain.market.view import SOLVER, VERIFIER
from offchain.moments import span
from offchain.roles.policy import MOVE_GAS
from offchain.roles.table import ROLES
from offchain.store.addresses import is_loopback, is_public
from offchain.store.serve import BlobServer
from offchain.worker.home import holder
from offchain.worker.making import executor_factory
from offchain.worker.purse import not_drawn
from offchain.worker.speed import units_a_second

PROBE: Final = "0" * 64 + ".probe"
PATIENCE: Final = 5.0  # seconds for an answer of one's own server
SKEW: Final = 30  # seconds that the clocks of machine and chain may differ
GIB: Final = 1 << 30
OK, LOW, BAD = "ok", "low", "bad"


class NotReady(OffchainError):
    """A worker would not work here as it is."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What was looked at. `state`: OK; LOW: a worker runs, with less than it should have; BAD: it fails, or loses."""

    what: str
    state: str
    found: str
    remedy: str = ""


@click.command()
@connection_options
@click.option("--role", "roles", multiple=True, type=click.Choice(list(ROLES)), help="Default: all.")
@click.option("--home", type=click.Path(path_type=Path, file_okay=False), default=Path("worker"), show_default=True,
              envvar="OFFCHAIN_WORKER_HOME", help="Folder of its database and checkpoints.")  # fmt: skip
@click.option("--listen", type=HostPort(), default="127.0.0.1:0", show_default=True, help="Where it will serve.")
@click.option("--public-url", help="Where others reach that address, if elsewhere.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda, cuda:1 …")
@click.option("--executor", type=click.Choice(list(EXECUTORS)), default="fused", show_default=True)
@click.option("--disk-reserve", default=1.0, show_default=True, help="GiB that stay free on the disk.")
@click.option("--least-moves", type=click.IntRange(0), default=30, show_default=True,
              help="Moves in disputes that the account's ether must pay for.")  # fmt: skip
@json_option
def check(
    connection: Connection,
    roles: tuple[str, ...],
    home: Path,
    listen: tuple[str, int],
    public_url: str | None,
    device: str,
    executor: str,
    disk_reserve: float,
    least_moves: int,
    as_json: bool,
) -> None:
    """Look at all that a worker needs: contracts, ether, vault, port, disk, clock, speed, GPU. Sends no transaction.

    It takes the options that the worker will be started with. That its port is reachable is tried from this machine;
    whether a firewall stands before it only somebody outside can see.

    \b
    Example:  offchain worker check --account worker --listen 0.0.0.0:9000 \\
                --public-url http://203.0.113.7:9000
    """
    chain = connection.chain(signing=False, looking_at=connection.identity.address)
    asked = roles or tuple(ROLES)
    with patience("looking"):
        found = [
            *_contracts(chain),
            *_money(chain, asked, least_moves),
            _port(listen, public_url),
            _disk(home, disk_reserve),
            _home(home),
            _clock(chain),
            _speed(device, executor),
            _gpu(device),
        ]
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found], indent=2))
    else:
        _print(found)
    if bad := [finding.what for finding in found if finding.state == BAD]:
        raise NotReady(f"a worker would fail here for: {', '.join(bad)}; see above what to do")


def _print(found: list[Finding]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column()
    table.add_column()
    table.add_column(overflow="fold")
    for finding in found:
        table.add_row(finding.what, finding.state, f"{finding.found}{f'; {finding.remedy}' if finding.remedy else ''}")
    Console(width=80, highlight=False).print(table)


def _contracts(chain: Chain) -> Iterator[Finding]:
    wrong = differing(chain)
    yield Finding(
        "contracts",
        BAD if wrong else OK,
        f"{', '.join(wrong)} on chain {chain.deployment.chain_id} are not those of offchain {__version__}"
        if wrong
        else f"those of offchain {__version__}, on chain {chain.deployment.chain_id}",
        "run the version that they were deployed with, or name another --deployment" if wrong else "",
    )


def _money(chain: Chain, roles: tuple[str, ...], least_moves: int) -> Iterator[Finding]:
    with asking("reading the ether of an account"):
        ether = int(chain.w3.eth.get_balance(chain.address))
    moves = ether // max(1, MOVE_GAS * chain.gas_price())
    state = BAD if not moves else LOW if moves < least_moves else OK
    fill = f"send it some: `offchain account fund --to {chain.address} --ether N`"
    yield Finding("ether", state, f"{about(ether)}, for {moves:,} moves in disputes now", "" if state == OK else fill)
    free, limits = chain.free(), chain.call("limits", "values")
    least = STAKE_BOUNTIES * int(limits["bounty"])
    needs = {
        "solver": (least + int(chain.call("auction", "bidBond")), "stake and bond of a bid"),
        "verifier": (int(limits["bond"]), "bond of a dispute"),
    }
    for role, (least, what) in needs.items():
        if role in roles:
            short = free < least
            remedy = f"`offchain vault deposit {needed(least - free).replace(',', '')}` or more" if short else ""
            found = f"{balance(free)} free; the least {what} is {needed(least)}"
            yield Finding(f"vault, as {role}", LOW if short else OK, found, remedy)
    if "verifier" in roles:
        doubt = not_drawn(standing(chain), has_key=True)
        yield Finding("audits", LOW if doubt else OK, *(doubt or ("it has a signing key and a stake",)))
    mask = chain.roles_of()
    names = [name for name, bit in (("solver", SOLVER), ("verifier", VERIFIER)) if mask & bit]
    found = f"in it as {' and '.join(names)}" if names else "not in it; a worker enters it itself"
    yield Finding("register", OK, found)


def _port(listen: tuple[str, int], public_url: str | None) -> Finding:
    """Serve a file there, and fetch it as others would."""
    what = "port"
    with TemporaryDirectory(prefix="offchain-") as folder:
        (Path(folder) / PROBE).write_bytes(PROBE.encode())
        try:
            with BlobServer(Path(folder), *listen) as server:
                url = public_url or server.url
                answer = requests.get(f"{url.rstrip('/')}/{PROBE}", timeout=PATIENCE)
        except BadInput as error:
            return Finding(what, BAD, str(error), "is a worker running there already?")
        except requests.RequestException as error:
            why = f"{url} does not answer ({type(error).__name__})"
            return Finding(what, BAD, why, "open the port, forward it, or correct --public-url")
    if answer.content != PROBE.encode():
        return Finding(what, BAD, f"something else answers at {url}", "correct --public-url")
    host = urlsplit(url).hostname or ""
    if is_loopback(host):
        return Finding(what, LOW, f"{url} is for this machine only", "--listen 0.0.0.0:PORT and --public-url")
    known = host.replace(".", "").isdigit() and not is_public(host)
    return Finding(what, LOW if known else OK, f"{url} answers{', inside this network' if known else ''}")


def _disk(home: Path, reserve: float) -> Finding:
    place = next(folder for folder in (home, *home.absolute().parents) if folder.exists())
    free = shutil.disk_usage(place).free / GIB
    state = BAD if free < reserve else LOW if free < 2 * reserve + 1 else OK
    remedy = "free some, name another --home, or a smaller --disk-reserve" if state != OK else ""
    return Finding("disk", state, f"{free:,.1f} GiB free at {place}; {reserve:g} stay free", remedy)


def _home(home: Path) -> Finding:
    try:
        process = holder(home)
    except BadInput:
        return Finding("home", OK, f"{home} is new")
    if process:
        return Finding("home", LOW, f"{home} is in use by worker process {process}", "another worker needs another")
    return Finding("home", OK, f"{home} is free")


def _clock(chain: Chain) -> Finding:
    """Deadlines are reckoned by the chain's clock; a machine's own one decides how long it waits."""
    behind = chain.head().timestamp - int(time.time())
    if behind > SKEW:
        return Finding("clock", LOW, f"{span(behind)} behind the chain's", "set it, as by NTP")
    if behind < -SKEW:
        found = f"the chain's latest block is {span(-behind)} old"
        return Finding("clock", LOW, found, "a node that lags, or a clock that is fast")
    return Finding("clock", OK, "as the chain's")


def _speed(device: str, executor: str) -> Finding:
    try:
        if device.startswith("cuda"):
            require_cuda(device)
        units = units_a_second(executor_factory(executor, device))
    except OffchainError as error:
        return Finding("speed", BAD, str(error))
    found = f"{units / 1e9:,.3g} billion multiply-accumulates a second on {device}, with the bits of the definition"
    return Finding("speed", OK, found)


def _gpu(device: str) -> Finding:
    """What torch has; `--device` decides whether it is used."""
    if not torch.cuda.is_available():
        cuda = torch.version.cuda
        build = "a CPU build" if cuda is None else f"built for CUDA {cuda}, and sees no device"
        return Finding("GPU", BAD if device.startswith("cuda") else OK, f"none: torch {torch.__version__} is {build}")
    names: list[Any] = [torch.cuda.get_device_name(n) for n in range(torch.cuda.device_count())]
    unused = "" if device.startswith("cuda") else "; not used: --device is cpu"
    return Finding("GPU", OK, f"{', '.join(names)}{unused}")
