"""The one way to make a task on chain: terms with defaults, posted, awarded, its first checkpoints committed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from offchain.market.view import Terms
from offchain.task import Task
from tests.support.deployment import PARAMETERS, Funded

PRICE: Final = 1_000
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
    minute = dict.fromkeys(("bidding_time", "interval_time", "challenge_window", "clock"), 60)
    money = {"max_price": PRICE, "stake": 5 * PRICE, "bond": 100}
    return Terms(**(BARE | minute | money | {"uri": "http://requester/task"} | changes))


def terms(place: Funded, task: Task | None = None, **changes: Any) -> Terms:
    """Terms for a task, by default for BARE roots, with the least stake and with deadlines that nobody misses.

    `changes` are fields of Terms.
    """
    fields: dict[str, Any] = BARE | {
        "max_price": PRICE,
        "bidding_time": 60,
        "interval_time": 100_000,
        "challenge_window": WINDOW,
        "clock": CLOCK,
        "uri": "memory://task",
    }
    if task is not None:
        fields |= {name: getattr(task, name) for name in BARE}
    fields |= changes
    if "stake" not in fields:
        fields["stake"] = place.quick("requester").required_stake(fields["max_price"])
    fields.setdefault("bond", max(BOND, -(-fields["stake"] // 50)))  # the least
    return Terms(**fields)


def post(place: Funded, task: Task | None = None, **changes: Any) -> int:
    """The requester posts; returns the task's id."""
    return place.quick("requester").post(terms(place, task, **changes))


def award(place: Funded, task: Task | None = None, price: int | None = None, **changes: Any) -> int:
    """Posts a task that the solver wins, by default at the highest price; returns its id."""
    wanted = terms(place, task, **changes)
    number = place.quick("requester").post(wanted)
    place.quick("solver").bid(number, wanted.max_price if price is None else price)
    place.clock.travel(wanted.bidding_time)
    place.quick("stranger").award(number)
    return number


def train(place: Funded, task: Task | None = None, roots: Sequence[bytes] = (), uri: str = URI, **changes: Any) -> int:
    """A task in training: `award`, and the solver commits its first checkpoints with these state roots."""
    number = award(place, task, **changes)
    for checkpoint, root in enumerate(roots):
        place.quick("solver").commit(number, checkpoint, root, uri)
    return number
