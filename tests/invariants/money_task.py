"""What the model of the market knows of a task."""

from __future__ import annotations

from dataclasses import dataclass, field

from offchain.economics import auction as twin
from offchain.market.view import Status, Terms

Key = tuple[int, str]  # attempt and bidder
Claimed = tuple[int, int, str]  # attempt, checkpoint and verifier


class Refused(Exception):
    """A move that the contracts refuse; the name of their error."""


@dataclass
class Checkpoint:
    until: int
    attempt: int
    committed_at: int
    defended: int
    holds: int = 0

    def is_final(self, now: int) -> bool:
        return now > self.until and self.holds == 0

    @property
    def claimable_until(self) -> int:
        return (self.committed_at + self.until) // 2


@dataclass
class Sealed:
    price: int
    promised: int
    at: int  # when it was committed


@dataclass
class Shown:
    bidder: str
    bid: twin.Bid
    at: int
    burden: int

    @property
    def rank(self) -> tuple[int, int]:
        return self.bid.price + self.burden, self.at


@dataclass
class Task:
    """A task, and the money that is locked for it."""

    requester: str
    terms: Terms
    bidding_ends: int
    escrow: int
    status: Status = Status.BIDDING
    attempt: int = 0
    first: int = 0
    paid: int = 0
    price: int = 0
    promised: int = 0
    solver: str = ""
    standby: Shown | None = None
    awarded_at: int = 0
    handover_ends: int = 0
    defended: int = 0
    late: int = 0
    stake: int = 0  # locked
    kept: dict[int, int] = field(default_factory=dict)  # of the stakes, with the game, by attempt
    checkpoints: list[Checkpoint] = field(default_factory=list)
    sealed: dict[Key, Sealed] = field(default_factory=dict)
    bonds: set[Key] = field(default_factory=set)
    ranked: list[Shown] = field(default_factory=list)  # the two best of the attempt
    cancelled: set[int] = field(default_factory=set)
    audits: int = 0  # fees that the budget still pays, beside those that are claimed
    claims: dict[Claimed, bool] = field(default_factory=dict)  # -> whether it was revealed
    fees: dict[Claimed, int] = field(default_factory=dict)  # that open claims took out of the budget
    guesses: set[Claimed] = field(default_factory=set)  # claims by who does not know the log
    condemned: set[tuple[int, int]] = field(default_factory=set)  # attempt and checkpoint

    @property
    def reveal_ends(self) -> int:
        return self.bidding_ends + self.terms.reveal_time

    @property
    def due(self) -> int:
        """When the next checkpoint is due."""
        index = len(self.checkpoints)
        return self.awarded_at + (index + 1 - self.first) * self.terms.interval_time + self.defended

    @property
    def unfinished(self) -> bool:
        return self.status is Status.TRAINING and len(self.checkpoints) < self.terms.intervals

    @property
    def last(self) -> bool:
        return self.attempt + 1 == self.terms.attempts

    def auction(self) -> twin.Auction:
        t = self.terms
        return twin.Auction(
            t.max_price, t.steps, t.interval, t.interval_time, t.urgency, t.risk_bps, self.first
        )  # fmt: skip

    def count_final(self, now: int) -> int:
        number = self.paid
        while number < len(self.checkpoints) and self.checkpoints[number].is_final(now):
            number += 1
        return number


def require(condition: bool, error: str) -> None:
    if not condition:
        raise Refused(error)
