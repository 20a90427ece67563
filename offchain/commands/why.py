"""`offchain task why`: what a requester can know of why a task went as it did."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import click
from rich.console import Console

from offchain.chain.abi import Event
from offchain.chain.bids import Bid, bids_in, settled, solvers
from offchain.chain.client import Chain
from offchain.chain.history import completed, lately
from offchain.chain.keepers import signed_by
from offchain.chain.reader import Reader
from offchain.commands.common import TASK, Connection, connection_options, json_option, patience, table_for
from offchain.commands.fetching import fetching, private_option
from offchain.commands.story import Teller, events_of
from offchain.errors import OffchainError, Unreachable
from offchain.market.money import about, needed
from offchain.market.stages import stage, waiting, way_back
from offchain.market.view import ChainView, Status, TaskView, Terms
from offchain.moments import moment
from offchain.store.addresses import Forbidden
from offchain.store.fetch import FetchOptions, fetch
from offchain.store.names import without_seal
from offchain.worker.posting import ranges
from offchain.worker.windows import LEAST_BIDDING, ORDINARY

SHORT: Final = 10  # characters of an address
WIDTH: Final = 80  # columns
OUTCOMES: Final = {
    "sealed": "has not shown it: its bond is locked",
    "returned": "got its bond back, as the task was cancelled",
    "shown": "was beaten",
    "solver": "won",
    "standby": "stands by, or stood by",
    "forfeited": "did not show it, or did not take over: its bond burned",
}


@dataclass(frozen=True)
class Reasons:
    """What speaks against a task, and what became of it.

    Attributes:
        now: where it stands, or how it ended and why.
        next: what gets the money back where nobody else does anything; "" where it has ended.
        file: why workers that look from here cannot have the task's file; "" where they can, or somebody bid.
        terms: what of its terms usual workers do not take, and what of them this deployment would not take any more.
        market: who could bid, and what such work cost lately.
        keepers: who keeps the checkpoints of the latest attempt, and how many each has signed for.
        bids: all that were sealed.
    """

    now: str
    next: str
    file: str
    terms: list[str]
    market: list[str]
    keepers: list[str]
    bids: list[Bid]


@click.command("why")
@click.argument("task_id", type=TASK)
@private_option
@connection_options
@json_option
def why(task_id: int, connection: Connection, allow_private: bool, as_json: bool) -> None:
    """Say why a task got no bid, or ended as it did: its terms, who could bid, who did, who did not show the bid.

    `offchain task quote FILE` says beside that what a worker like this machine would ask.

    \b
    Example:  offchain task why 0
    """
    chain = connection.chain(signing=False)
    with patience("reading the chain"):
        reasons = reasons_of(chain, task_id, fetching(connection, allow_private))
    if as_json:
        body = {"task": task_id} | asdict(reasons)
        body["bids"] = [{**asdict(bid), **_exact(bid)} for bid in reasons.bids]
        click.echo(json.dumps(body, indent=2))
        return
    rows = [(f"task {task_id}", reasons.now)]
    rows += [(name, said) for name, said in (("next", reasons.next), ("file", reasons.file)) if said]
    rows += [("terms" if not n else "", said) for n, said in enumerate(reasons.terms)]
    rows += [("market" if not n else "", said) for n, said in enumerate(reasons.market)]
    rows += [("keepers" if not n else "", said) for n, said in enumerate(reasons.keepers)]
    rows += [("bids" if not n else "", _said(bid, reasons.bids)) for n, bid in enumerate(reasons.bids)]
    Console(width=WIDTH, highlight=False).print(table_for(rows if reasons.bids else [*rows, ("bids", "none")]))


def _exact(bid: Bid) -> dict[str, str]:
    """For JSON, whose numbers are not all exact."""
    return {name: str(getattr(bid, name)) for name in ("price", "burden") if getattr(bid, name) is not None}


def _said(bid: Bid, bids: Sequence[Bid]) -> str:
    outcome = OUTCOMES[bid.outcome]
    tried = f"attempt {bid.attempt}, " if any(other.attempt for other in bids) else ""
    if bid.price is None or bid.burden is None:
        return f"{tried}{bid.bidder[:SHORT]} sealed a bid, and {outcome}"
    score = f"score {about(bid.price + bid.burden)}"
    return f"{tried}{bid.bidder[:SHORT]} {outcome}: {about(bid.price)} and {bid.promised} s an interval, {score}"


def reasons_of(chain: Chain, task_id: int, options: FetchOptions) -> Reasons:
    """Reads all that is known of a task. Raises ChainError where there is none."""
    terms = chain.terms(task_id)
    view = Reader(chain, only=[task_id], ended=True).read()
    task, events = view.task(task_id), events_of(chain, task_id, chain.head().number)
    bids = settled(chain, task_id, bids_in(events))
    now, market = _now(chain, view, task, events, bids), _market(chain, terms, bids)
    file = _file(task, options) if task.status is Status.BIDDING and not bids else ""
    return Reasons(now, way_back(view, task), file, _terms(chain, terms), market, _keepers(chain, view, task), bids)


def _file(task: TaskView, options: FetchOptions) -> str:
    """Asks for the file, and takes none of it."""
    try:
        with TemporaryDirectory(prefix="offchain-") as folder:
            fetch(without_seal(task.terms.uri), Path(folder) / "file", options, limit=0, timeout=options.answer)
    except (Unreachable, Forbidden) as error:
        again = f"serve it again, as `offchain task follow {task.id} --serve FILE` does"
        return f"cannot be had from here: {error}; {again}"
    except OffchainError:  # more than nothing comes, or this disk is full
        pass
    return ""


def _now(chain: Chain, view: ChainView, task: TaskView, events: Sequence[Event], bids: Sequence[Bid]) -> str:
    if not task.status.ended:
        at = stage(task, view.now)
        return at.words + (f" until {moment(at.until, view.now)}" if at.until else "")
    said = Teller.of(chain, task.id, task.terms, 0).lines(events, as_json=False)
    how, ended = task.status.name.lower(), chain.block(events[-1].block).timestamp
    mine = [bid for bid in bids if bid.attempt == task.attempt]
    if task.status is Status.COMPLETED:
        why = "everything was delivered and paid"
    elif task.status is not Status.CANCELLED:
        why = f"{next((line for line in reversed(said) if 'failed' in line), 'its solver failed')}; no attempt was left"
    elif ended < task.reveal_ends or not _awaits_bids(events):
        why = "its requester took it back"
    else:
        why = f"{len(mine)} bids were sealed, and none was shown" if mine else "nobody bid"
    return f"{how}, {moment(ended, view.now)}: {why}"


def _keepers(chain: Chain, view: ChainView, task: TaskView) -> list[str]:
    if not task.terms.keepers:
        return []
    found = [f"{task.terms.keepers} seats: what members with more than half of them have signed for is paid"]
    if at := waiting(task, view.now):
        found.append(at.words + (f" until {moment(at.until, view.now)}" if at.until else ""))
    of_attempt = [key for key in sorted(view.committees) if key[:2] == (task.id, task.attempt)]
    for key in of_attempt:
        members = view.committees[key]
        for member, signed in zip(members, signed_by(chain, key, members), strict=True):
            which = "second committee, " if key[2] else ""
            of_all = f"{signed} of {len(task.checkpoints)} checkpoints"
            found.append(f"{which}{member.holder[:SHORT]}, {member.seats} seats, has signed for {of_all}")
    return found if of_attempt else [*found, "no committee of this attempt has sat down"]


def _awaits_bids(events: Sequence[Event]) -> bool:
    """Whether bids for an attempt were taken last, and no solver has failed since."""
    marks = [event.name for event in events if event.name in ("Posted", "Reopened", "Awarded", "Vacated")]
    return marks[-1] in ("Posted", "Reopened")


def _terms(chain: Chain, terms: Terms) -> list[str]:
    found = [f"usual workers leave it alone: {_theirs(refusal.why)}" for refusal in ORDINARY.refusals(terms)]
    if terms.bidding_time < LEAST_BIDDING:
        short = f"{terms.bidding_time} s for bids is short: workers fetch and try a task first"
        found.append(f"{short}, and `task post` takes {LEAST_BIDDING} s or more")
    for name, (least, value, most) in ranges(chain, terms).items():
        if not least <= value <= most:
            found.append(f"{name} is {value}; this deployment takes {least} to {most}")
    return found or ["no usual worker refuses them, and they are within this deployment's limits"]


def _theirs(why: str) -> str:
    return why.replace("this worker's minimum", "their minimum")


def _market(chain: Chain, terms: Terms, bids: Sequence[Bid]) -> list[str]:
    there = solvers(chain)
    locked = terms.stake + int(chain.call("auction", "bidBond"))
    able = sum(free >= locked for free in there.values())
    found = [f"of {len(there)} registered solvers {able} have its stake and a bid's bond, {needed(locked)}, free now"]
    promised = next((bid.promised for bid in bids if bid.promised), None)
    seconds = -(-(promised or terms.interval_time) * terms.steps // terms.interval)
    known = lately(completed(chain), terms.graph_root, terms.steps, seconds)
    if known and (known.same or promised):
        span = f"{about(known.least)} to {about(known.most)}, by {known.tasks} task{'s' if known.tasks > 1 else ''}"
        found.append(f"it offers {about(terms.max_price)} at most; such work cost {span} lately")
    else:
        found.append(f"it offers {about(terms.max_price)} at most; what such work costs is not known here")
    return found
