"""What an operator chooses: prices, the share of audits, and which terms are acceptable."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from offchain.market.view import Terms

# Gas of what a role sends, rounded up; a test holds it to the gas that the contracts were measured with.
BID_GAS: Final = 100_000
AWARD_GAS: Final = 60_000
COMMIT_GAS: Final = 115_000  # of each checkpoint
COLLECT_GAS: Final = 85_000  # of each checkpoint, where nothing else is collected with it
DISPUTE_GAS: Final = 1_500_000  # of the challenger's moves, where nobody else pays for some

REWARD: Final = Fraction(4, 10)  # of a convicted solver's stake, to who proves it


@dataclass(frozen=True, slots=True)
class Policy:
    """`ask` and `reserve` are shares of a task's highest price: the first bid, and the lowest one.

    `audit_share` is the probability that a checkpoint is replayed. A task whose dispute clock, challenge window or
    interval time is shorter than the minimum (seconds) is left alone: a slow network could make an honest worker lose.
    All tasks that are held or bid on may take `memory` bytes together.

    `coin_price` is what a native coin is worth in tokens: gas costs coins, work earns tokens. No bid is below its gas
    and the reserve together; no task is audited in which a conviction would not pay the gas of its dispute.
    """

    ask: Fraction = Fraction(9, 10)
    reserve: Fraction = Fraction(1, 2)
    step: Fraction = Fraction(1, 100)  # by how much a better bid undercuts, as a share of the highest price
    audit_share: float = 0.5
    min_clock: int = 60
    min_window: int = 60
    min_interval_time: int = 30
    memory: int = 1 << 62
    coin_price: Fraction = Fraction(1)

    def refusal(self, terms: Terms) -> str | None:
        """Why these terms are not acceptable, or None."""
        for name, least in (
            ("clock", self.min_clock),
            ("challenge_window", self.min_window),
            ("interval_time", self.min_interval_time),
        ):
            if getattr(terms, name) < least:
                return f"{name} of {getattr(terms, name)} s is below this worker's minimum of {least} s"
        return None

    def bid(self, terms: Terms, best: int | None, gas_price: int = 0) -> int | None:
        """The price to bid against the best so far; None if it would be below the reserve and the task's gas."""
        price = int(terms.max_price * self.ask)
        if best is not None:
            price = min(price, best - max(1, int(terms.max_price * self.step)))
        gas = BID_GAS + AWARD_GAS + terms.intervals * (COMMIT_GAS + COLLECT_GAS)
        least = int(terms.max_price * self.reserve) + self.cost(gas, gas_price)
        return price if price >= max(1, least) else None

    def audits(self, terms: Terms, gas_price: int = 0) -> bool:
        """Whether a conviction of this task's solver would pay for its dispute."""
        return terms.stake * REWARD >= self.cost(DISPUTE_GAS, gas_price)

    def cost(self, gas: int, gas_price: int) -> int:
        """What gas costs in tokens, rounded up. `gas_price` in wei."""
        return ceil(gas * gas_price * self.coin_price)
