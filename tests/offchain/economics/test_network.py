"""A simulated network: more work, more pay; cheats are found as often as reckoned, and lose."""

from __future__ import annotations

from dataclasses import replace

import pytest

from offchain.economics.network import Network, Plan, Summary, priced_units, summary


@pytest.fixture(scope="module")
def small() -> Network:
    return Network(Plan(solvers=100, verifiers=100, tasks=1_500, cheats=0.2), seed=1).run()


@pytest.fixture(scope="module")
def shown(small: Network) -> Summary:
    return summary(small)


def test_pay_follows_work(shown: Summary) -> None:
    assert shown.pay_by_work >= 0.99 and shown.fees_by_audits >= 0.99
    assert shown.pay_by_units >= 0.95  # speed is paid for, too
    assert shown.pay_by_priced_units >= 0.99 and shown.calm_price < shown.urgent_price


def test_units_alone_tell_the_pay_where_all_are_in_the_same_hurry() -> None:
    plan = Plan(solvers=100, verifiers=100, tasks=1_500)
    alike = summary(Network(replace(plan, cost_spread=0, urgency_spread=0), seed=1).run())
    hurries = summary(Network(replace(plan, cost_spread=0), seed=1).run())
    assert alike.pay_by_units >= 0.99 and alike.pay_by_units > hurries.pay_by_units
    assert alike.urgent_price / alike.calm_price < hurries.urgent_price / hurries.calm_price


def test_prices_of_hurries_add_up_to_what_was_paid(small: Network) -> None:
    prices, priced = priced_units(small)
    assert float(priced.sum()) == pytest.approx(float(small.paid.sum()))
    assert (prices > 0).all()


def test_a_thousand_of_each_over_ten_thousand_tasks() -> None:
    shown = summary(Network(Plan()).run())
    assert min(shown.pay_by_work, shown.pay_by_priced_units, shown.fees_by_audits) >= 0.99
    assert shown.honest_lost == 0 < shown.cheats_lost and shown.cheats_profit < 0 < shown.honest_profit


def test_cheats_are_found_as_often_as_the_closed_form_says_and_lose(shown: Summary) -> None:
    assert shown.false > 100
    assert shown.found == pytest.approx(shown.expected, abs=3.3 * (shown.expected / shown.false) ** 0.5)
    assert shown.cheats_profit < 0 < shown.honest_profit
    assert shown.honest_lost == 0 < shown.cheats_lost


def test_stakes_are_shared_out_between_provers_and_the_fire(small: Network) -> None:
    lost = float(small.lost.sum())
    assert small.burned == pytest.approx(lost / 2) and float(small.rewards.sum()) == pytest.approx(0.4 * lost)
    assert not small.lost[~small.cheats].any() and not small.fees[~small.looks].any()


def test_the_same_seed_is_the_same_network() -> None:
    plan = Plan(solvers=20, verifiers=20, tasks=60)
    assert summary(Network(plan, 3).run()) == summary(Network(plan, 3).run())
    assert summary(Network(plan, 3).run()) != summary(Network(plan, 4).run())


def test_without_cheats_nothing_is_lost() -> None:
    shown = summary(Network(Plan(solvers=20, verifiers=20, tasks=60, cheats=0), 3).run())
    assert (shown.false, shown.cheats_lost, shown.burned) == (0, 0, 0)
