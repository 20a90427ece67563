"""Amounts as people read them."""

from __future__ import annotations

import pytest

from offchain.market.money import about, balance, needed, tokens

COIN = 10**18


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "0"),
        (999_999_997_901 * 10**12, "1,000,000"),
        (12_345_678 * COIN, "12,345,678"),
        (123_456_789 * 10**15, "123,457"),
        (102_043_212 * 10**12, "102.043"),
        (COIN // 2, "0.5"),
        (12_345_678 * 10**6, "0.0000123457"),
        (1, "0.000000000000000001"),
        (-1_500_000 * COIN, "-1,500,000"),
    ],
)
def test_six_digits_and_no_power_of_ten(amount: int, said: str) -> None:
    assert about(amount) == said


@pytest.mark.parametrize(
    ("amount", "said"),
    [
        (0, "0"),
        (2_000_002_521_903_780_853_536, "2,000.002521"),
        (1_999_999_999_999_999_999, "1.999999"),
        (10_000 * COIN, "10,000"),
        (2_521_903_780_853_536, "0.0025219"),
    ],
)
def test_a_balance_is_rounded_down(amount: int, said: str) -> None:
    assert balance(amount) == said


def test_what_is_needed_is_rounded_up() -> None:
    assert needed(102_043_211_993_192_889_184) == "102.043212"
    assert needed(3 * COIN // 5) == "0.6"
    assert needed(1) == "0.000001"


def test_an_exact_amount_has_all_its_digits() -> None:
    assert tokens(2_000_002_521_903_780_853_536) == "2,000.002521903780853536"
