"""What audits cost and how much stake they make enough, in integers, as the contracts compute them.

DESIGN.md, sections 6.4 and 6.6, says why. contracts/audit/Budgets.sol and contracts/market/TermLimits.sol do the same.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt
from typing import Final

from offchain.economics.stakes import least_stake
from offchain.market.money import BPS, part_up

DEVIATIONS: Final = 3  # of the number of fees that tickets win, which a budget covers
RATES_BPS: Final = (500, 1_000, 2_500, 5_000, 10_000)  # that a requester chooses among, if it names none


@dataclass(frozen=True, slots=True)
class StakeRule:
    """What a deployment assumes: ITermLimits.Limits.

    Attributes:
        honest_bps: part of all verifiers' stakes that is honest.
        margin_bps: how much more than it gains a cheat must expect to lose.
        bounty: of a challenger who was right, but not first.
    """

    honest_bps: int
    margin_bps: int
    bounty: int

    def required(self, max_price: int, steps: int, interval: int, rate_bps: int) -> int:
        """The smallest stake with which one falsified interval loses money, rounded up."""
        return least_stake(max_price, steps, interval, rate_bps, self.honest_bps, self.margin_bps, self.bounty)

    def rate(self, max_price: int, steps: int, interval: int, rates: Sequence[int] = RATES_BPS) -> int:
        """The lowest rate with which a stake no larger than the highest price deters; the highest rate if none does."""
        enough = (rate for rate in rates if self.required(max_price, steps, interval, rate) <= max_price)
        return next(enough, rates[-1])


def audits_up(intervals: int, rate_bps: int) -> int:
    """How many fees a task pays at most: ⌈λ + 3·√λ⌉ + 1 with λ = rate · intervals, the root in 1/100, rounded up."""
    expected = intervals * rate_bps
    root = isqrt(expected)
    deviation = root + (root * root < expected)
    return part_up(1, expected + DEVIATIONS * 100 * deviation, BPS) + 1


def audit_bill(intervals: int, fee: int, rate_bps: int) -> int:
    """What posting a task locks for audits."""
    return fee * audits_up(intervals, rate_bps)
