"""The auction's rules in integers, as the contract computes them: scores, the award, pay, and what lateness costs.

Money is in the token's smallest unit, time in seconds, shares in basis points. An auction is held for all that is left
of a task. DESIGN.md, sections 6.1 and 6.2, says why the rules are these.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offchain.errors import BadTerms
from offchain.market.money import BPS, part_down, part_up

FEE_BPS: Final = 100  # of a solver's pay, burned
STANDBY_BPS: Final = 200  # of a solver's pay, to the runner-up, from the requester
PRIOR_BPS: Final = 1_000  # the share of failures that a record without history has


@dataclass(frozen=True, slots=True)
class Auction:
    """What is auctioned.

    Attributes:
        max_price: for all steps of the task.
        steps, interval: of the task; a checkpoint is committed after each `interval` steps, and after the last one.
        interval_time: the most seconds that a bid may promise for an interval.
        urgency: what a second costs the requester.
        risk_bps: the share of the reserve that a certain failure would cost the requester.
        first: intervals that are final already.
    """

    max_price: int
    steps: int
    interval: int
    interval_time: int
    urgency: int = 0
    risk_bps: int = 0
    first: int = 0

    @property
    def steps_left(self) -> int:
        return self.steps - self.first * self.interval

    @property
    def intervals_left(self) -> int:
        return -(-self.steps_left // self.interval)

    @property
    def reserve(self) -> int:
        """The most that the rest may cost."""
        return part_down(self.max_price, self.steps_left, self.steps)

    def steps_up_to(self, checkpoint: int) -> int:
        """Steps from the start of this auction's attempt to its checkpoint, 0 being the attempt's first."""
        return min((checkpoint + 1) * self.interval, self.steps_left)


@dataclass(frozen=True, slots=True)
class Record:
    """What a bidder has done so far, by value: intervals that became final, and intervals that it failed at."""

    done: int = 0
    failed: int = 0


@dataclass(frozen=True, slots=True)
class Bid:
    """A price for all that is left, the seconds promised for a full interval, and the bidder's record."""

    price: int
    seconds: int
    record: Record = Record()


@dataclass(frozen=True, slots=True)
class Award:
    """Places of the winner and of the standby among the bids; what the winner is paid for all that is left."""

    winner: int
    standby: int | None
    pay: int
    score: int
    second_score: int | None


def time_left(auction: Auction, seconds: int) -> int:
    """Seconds that a bid promises for all that is left."""
    return part_up(seconds, auction.steps_left, auction.interval)


def risk(auction: Auction, record: Record) -> int:
    """What the requester reckons to lose by the bidder's failure.

    The failure share counts value, and a prior of `PRIOR_BPS` weighs as much as the reserve: neither a new name nor
    many small tasks are worth much.
    """
    reserve = auction.reserve
    if reserve == 0:
        return 0
    failures = record.failed * BPS + PRIOR_BPS * reserve
    return part_up(reserve * auction.risk_bps, failures, (record.done + record.failed + reserve) * BPS * BPS)


def burden(auction: Auction, bid: Bid) -> int:
    """What a bid costs the requester beside its price: time and risk."""
    return auction.urgency * time_left(auction, bid.seconds) + risk(auction, bid.record)


def score(auction: Auction, bid: Bid) -> int:
    """What a bid costs the requester; the lowest wins."""
    return bid.price + burden(auction, bid)


def refusal(auction: Auction, bid: Bid) -> str | None:
    """Why a bid cannot be revealed, or None."""
    if not 0 <= bid.price <= auction.reserve:
        return f"a price of {bid.price} is not in 0 … {auction.reserve}"
    if not 1 <= bid.seconds <= auction.interval_time:
        return f"{bid.seconds} s for an interval are not in 1 … {auction.interval_time}"
    return None


def award(auction: Auction, bids: Sequence[Bid]) -> Award | None:
    """Who wins and what it is paid; None without bids. `bids` are all that were revealed, in the order of commits.

    Raises BadTerms for a bid that could not have been revealed.
    """
    for place, bid in enumerate(bids):
        if why := refusal(auction, bid):
            raise BadTerms(f"bid {place}: {why}")
    if not bids:
        return None
    scores = [score(auction, bid) for bid in bids]
    order = sorted(range(len(bids)), key=lambda place: (scores[place], place))
    winner, standby = order[0], order[1] if len(order) > 1 else None
    pay, second = auction.reserve, None
    if standby is not None:
        second = scores[standby]
        pay = min(pay, second - burden(auction, bids[winner]))
    return Award(winner, standby, pay, scores[winner], second)


def takeover_pay(price: int, before: Auction, now: Auction) -> int:
    """What a standby is paid for the rest: its price for all that was left at the auction, in proportion to steps."""
    return part_down(price, now.steps_left, before.steps_left)


@dataclass(frozen=True, slots=True)
class Payment:
    """Who gets what for one interval that became final. All but the standby's wage is the interval's gross pay."""

    solver: int
    requester: int
    burned: int
    standby: int

    @property
    def gross(self) -> int:
        return self.solver + self.requester + self.burned


def earned(auction: Auction, pay: int, steps: int) -> int:
    """Gross pay for the first `steps` of the steps left."""
    return part_down(pay, steps, auction.steps_left)


def lateness(auction: Auction, seconds: int, checkpoint: int, after: int) -> int:
    """Seconds by which a checkpoint misses its promise, committed `after` seconds of the attempt that count.

    Time that the solver spent in disputes which it won does not count.
    """
    return max(0, after - part_up(seconds, auction.steps_up_to(checkpoint), auction.interval))


def charge(auction: Auction, late: int, settled: int, gross: int) -> tuple[int, int]:
    """What an interval pays for lateness, and the seconds of it that are paid for then; `settled` were before.

    Only what lateness grew by is charged. What an interval's gross pay does not cover, the next ones must.
    """
    cost = auction.urgency * max(0, late - settled)
    if cost <= gross:
        return cost, max(late, settled)
    return gross, settled + gross // auction.urgency


def payments(
    auction: Auction,
    pay: int,
    seconds: int,
    committed: Sequence[int],
    fee_bps: int = FEE_BPS,
    wage_bps: int = STANDBY_BPS,
) -> list[Payment]:
    """What each final interval pays; `committed[i]`: seconds that count from the attempt's start to checkpoint i.

    `wage_bps` is the standby's, 0 without one.
    """
    paid, settled = list[Payment](), 0
    for checkpoint, after in enumerate(committed):
        before = checkpoint * auction.interval
        gross = earned(auction, pay, auction.steps_up_to(checkpoint)) - earned(auction, pay, before)
        late = lateness(auction, seconds, checkpoint, after)
        charged, settled = charge(auction, late, settled, gross)
        burned = part_up(gross - charged, fee_bps, BPS)
        paid.append(Payment(gross - charged - burned, charged, burned, part_down(gross, wage_bps, BPS)))
    return paid
