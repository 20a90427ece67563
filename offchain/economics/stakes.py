"""The least stake with which cheating loses, over integers as a contract computes it (DESIGN.md, section 6.6)."""

from __future__ import annotations

from typing import Final

from offchain.market.money import BPS, part_up

BURN_BPS: Final = 5_000  # of a convicted solver's stake, at least: TermLimits.BURN_BPS
STAKE_BOUNTIES: Final = 10  # in the smallest stake: TermLimits.STAKE_BOUNTIES


def least_stake(
    max_price: int, steps: int, interval: int, rate_bps: int, honest_bps: int, margin_bps: int, bounty: int = 0
) -> int:
    """⌈margin · 2 · maxPrice · (interval / steps) / (x · burned part)⌉, and ten bounties, in the token's smallest unit.

    With x = honest part · audit rate a falsified interval is found with q = 1 − e^−x, so that (1−q)/q ≤ 1/x. It gains
    at most what it is paid and as much in work that it saves.

    Args:
        rate_bps: fees to expect for each checkpoint, in 1/10,000.
        honest_bps: part of all verifiers' stakes that is honest, in 1/10,000.
        margin_bps: how much more than it gains a cheat must expect to lose, in 1/10,000.
    """
    gain = 2 * max_price * interval  # in 1/steps
    deterrent = part_up(gain, margin_bps * BPS * BPS, honest_bps * rate_bps * BURN_BPS * steps)
    return max(deterrent, STAKE_BOUNTIES * bounty)
