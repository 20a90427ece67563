"""What an operator chooses: prices, the share of audits, and which terms are acceptable."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from offchain.market.view import Terms


@dataclass(frozen=True, slots=True)
class Policy:
    """`ask` and `reserve` are shares of a task's highest price: the first bid, and the lowest one.

    `audit_share` is the probability that a checkpoint is replayed. A task whose dispute clock, challenge window or
    interval time is shorter than the minimum (seconds) is left alone: a slow network could make an honest worker lose.
    All tasks that are held or bid on may take `memory` bytes together.
    """

    ask: Fraction = Fraction(9, 10)
    reserve: Fraction = Fraction(1, 2)
    step: Fraction = Fraction(1, 100)  # by how much a better bid undercuts, as a share of the highest price
    audit_share: float = 0.5
    min_clock: int = 60
    min_window: int = 60
    min_interval_time: int = 30
    memory: int = 1 << 62

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

    def bid(self, terms: Terms, best: int | None) -> int | None:
        """The price to bid against the best so far; None if it would be below the reserve."""
        price = int(terms.max_price * self.ask)
        if best is not None:
            price = min(price, best - max(1, int(terms.max_price * self.step)))
        return price if price >= max(1, int(terms.max_price * self.reserve)) else None
