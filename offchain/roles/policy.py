"""What an operator chooses: what its machine costs, the share of audits, and which terms are acceptable."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from offchain.market.actions import Reason
from offchain.market.keeping import Denial
from offchain.market.money import BPS, part_up
from offchain.market.notes import Needs
from offchain.market.view import TaskView, Terms

# Gas of what a role sends, rounded up; a test holds it to the gas that the contracts were measured with.
SEAL_GAS: Final = 100_000
REVEAL_GAS: Final = 150_000
AWARD_GAS: Final = 120_000
COMMIT_GAS: Final = 115_000  # of each checkpoint
COLLECT_GAS: Final = 140_000  # of each checkpoint, where nothing else is collected with it
TAKEOVER_GAS: Final = 115_000
POST_GAS: Final = 410_000  # with a short URI
URI_GAS: Final = 24_000  # of each 32 bytes of a longer one
DEPOSIT_GAS: Final = 105_000  # with the approval before it
MOVE_GAS: Final = 400_000  # of a move in a dispute, about the largest
CLAIM_GAS: Final = 240_000
VOUCH_GAS: Final = 150_000  # of showing a chunk of the log
SETTLE_GAS: Final = 75_000
SEAT_GAS: Final = 240_000  # of a committee on sixteen seats
ATTEST_GAS: Final = 190_000  # of each checkpoint, where no signatures are gathered for several
ATTEST_SEAT_GAS: Final = 6_700  # for each seat of the committee
REWARD_GAS: Final = 90_000  # of a keeper, once for each attempt
DENOUNCE_GAS: Final = 370_000  # among a thousand stakes
AUDIT_GAS: Final = CLAIM_GAS + VOUCH_GAS + SETTLE_GAS
DISPUTE_GAS: Final = 1_500_000  # of the challenger's moves, where nobody else pays for some

HOUR: Final = 3_600
REWARD: Final = Fraction(4, 10)  # of a convicted solver's stake, to who proves it


def keeping_gas(intervals: int, terms: Terms) -> int:
    """What a solver sends at most so that so many checkpoints can be had."""
    return SEAT_GAS + intervals * (ATTEST_GAS + terms.keepers * ATTEST_SEAT_GAS) if terms.keepers else 0


@dataclass(frozen=True, slots=True)
class Policy:
    """What a bid names follows from times and from this. It is the truth, which the auction makes the best bid.

    `hourly` is what an hour of this machine costs, in the token's smallest unit. `risk` is the share of a stake that an
    honest worker must reckon to lose: to crashes, outages and its own faults.

    `audit_share` is the probability that a checkpoint is replayed. A task whose dispute clock, challenge window or
    interval time is shorter than the minimum (seconds) is left alone: a slow network could make an honest worker lose.
    All tasks that are held or bid on may take `memory` bytes together.

    `draws` says that the account has a key that signs tickets.

    A checkpoint is on chain `lag` seconds after it was computed; a worker knows it from its own pace.

    A worker that is `draining` begins nothing new, and ends what it has begun.

    `coin_price` is what a native coin is worth in tokens: gas costs coins, work earns tokens. No task is audited in
    which a conviction would not pay the gas of its dispute.
    """

    hourly: int = 10**18
    risk: Fraction = Fraction(1, 1000)
    audit_share: float = 0.5
    min_clock: int = 60
    min_window: int = 60
    min_interval_time: int = 30
    memory: int = 1 << 62
    coin_price: Fraction = Fraction(1)
    lag: float = 0.0
    draining: bool = False
    draws: bool = False

    def refusals(self, terms: Terms) -> list[Reason]:
        """Why these terms are not acceptable: each that is below a minimum."""
        leasts = (
            ("clock", self.min_clock, "--min-clock"),
            ("challenge_window", self.min_window, "--min-window"),
            ("interval_time", self.min_interval_time, "--min-interval-time"),
        )
        return [
            Reason(
                name,
                f"{name} of {getattr(terms, name)} s is below this worker's minimum of {least} s",
                f"{flag} {getattr(terms, name)} would take it",
            )
            for name, least, flag in leasts
            if getattr(terms, name) < least
        ]

    def refusal(self, terms: Terms) -> Reason | None:
        """The first of `refusals`, or None."""
        return next(iter(self.refusals(terms)), None)

    def cost(self, task: TaskView, needs: Needs, gas_price: int) -> int:
        """What training the rest of a task costs, in tokens: the machine's time, gas, and the stake's share of risk."""
        left = task.terms.intervals - task.paid
        seconds = needs.interval_seconds * left + needs.dispute_seconds * self.risk
        gas = SEAL_GAS + REVEAL_GAS + AWARD_GAS + left * (COMMIT_GAS + COLLECT_GAS) + keeping_gas(left, task.terms)
        work = Fraction(seconds) * self.hourly / HOUR
        return ceil(work + task.terms.stake * self.risk) + self.gas_cost(gas, gas_price)

    def bid(self, task: TaskView, needs: Needs, gas_price: int, fee_bps: int) -> tuple[int, int]:
        """The price at which training the rest neither gains nor loses, the fee included; and seconds per interval."""
        price = part_up(self.cost(task, needs, gas_price), BPS, BPS - fee_bps)
        return price, max(1, min(ceil(needs.interval_seconds + self.lag), task.terms.interval_time))

    def audits(self, terms: Terms, gas_price: int = 0) -> bool:
        """Whether a conviction of this task's solver would pay for its dispute."""
        return terms.stake * REWARD >= self.gas_cost(DISPUTE_GAS, gas_price)

    def vouches(self, terms: Terms, gas_price: int) -> bool:
        """Whether a fee of this task would pay the gas of a claim."""
        return self.draws and terms.audit_fee > self.gas_cost(AUDIT_GAS, gas_price)

    def denounces(self, fine: int, denial: Denial, gas_price: int) -> bool:
        """Whether burning a fine of another's stake is worth its gas.

        Nobody gets a fine. But what is burned of all stakes raises the odds of everybody else's tickets: as much as if
        those who are left had been given it, in proportion to their stakes, and an own stake is worth what it cost.
        """
        return fine * denial.own > self.gas_cost(DENOUNCE_GAS, gas_price) * denial.total

    def gas_cost(self, gas: int, gas_price: int) -> int:
        """What gas costs in tokens, rounded up. `gas_price` in wei."""
        return ceil(gas * gas_price * self.coin_price)
