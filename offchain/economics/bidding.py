"""How a worker bids: the truth about what its work costs, in the one auction where it can expect to be needed.

The second-best score is paid, so a bid is the truth. What needs thought is only where to bid: a machine that has room
for one task must not lead two auctions, and where everybody bids for the same task the others stay without a bid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offchain.economics.assignment import best_assignment
from offchain.economics.auction import FEE_BPS, Auction, Bid, Record, refusal, score, time_left
from offchain.market.money import BPS, part_up

HOUR: Final = 3_600
NEWCOMER: Final = Record()


def price_for(cost: int, intervals: int, fee_bps: int = FEE_BPS) -> int:
    """The lowest price that leaves `cost` after the fee, which is rounded up once for each interval."""
    return part_up(cost + intervals, BPS, BPS - fee_bps)


def truthful_bid(
    auction: Auction, hourly: int, seconds: int, expenses: int = 0, wait: int = 0, record: Record = NEWCOMER
) -> Bid | None:
    """The bid of a machine that costs `hourly` and needs `seconds` for a full interval; None if it cannot be revealed.

    `expenses` are what the task costs beside the machine's time: gas, and the share of risk. A machine that is busy for
    `wait` seconds more promises what it will need once it begins, and asks for what beginning late will cost it:
    lateness is charged when it grows, which is once, so that its score is the truth about the wait, too. It does not
    bid where the wait would have it miss its first deadline.
    """
    cost = part_up(hourly, seconds * auction.steps_left, HOUR * auction.interval) + expenses
    price = price_for(cost, auction.intervals_left) + auction.urgency * wait
    bid = Bid(price, seconds, record)
    return None if refusal(auction, bid) or seconds + wait > auction.interval_time else bid


# --- where to bid ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Habit:
    """What a bidder asked and promised so far, and for how much work (multiply-adds), as its reveals showed."""

    work: int = 0
    price: int = 0
    seconds: int = 0

    def seen(self, auction: Auction, work: int, bid: Bid, wait: int = 0) -> Habit:
        """After one more reveal. `work` is all that was left of the task, `wait` how long the bidder was busy."""
        price = max(0, bid.price - auction.urgency * wait)
        return Habit(self.work + work, self.price + price, self.seconds + time_left(auction, bid.seconds))

    def expected(self, auction: Auction, work: int, wait: int = 0, record: Record = NEWCOMER) -> Bid | None:
        """The bid to expect for a task; None if that could not be revealed, or nothing is known."""
        if self.work == 0:
            return None
        seconds = max(1, part_up(self.seconds * work, auction.interval, self.work * auction.steps_left))
        bid = Bid(part_up(self.price, work, self.work) + auction.urgency * wait, seconds, record)
        return None if refusal(auction, bid) or seconds + wait > auction.interval_time else bid


def gain(auction: Auction, bid: Bid | None) -> int:
    """By how much a bid is better for the requester than the worst that may be revealed; 0 for none."""
    if bid is None:
        return 0
    worst = Bid(auction.reserve, auction.interval_time, Record(failed=1 << 128))
    return 1 + score(auction, worst) - score(auction, bid)


def choose(gains: Sequence[Sequence[float]], me: int) -> int | None:
    """The auction to bid in, of those whose commits are open; None for none.

    `gains[j]` is a list of worker j's gains, one for each of these auctions: its own for `me`, and those to expect for
    the others that have room. Workers stand in an order that all know, such as that of their addresses, so that all
    find the same among tasks that are alike.

    The worker bids where the best assignment of all to all puts it: at the prices that belong to that assignment (its
    dual variables) no other task would leave it more. Who gets no task there bids where the best assignment of those
    that are left puts it, and so on: as standby, and in case the forecast is wrong. So every auction has a good second
    and third bidder before any has a bad one.
    """
    within = [auction for auction, own in enumerate(gains[me]) if own > 0]
    if len(gains[me]) <= 1 or not within:
        return next(iter(within), None)  # all that can bid do
    left = list(range(len(gains)))
    while True:
        assigned = dict(zip(left, best_assignment([gains[worker] for worker in left]), strict=True))
        if assigned[me] is not None:
            return assigned[me]
        left = [worker for worker in left if assigned[worker] is None]


def first(gains: Sequence[Sequence[float]], me: int) -> int | None:
    """Bid in the oldest auction that is open, as a worker does that looks at one task at a time."""
    return next((auction for auction, own in enumerate(gains[me]) if own > 0), None)
