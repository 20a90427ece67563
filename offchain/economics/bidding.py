"""How a worker bids: what its work costs, and for the one task that it can expect to win with the greatest gain.

The second-best score is paid, so a bid is the truth. What needs thought is only where to bid: a machine that has room
for one task must not lead two auctions, and where everybody bids for the same task the others stay without a bid.
"""

from __future__ import annotations

from typing import Final

from offchain.economics.auction import FEE_BPS, Auction, Bid, Record, refusal
from offchain.market.money import BPS, part_up

HOUR: Final = 3_600
NEWCOMER: Final = Record()


def price_for(cost: int, intervals: int, fee_bps: int = FEE_BPS) -> int:
    """The lowest price that leaves `cost` after the fee, which is rounded up once for each interval."""
    return part_up(cost + intervals, BPS, BPS - fee_bps)


def truthful_bid(
    auction: Auction, hourly: int, seconds: int, expenses: int = 0, record: Record = NEWCOMER
) -> Bid | None:
    """The bid of a machine that costs `hourly` and needs `seconds` for a full interval; None if it cannot be revealed.

    `expenses` are what the task costs beside the machine's time: gas, and the share of risk.
    """
    cost = part_up(hourly, seconds * auction.steps_left, HOUR * auction.interval) + expenses
    bid = Bid(price_for(cost, auction.intervals_left), seconds, record)
    return None if refusal(auction, bid) else bid
