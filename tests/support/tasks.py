"""The one way to make a task on chain: terms with defaults, posted, awarded, its first checkpoints committed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from offchain.market.notes import OwnBid
from offchain.market.view import Terms
from offchain.task import Task
from tests.support.deployment import PARAMETERS, Funded

PRICE: Final = 1_000
RATE: Final = 8_000  # of audits: a stake of 4.8 times the price for BARE steps
BOND: Final = PARAMETERS.bond
ROOT: Final = bytes(range(32))
BARE: Final = {"graph_root": ROOT, "state_root": ROOT[::-1], "steps": 25, "interval": 10}  # nobody trains it
URI: Final = "memory://state"
WINDOW: Final = 1_000  # seconds
CLOCK: Final = 600
BURNED: Final = -(-BOND // 2)  # of a bond that is lost; the winner gets the rest


def proof(stake: int) -> int:
    """What the challenger who proves a solver wrong gets of its stake."""
    return stake * 4_000 // 10_000


def unposted(**changes: Any) -> Terms:
    """Terms for tests without a chain: of BARE roots, with a minute for everything. `changes` are fields of Terms."""
    times = ("bidding_time", "reveal_time", "handover_time", "interval_time", "challenge_window", "clock")
    money = {"max_price": PRICE, "stake": 5 * PRICE, "bond": 100, "urgency": 0, "risk_bps": 0, "attempts": 1}
    money |= {"audit_fee": 0, "audit_rate_bps": RATE, "keepers": 0, "keeper_bps": 0}
    return Terms(**(BARE | dict.fromkeys(times, 60) | money | {"uri": "http://requester/task"} | changes))


def terms(place: Funded, task: Task | None = None, **changes: Any) -> Terms:
    """Terms for a task, by default for BARE roots, with the least stake and with deadlines that nobody misses.

    `changes` are fields of Terms.
    """
    fields: dict[str, Any] = BARE | {
        "max_price": PRICE,
        "urgency": 0,
        "risk_bps": 0,
        "attempts": 1,
        "audit_fee": 0,
        "audit_rate_bps": RATE,
        "keepers": 0,
        "keeper_bps": 0,
        "bidding_time": 60,
        "reveal_time": 60,
        "handover_time": 60,
        "interval_time": 100_000,
        "challenge_window": WINDOW,
        "clock": CLOCK,
        "uri": "memory://task",
    }
    if task is not None:
        fields |= {name: getattr(task, name) for name in BARE}
    fields |= changes
    made = Terms(**{"stake": 0, "bond": 0} | fields)
    if "stake" not in fields:
        made = replace(made, stake=place.quick("requester").required_stake(made))
    replay = -(-made.max_price * made.interval // max(1, made.steps))
    return made if "bond" in fields else replace(made, bond=max(BOND, -(-made.stake // 50), replay))  # the least


def post(place: Funded, task: Task | None = None, **changes: Any) -> int:
    """The requester posts; returns the task's id."""
    return place.quick("requester").post(terms(place, task, **changes))


def bid(place: Funded, task: int, name: str, price: int, promised: int = 1, attempt: int = 0) -> OwnBid:
    """Somebody commits to a bid; returns what is to be revealed."""
    sealed = OwnBid(attempt, price, promised, name.encode().ljust(32, b"."))
    place.quick(name).bid(task, sealed)
    return sealed


def auction(place: Funded, task: int, prices: Mapping[str, int], promised: int | None = None, attempt: int = 0) -> None:
    """Everybody in `prices` bids and reveals, in that order; then the first of them has the attempt awarded.

    `promised`: seconds per interval; None: as many as the terms allow.
    """
    terms = place.quick(next(iter(prices))).terms(task)
    promised = promised or terms.interval_time
    bids = {name: bid(place, task, name, price, promised, attempt) for name, price in prices.items()}
    place.clock.travel(terms.bidding_time)
    for name, sealed in bids.items():
        place.quick(name).reveal(task, sealed)
    place.clock.travel(terms.reveal_time)
    place.quick(next(iter(prices))).award(task)


def award(place: Funded, task: Task | None = None, price: int | None = None, **changes: Any) -> int:
    """Posts a task that the solver wins; returns its id. It is paid `price`, which a rival bids, or the highest."""
    wanted = terms(place, task, **changes)
    number = place.quick("requester").post(wanted)
    prices = {"solver": 0} if price is None else {"solver": 0, "rival": price}
    auction(place, number, prices)
    return number


def train(place: Funded, task: Task | None = None, roots: Sequence[bytes] = (), uri: str = URI, **changes: Any) -> int:
    """A task in training: `award`, and the solver commits its first checkpoints with these state roots."""
    number = award(place, task, **changes)
    for checkpoint, root in enumerate(roots):
        place.quick("solver").commit(number, checkpoint, root, uri)
    return number


def lapse(place: Funded, *numbers: int, name: str = "requester") -> None:
    """Nobody has bid for these tasks: their time passes, and somebody ends them. The money goes back."""
    terms = [place.quick(name).terms(number) for number in numbers]
    place.clock.travel(max(each.bidding_time + each.reveal_time for each in terms))
    for number in numbers:
        place.quick(name).award(number)
