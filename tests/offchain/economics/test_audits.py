"""The stake rule and the budget of audits, as the design has them; tests/parity holds them to the contracts."""

from __future__ import annotations

import pytest

from offchain.economics.audits import RATES_BPS, StakeRule, audit_bill, audits_up

RULE = StakeRule(honest_bps=5_000, margin_bps=12_000, bounty=0)
PRICE = 10**18


def test_the_figure_of_the_design() -> None:
    """50 intervals, a quarter of an audit for each: 0.77 of the highest price, and no more than 0.8."""
    assert RULE.required(PRICE, 500, 10, 2_500) == PRICE * 768 // 1_000


def test_a_short_last_interval_lowers_nothing() -> None:
    """With 11 steps in intervals of 10 the first interval earns ten elevenths: as much as if it were nearly alone."""
    alone, nearly = RULE.required(PRICE, 10, 10, 2_500), RULE.required(PRICE, 11, 10, 2_500)
    assert nearly == pytest.approx(alone * 10 / 11)


def test_a_stake_pays_at_least_ten_bounties() -> None:
    assert StakeRule(5_000, 12_000, 7).required(0, 1, 1, 1) == 70


def test_more_intervals_need_fewer_audits() -> None:
    rates = [RULE.rate(PRICE, intervals, 1) for intervals in (1, 4, 20, 50, 200, 1_000)]
    assert rates == [10_000, 10_000, 5_000, 2_500, 500, 500]
    assert all(RULE.required(PRICE, 50, 1, rate) <= PRICE for rate in RATES_BPS if rate >= 2_500)


@pytest.mark.parametrize(("intervals", "rate", "audits"), [(50, 2_500, 25), (1, 1, 2), (4, 10_000, 11), (0, 9, 1)])
def test_budgets(intervals: int, rate: int, audits: int) -> None:
    assert audits_up(intervals, rate) == audits
    assert audit_bill(intervals, 7, rate) == 7 * audits
