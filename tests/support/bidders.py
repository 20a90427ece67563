"""A bidder, what its work truly costs it, and what others bid: what another bid than the truth would gain."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import hypothesis.strategies as st

from offchain.economics.auction import STANDBY_BPS, Auction, Award, Bid, Record, award, payments
from offchain.economics.bidding import price_for
from offchain.market.money import BPS

Judge = Callable[[Auction, Sequence[Bid]], Award | None]


@dataclass(frozen=True)
class Draw:
    """A bidder's true cost and time, and what the others bid before and after it."""

    auction: Auction
    cost: int
    seconds: int
    record: Record
    before: list[Bid]
    after: list[Bid]

    def profit(self, bid: Bid | None, judge: Judge = award) -> int:
        """What the bidder has at the end with a bid; as standby of a solver that does all, without its wage."""
        bids = [*self.before, *([bid] if bid else []), *self.after]
        found = judge(self.auction, bids)
        if bid is None or found is None or found.winner != len(self.before):
            return 0
        committed = [self.finished(checkpoint) for checkpoint in range(self.auction.intervals_left)]
        return sum(paid.solver for paid in payments(self.auction, found.pay, bid.seconds, committed)) - self.cost

    def finished(self, checkpoint: int) -> int:
        return -(-self.seconds * self.auction.steps_up_to(checkpoint) // self.auction.interval)

    @property
    def truth(self) -> Bid | None:
        price = price_for(self.cost, self.auction.intervals_left)
        return Bid(price, self.seconds, self.record) if price <= self.auction.reserve else None

    def wage(self, bid: Bid | None) -> int:
        """Its wage as standby of a solver that does all in time."""
        bids: Sequence[Bid] = [*self.before, *([bid] if bid else []), *self.after]
        found = award(self.auction, bids)
        if bid is None or found is None or found.standby != len(self.before):
            return 0
        return found.pay * STANDBY_BPS // BPS


@st.composite
def draws(draw: st.DrawFn, even: bool = False) -> Draw:
    most = draw(st.sampled_from([10, 10_000, 10**18, 2**96]))
    interval = draw(st.integers(1, 12))
    steps = interval * draw(st.integers(1, 6)) if even else draw(st.integers(interval, 6 * interval))
    auction = Auction(
        max_price=draw(st.integers(0, most)),
        steps=steps,
        interval=interval,
        interval_time=draw(st.integers(1, 50)),
        urgency=draw(st.just(0) | st.integers(0, most // 20)),
        risk_bps=draw(st.integers(0, BPS)),
        first=draw(st.integers(0, (steps - 1) // interval)),
    )
    records = st.builds(Record, st.integers(0, most), st.just(0) | st.integers(0, most))
    bids = st.builds(Bid, st.integers(0, auction.reserve), st.integers(1, auction.interval_time), records)
    others = st.lists(bids, max_size=3)
    cost, seconds = draw(st.integers(0, auction.reserve)), draw(st.integers(1, auction.interval_time))
    return Draw(auction, cost, seconds, draw(records), draw(others), draw(others))


def deviation(data: st.DataObject, case: Draw) -> Bid:
    price = data.draw(st.integers(0, case.auction.reserve))
    return Bid(price, data.draw(st.just(case.seconds) | st.integers(1, case.auction.interval_time)), case.record)
