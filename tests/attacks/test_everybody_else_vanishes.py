"""Each party's worst case: everybody else vanishes, in every state of a task. Nothing stays locked for who remains.

Whoever remains acts alone from then on. In the end nothing of it lies in a pot, and it has lost no more
than docs/market.md says: a requester the fee for posting and the pay for what was delivered, everybody else gas.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import pytest

from offchain.chain.client import Chain, GraphHeader
from offchain.chain.deployment import COIN
from tests.support import tasks
from tests.support.deployment import PARAMETERS, Funded
from tests.support.fortunes import locked_by
from tests.support.works import every_kind

TASK: Final = every_kind(6, 3)
PRICE: Final = 10 * COIN
GAS: Final = COIN // 10  # more than anybody spends on it
TERMS: Final = {"max_price": PRICE, "attempts": 3, "interval_time": 1_000}
FALSE: Final = bytes(31) + b"\x01"
Prepare = Callable[[Funded], int]
Act = Callable[[Funded, Chain, int], object]


def posted(place: Funded) -> int:
    return tasks.post(place, TASK, **TERMS)


def shown(place: Funded) -> int:
    """Three bids: the solver's leads, the rival's would be standby."""
    task = posted(place)
    sealed = {name: tasks.bid(place, task, name, price) for name, price in (("solver", 1), ("rival", 2))}
    place.clock.travel(60)
    for name, bid in sealed.items():
        place.quick(name).reveal(task, bid)
    return task


def sealed(place: Funded) -> int:
    """The solver has bid, and the requester has cancelled."""
    task = posted(place)
    tasks.bid(place, task, "solver", 1)
    place.quick("requester").cancel(task)
    return task


def awarded(place: Funded) -> int:
    """The solver is to train; the rival stands by."""
    task = posted(place)
    tasks.auction(place, task, {"solver": 0, "rival": PRICE // 2})
    return task


def delivered(place: Funded, checkpoints: int = 1) -> int:
    task = awarded(place)
    for checkpoint in range(checkpoints):
        place.quick("solver").commit(task, checkpoint, FALSE, "")
    return task


def finished(place: Funded) -> int:
    return delivered(place, 2)


def disputed(place: Funded) -> int:
    """It is the solver's move."""
    task = delivered(place)
    place.quick("challenger").open(task, 0, GraphHeader.of(TASK.graph))
    return task


def vacant(place: Funded) -> int:
    """The solver has failed; the rival may take over."""
    task = awarded(place)
    place.clock.travel(1_001)
    place.quick("stranger").stall(task)
    return task


def reopened(place: Funded) -> int:
    task = vacant(place)
    place.clock.travel(61)
    place.quick("stranger").reopen(task)
    return task


def end_bidding(place: Funded, me: Chain, task: int) -> None:
    place.clock.travel(120)
    me.award(task)


def settle(place: Funded, me: Chain, task: int) -> None:
    me.settle_bid(task, 0, me.address)


def stall_and_cancel(place: Funded, me: Chain, task: int) -> None:
    place.clock.travel(5_000)
    me.stall(task)
    place.clock.travel(61)
    me.cancel(task)


def cancel(place: Funded, me: Chain, task: int) -> None:
    place.clock.travel(61)
    me.cancel(task)


def time_out(place: Funded, me: Chain, task: int) -> None:
    """Who has the next move is out of time; the challenger's proof, or the requester's way back to its money."""
    place.clock.travel(100_000)
    me.timeout(me.call("game", "disputeCount"))


def time_out_and_cancel(place: Funded, me: Chain, task: int) -> None:
    time_out(place, me, task)
    cancel(place, me, task)


def collect(place: Funded, me: Chain, task: int) -> None:
    place.close_windows(task)
    me.collect(task)


def train_and_collect(place: Funded, me: Chain, task: int) -> None:
    first = me.call("log", "count", task)
    for checkpoint in range(first, 2):
        me.commit(task, checkpoint, FALSE, "")
    collect(place, me, task)


def award_and_train(place: Funded, me: Chain, task: int) -> None:
    end_bidding(place, me, task)
    train_and_collect(place, me, task)


def take_over(place: Funded, me: Chain, task: int) -> None:
    me.take_over(task)
    train_and_collect(place, me, task)


def stall_and_take_over(place: Funded, me: Chain, task: int) -> None:
    place.clock.travel(5_000)
    me.stall(task)
    take_over(place, me, task)


def award_stall_and_take_over(place: Funded, me: Chain, task: int) -> None:
    end_bidding(place, me, task)
    stall_and_take_over(place, me, task)


POST: Final = PARAMETERS.post_fee
STORIES: Final[dict[str, tuple[str, Prepare, Act, int]]] = {  # who remains, what happened, what it does, worst net
    "nobody bids": ("requester", posted, end_bidding, -POST),
    "the winner never begins": ("requester", awarded, stall_and_cancel, -POST),
    "the winner leaves midway": ("requester", delivered, stall_and_cancel, -POST - PRICE // 4),
    "the challenger and the solver leave": ("requester", disputed, time_out_and_cancel, -POST),
    "the standby does not come": ("requester", vacant, cancel, -POST),
    "nobody bids for the rest": ("requester", reopened, end_bidding, -POST),
    "nobody collects": ("requester", finished, collect, -POST - PRICE // 2),
    "nobody awards": ("solver", shown, award_and_train, 0),
    "the requester cancels and leaves": ("solver", sealed, settle, 0),
    "nobody pays": ("solver", awarded, train_and_collect, 0),
    "the solver never begins": ("rival", awarded, stall_and_take_over, 0),
    "the solver has failed": ("rival", vacant, take_over, 0),
    "the solver has finished": ("rival", finished, collect, 0),
    "nobody awards, and the winner never begins": ("rival", shown, award_stall_and_take_over, 0),
    "the solver does not answer": ("challenger", disputed, time_out, 0),
}


@pytest.mark.parametrize("story", STORIES)
def test_nothing_stays_locked_for_who_remains(place: Funded, story: str) -> None:
    name, prepare, act, worst = STORIES[story]
    before = place.fortunes()
    task = prepare(place)
    assert place.fortunes()[name].locked > 0
    act(place, place.quick(name), task)
    assert locked_by(place.quick(name)).get(place.address(name), 0) == 0
    net = place.net(before, ended=False)
    assert worst - GAS <= net[name]
