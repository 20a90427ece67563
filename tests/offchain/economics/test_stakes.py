"""The stake rule, what it deters, and where cheating pays."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.chain.deployment import PRESETS
from offchain.commands.strategies import game_of
from offchain.economics.deterrence import deterrence, least_that_deters, varied
from offchain.economics.stakes import least_stake

MOST = 2**96 - 1


@given(st.integers(0, MOST), st.integers(1, 2**31 - 1), st.data(), st.integers(1, 2**16 - 1), st.integers(1, 10_000))
def test_the_least_stake_deters_and_one_unit_less_does_not(
    price: int, steps: int, data: st.DataObject, rate: int, honest: int
) -> None:
    interval = data.draw(st.integers(1, steps))
    stake = least_stake(price, steps, interval, rate, honest, 12_000)
    gain = Fraction(2 * price * interval, steps) * Fraction(12, 10)
    caught = Fraction(honest * rate, 10**8) * Fraction(1, 2)
    assert stake * caught >= gain
    assert stake == 0 or (stake - 1) * caught < gain


def test_fifty_intervals_and_a_quarter_of_an_audit_for_each_take_at_most_four_fifths_of_the_price() -> None:
    stake = least_stake(10**20, 500, 10, 2_500, 5_000, 12_000)
    assert stake == 768 * 10**17 <= 8 * 10**19
    assert least_stake(0, 1, 1, 1, 1, 12_000, bounty=7) == 70


@pytest.mark.parametrize("preset", PRESETS)
def test_the_rules_stake_is_more_than_enough(preset: str) -> None:
    """By the margin, and by the gain that the rule counts twice."""
    for number in (10, 50, 200):
        for rate in (1_000, 2_500, 10_000):
            game = game_of(preset, intervals=number, rate_bps=rate)
            enough = least_that_deters(game)
            assert 0.1 < enough / (game.stake / game.price) < 0.9
            broke_even = replace(game, offer=replace(game.offer, stake=round(enough * game.offer.max_price)))
            assert abs(deterrence(broke_even).ev) < 1e-4 * game.price


def test_cheating_pays_where_far_fewer_are_honest_than_the_rule_assumes() -> None:
    found = list(varied(game_of("public"), [2_500], [50], [0.05, 0.5]))
    assert [one.pays for one in found] == [True, False]
    assert found[0].stake == found[1].stake and found[0].found < found[1].found
