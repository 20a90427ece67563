"""Shares of amounts of money, as in `contracts/lib/Money.sol`: the name says the direction of rounding."""

from __future__ import annotations

from typing import Final

BPS: Final = 10_000  # of every share that is given in basis points


def part_up(amount: int, part: int, whole: int) -> int:
    """⌈amount · part / whole⌉."""
    return -(-amount * part // whole)


def part_down(amount: int, part: int, whole: int) -> int:
    """⌊amount · part / whole⌋."""
    return amount * part // whole
