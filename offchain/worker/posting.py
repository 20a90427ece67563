"""What a requester does: post a task, follow it to its end, fetch and check the trained state."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from offchain.chain import claims, keepers
from offchain.chain.client import Chain, Receipt
from offchain.chain.reader import Reader
from offchain.errors import BadTerms, ChainUnavailable, NoResult, OffchainError
from offchain.ir.arrays import Array
from offchain.market.actions import Acknowledge, Action, Award, Collect, Recall, Reopen, Seat, SettleClaim, Stall
from offchain.market.money import BPS, needed, tokens
from offchain.market.view import ChainView, CheckpointView, Status, TaskView, Terms
from offchain.roles import requester
from offchain.store.blobs import BlobStore
from offchain.store.checkpoint import load_state
from offchain.task import Task
from offchain.worker.holders import Holders
from offchain.worker.names import state_name
from offchain.worker.room import state_bytes

MOST_PRICE: Final = 2**96 - 1  # TermLimits.MAX_PRICE
MOST_URGENCY: Final = 2**120 - 1  # TermLimits.MAX_URGENCY: all time together
MOST_ATTEMPTS: Final = 16  # TermLimits.MAX_ATTEMPTS
MOST_KEEPERS: Final = 16  # TermLimits.MAX_KEEPERS
MONEY: Final = ("max_price", "stake", "bond", "audit_fee")
MOST_RATE: Final = 2**16 - 1  # fees to expect per checkpoint, in 1/10,000


@dataclass(frozen=True, slots=True)
class Offer:
    """What a requester offers for a task. Money in the smallest unit, durations in seconds; None: the least allowed.

    `offchain.worker.windows` reckons durations from what a task takes.
    """

    max_price: int
    bidding_time: int
    reveal_time: int
    handover_time: int
    interval_time: int
    challenge_window: int
    clock: int
    stake: int | None = None
    bond: int | None = None
    urgency: int = 0
    risk_bps: int = 500
    attempts: int = 3
    audit_fee: int = 0
    audit_rate_bps: int = 2_500
    keepers: int = 0
    keeper_bps: int = 0


def terms_of(chain: Chain, task: Task, offer: Offer, uri: str) -> Terms:
    """The terms to post. Raises BadTerms, which names the field that the contracts would refuse, and what they take."""
    terms = Terms(
        graph_root=task.graph_root,
        state_root=task.state_root,
        steps=task.steps,
        interval=task.interval,
        max_price=offer.max_price,
        stake=offer.stake or 0,
        bond=offer.bond or 0,
        urgency=offer.urgency,
        risk_bps=offer.risk_bps,
        attempts=offer.attempts,
        audit_fee=offer.audit_fee,
        audit_rate_bps=offer.audit_rate_bps,
        keepers=offer.keepers,
        keeper_bps=offer.keeper_bps,
        bidding_time=offer.bidding_time,
        reveal_time=offer.reveal_time,
        handover_time=offer.handover_time,
        interval_time=offer.interval_time,
        challenge_window=offer.challenge_window,
        clock=offer.clock,
        uri=uri,
    )
    if offer.stake is None:
        terms = replace(terms, stake=chain.required_stake(terms))
    if offer.bond is None:
        terms = replace(terms, bond=least_bond(chain, terms))
    for name, (least, value, most) in ranges(chain, terms).items():
        said = tokens if name in MONEY else str
        if value < least:
            raise BadTerms(f"terms: {name} is {said(value)}; this deployment asks for {said(least)} or more")
        if value > most:
            raise BadTerms(f"terms: {name} is {said(value)}; this deployment allows {said(most)} at most")
    return terms


def least_bond(chain: Chain, terms: Terms) -> int:
    """The least that the contracts take: more where time is dear, so that nobody buys it with a friend's disputes."""
    return max(chain.required_bond(terms), 2 * terms.urgency * terms.clock)


def time_limits(chain: Chain) -> dict[str, tuple[int, int]]:
    """Window -> the least and the most that the contracts take; "duration" is of all intervals together."""
    limits = chain.call("limits", "values")
    bidding = limits["biddingTime"], limits["maxBiddingTime"]
    return dict.fromkeys(("bidding_time", "reveal_time", "handover_time"), bidding) | {
        "interval_time": (limits["intervalTime"], limits["maxIntervalTime"]),
        "challenge_window": (limits["challengeWindow"], limits["maxChallengeWindow"]),
        "clock": (limits["clock"], limits["maxClock"]),
        "duration": (0, limits["maxDuration"]),
    }


def ranges(chain: Chain, terms: Terms) -> dict[str, tuple[int, int, int]]:
    """Term -> the least that the contracts take, what the terms say, the most."""
    limits, price, stake = time_limits(chain), terms.max_price, terms.stake
    _, longest = limits.pop("duration")
    return {
        "max_price": (1, price, MOST_PRICE),
        "urgency": (0, terms.urgency, MOST_URGENCY // max(1, terms.intervals * terms.interval_time)),
        "risk_bps": (0, terms.risk_bps, BPS),
        "attempts": (1, terms.attempts, MOST_ATTEMPTS),
        **{name: (least, getattr(terms, name), most) for name, (least, most) in limits.items()},
        "interval_time times intervals": (0, terms.intervals * terms.interval_time, longest),
        "audit_fee": (0, terms.audit_fee, MOST_PRICE),
        "audit_rate_bps": (1, terms.audit_rate_bps, MOST_RATE),
        "stake": (chain.required_stake(terms), stake, chain.allowed_stake(terms)),
        "bond": (least_bond(chain, terms), terms.bond, chain.allowed_bond(terms)),
        "keepers": (0, terms.keepers, MOST_KEEPERS),
        "keeper_bps": (0, terms.keeper_bps, BPS if terms.keepers else 0),
    }


def post(chain: Chain, terms: Terms) -> int:
    """Deposit what is missing of the whole bill from the wallet, and post. Returns the task's id.

    Raises BadTerms if the wallet has too little.
    """
    bill = sum(chain.bill(terms))
    missing = bill - chain.free()
    if missing > 0:
        if (wallet := chain.balance()) < missing:
            short = missing - wallet
            raise BadTerms(
                f"terms: with a max_price of {tokens(terms.max_price)} the bill is {needed(bill)}; the account is "
                f"{needed(short)} short: name a lower --max-price, or send it tokens"
            )
        chain.deposit(missing)
    return chain.post(terms)


Have = Callable[[TaskView, int], object]  # fetches a checkpoint and checks it; raises OffchainError


def follow(
    chain: Chain, task_id: int, poll: float = 1.0, act: bool = True, have: Have | None = None
) -> Iterator[ChainView]:
    """Yield a view with the task every `poll` seconds until it has ended. With `act`, do what its requester may.

    `have`: with it, the requester says that it has what keepers did not say in time.
    """
    reader = Reader(chain, only=[task_id])
    while True:
        try:
            chain.settle()
            view = reader.read()
            yield view
            acted = act and _act(chain, view.task(task_id), requester.decide(view), have)
            if view.task(task_id).status.ended and not acted:
                return
        except ChainUnavailable:
            pass  # until it answers again, or the user stops the process
        time.sleep(poll)


def _act(chain: Chain, task: TaskView, actions: Sequence[Action], have: Have | None) -> bool:
    """Whether anything was sent and done."""
    verbs: dict[type[Action], Callable[[Any], object]] = {
        Award: lambda a: chain.award(a.task_id),
        Reopen: lambda a: chain.reopen(a.task_id),
        Collect: lambda a: chain.collect(a.task_id),
        Stall: lambda a: chain.stall(a.task_id),
        SettleClaim: lambda a: claims.settle(chain, a.task_id, a.attempt, a.checkpoint, a.verifier),
        Seat: lambda a: keepers.seat(chain, a.task_id),
        Recall: lambda a: keepers.recall(chain, a.task_id),
    }
    if have is not None:
        verbs[Acknowledge] = lambda a: acknowledge(chain, task, a.checkpoint, have)
    done = False
    for action in actions:
        if (verb := verbs.get(type(action))) and getattr(action, "task_id", None) == task.id:
            with suppress(OffchainError):  # somebody else was faster, or it is not there; the next reading shows it
                verb(action)
                done = True
    return done


def acknowledge(chain: Chain, task: TaskView, checkpoint: int, have: Have) -> Receipt:
    """Fetch a checkpoint of the running attempt, check it, and say on chain that it can be had.

    Raises Unreachable, BadBlob, ChainError.
    """
    have(task, checkpoint)
    return keepers.acknowledge(chain, task.id, task.attempt, checkpoint)


def result(
    chain: Chain, task_id: int, task: Task, blobs: BlobStore, holders: Holders | None = None
) -> tuple[TaskView, list[Array]]:
    """A completed task, and its final state, fetched from whoever has it and checked: one flat array a slot.

    Raises NoResult, Unreachable, BadBlob.
    """
    view = completed(chain, task_id)
    return view, state(view, task, blobs, holders or Holders())


def completed(chain: Chain, task_id: int) -> TaskView:
    """A task that has a result. Raises NoResult for any other."""
    view = Reader(chain, only=[task_id]).read().task(task_id)
    if view.status is not Status.COMPLETED:
        raise NoResult(f"task {task_id} is {view.status.name.lower()}: it has no result")
    return view


def state(
    view: TaskView,
    task: Task,
    blobs: BlobStore,
    holders: Holders,
    checkpoint: int = -1,
    patience: float | None = None,
) -> list[Array]:
    """A committed state, by default the last one, as `result` returns it. Raises Unreachable, BadBlob.

    Args:
        patience: seconds; None: as long as a fetch may take.
    """
    point = view.checkpoints[checkpoint]
    return load_state(state_file(view, point, task, blobs, holders, patience), task.graph, point.root)


def state_file(
    view: TaskView, point: CheckpointView, task: Task, blobs: BlobStore, holders: Holders, patience: float | None = None
) -> Path:
    """The file of a committed state, which was checked."""
    name, places = state_name(view.terms, point.root), holders.of_state(view, point)
    limit = state_bytes(task.graph)
    return blobs.fetch(places, name, lambda file: load_state(file, task.graph, point.root), limit, patience)
