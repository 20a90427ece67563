"""Amounts of money: as people read them, and shares as in `contracts/lib/Money.sol`, where the name says the direction
of rounding."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

BPS: Final = 10_000  # of every share that is given in basis points
DECIMALS: Final = 18  # of a token, and of the coin that pays for gas
Units = int  # of money: the smallest there is
GasPrice = int  # wei for a unit of gas
GWEI: Final = 10**9  # wei
DIGITS: Final = 6  # of an amount that people read


def part_up(amount: int, part: int, whole: int) -> int:
    """⌈amount · part / whole⌉."""
    return -(-amount * part // whole)


def part_down(amount: int, part: int, whole: int) -> int:
    """⌊amount · part / whole⌋."""
    return amount * part // whole


def tokens(amount: int) -> str:
    """An amount as people read it: whole tokens, without trailing zeros."""
    text = f"{Decimal(amount).scaleb(-DECIMALS):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def plain(amount: int) -> str:
    """An amount in whole tokens as a number: what programs read out of logs."""
    return tokens(amount).replace(",", "")


def about(amount: int) -> str:
    """An amount in whole tokens, in six digits and all those before the point; never as a power of ten."""
    whole = Decimal(amount).scaleb(-DECIMALS)
    if abs(whole) >= 10**DIGITS:
        return f"{whole:,.0f}"
    text = f"{Decimal(f'{whole:.{DIGITS - 1}e}'):,f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def needed(amount: int) -> str:
    """What is asked for, in whole tokens with six decimals, rounded up so that it suffices."""
    unit = 10 ** (DECIMALS - DIGITS)
    return tokens(-(-amount // unit) * unit)


def balance(amount: int) -> str:
    """What there is, in whole tokens: six decimals, rounded down so that it can be had; below one token, six digits."""
    return tokens(amount - amount % 10 ** (DECIMALS - DIGITS)) if amount >= 10**DECIMALS else about(amount)
