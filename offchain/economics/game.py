"""What is at stake for whom in one task: a deployment's rules, a task's terms, and what is assumed about people.

Amounts are in tokens (float), but for the rules' and terms' own, which are in the token's smallest unit. Section
numbers are those of DESIGN.md; docs/economics.md derives what follows from this.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import comb, expm1
from typing import Final

from offchain.economics.stakes import least_stake
from offchain.market.money import BPS, part_up

COIN: Final = 10**18
GWEI: Final = 10**9
HOUR: Final = 3_600
DAY: Final = 24 * HOUR
YEAR: Final = 365 * DAY

# Gas of each move; a test holds it to the gas that the contracts were measured with.
GAS: Final = {
    "post": 410_000,
    "cancel": 90_000,
    "seal": 100_000,
    "reveal bid": 150_000,
    "award": 120_000,
    "commit": 115_000,
    "collect": 140_000,
    "enroll": 260_000,
    "stake": 220_000,
    "claim": 240_000,
    "reveal log": 150_000,
    "settle": 75_000,
    "attest": 300_000,
    "dispute": 1_500_000,  # a challenger's moves, from opening to proof
    "open": 350_000,
    "concede": 120_000,
    "defend": 650_000,  # a solver's moves in a dispute
}
AUDIT: Final = ("claim", "reveal log", "settle")
ENTER: Final = ("seal", "reveal bid", "award")  # an auction

# What the contracts have as constants.
PROOF: Final = 0.4  # of a stake, to who proved a falsehood: Verdicts.PROOF_BPS
BURNED: Final = 0.5  # of a stake, in any case: TermLimits.BURN_BPS
UNPROVED: Final = 0.25  # of a stake, for bounties where nothing was proved: Verdicts.UNPROVED_BPS
STALLED: Final = 0.1  # of a stalled solver's stake, burned: TaskMarket.STALL_BURN_BPS
LOST: Final = 0.5  # of a lost bond, burned; the winner has the rest: Verdicts.BURN_BPS
BOND_DIVISOR: Final = 50  # TermLimits: a bond is at least that part of the stake


@dataclass(frozen=True)
class Rules:
    """What a deployment fixes: offchain.chain.deployment.Parameters. Units, seconds, 1/10,000."""

    honest_bps: int
    margin_bps: int
    bond: int
    bounty: int
    bid_bond: int
    audit_bond: int
    post_fee: int
    fee_bps: int
    standby_bps: int
    clock: int
    max_clock: int
    bidding_time: int
    interval_time: int
    key_delay: int
    gas_price: int  # wei


@dataclass(frozen=True)
class Offer:
    """A task's terms, as far as they matter here.

    Attributes:
        max_price: for all intervals, in units.
        rate_bps: fees to expect for each checkpoint, in 1/10,000.
        urgency: units an hour.
        risk_bps: what a failure costs the requester, in 1/10,000 of the price.
        keepers, keeper_bps: how many, and what they share, in 1/10,000 of the pay and beside it.
        quorum: keepers that must sign; more than half of them by default.
        stake: of the solver, in units; the least that is allowed by default.
    """

    max_price: int = 100 * COIN
    intervals: int = 50
    rate_bps: int = 2_500
    urgency: int = 41 * COIN // 100
    risk_bps: int = 500
    keepers: int = 16
    keeper_bps: int = 200
    quorum: int | None = None
    stake: int | None = None


@dataclass(frozen=True)
class People:
    """What is assumed about those who take part.

    Attributes:
        work: what the training costs, as a part of the highest price. `task quote` proposes twice an ordinary ask.
        value: of the model for its requester, as a multiple of the highest price.
        hourly: what an hour of a machine costs, in tokens; a work's time follows from it.
        risk: part of its stake that an honest solver must reckon to lose by faults of its own: Policy.risk.
        colluding: part of all verifiers' stakes that works for the cheat; what is neither honest nor colluding is lazy.
        honest: part of all stakes that is honest, where that is not what the deployment assumes.
        verifiers: honest ones, with equal stakes.
        own: the part of all stakes that the verifier has whose strategies are priced.
        hold: what fetching, checking and keeping a checkpoint costs, as a part of its interval's work.
        season: tasks over which a verifier spreads the gas of its key and stake.
        right: part of the disputes that a bystander sees which are right.
        interest: of a year, on what is locked.
        falsified: intervals of the strategy that falsifies some.
        names: under which one splits its stake.
    """

    work: float = 0.5
    value: float = 2.0
    hourly: float = 1.0
    risk: float = 0.001
    colluding: float = 0.25
    honest: float | None = None
    verifiers: int = 50
    own: float = 0.01
    hold: float = 0.001
    season: int = 100
    right: float = 0.5
    interest: float = 0.05
    falsified: int = 5
    names: int = 10


@dataclass(frozen=True)
class Game:
    """One task, and everybody's money in it.

    `amended`: with the rules that the design still lacks (docs/decisions/0023); without them some strategies pay.
    """

    rules: Rules
    offer: Offer = Offer()
    people: People = People()
    amended: bool = True

    # --- the solver ---

    @property
    def intervals(self) -> int:
        return self.offer.intervals

    @cached_property
    def price(self) -> float:
        """What is paid for the whole: the reserve, as to a lone bidder, which is the most that a cheat can get."""
        return self.offer.max_price / COIN

    @cached_property
    def stake(self) -> float:
        return self.stake_units / COIN

    @cached_property
    def stake_units(self) -> int:
        offer, rules = self.offer, self.rules
        if offer.stake is not None:
            return offer.stake
        return least_stake(
            offer.max_price, offer.intervals, 1, offer.rate_bps, rules.honest_bps, rules.margin_bps, rules.bounty
        )

    @cached_property
    def work(self) -> float:
        """Of one interval; a replay costs the same."""
        return self.people.work * self.price / self.intervals

    @cached_property
    def pay(self) -> float:
        """For an interval that became final, after the fee and the gas of collecting it."""
        return self.price / self.intervals * (1 - self.rules.fee_bps / BPS) - self.gas("collect")

    @cached_property
    def honest_solver(self) -> float:
        done = self.intervals * (self.pay - self.work - self.gas("commit"))
        return done - self.gas(*ENTER) - self.people.risk * self.stake

    def gas(self, *moves: str) -> float:
        return sum(GAS[move] for move in moves) * self.rules.gas_price / COIN

    # --- who looks ---

    @cached_property
    def rate(self) -> float:
        return self.offer.rate_bps / BPS

    @cached_property
    def honest(self) -> float:
        assumed = self.rules.honest_bps / BPS
        return assumed if self.people.honest is None else self.people.honest

    def fees(self, share: float) -> float:
        """That a part of all stakes wins for a checkpoint on average. As designed a ticket wins one at most."""
        mean = self.rate * share
        return mean if self.amended else min(1.0, mean)

    def looks(self, share: float) -> float:
        """Probability that who has a part of all stakes is drawn for a checkpoint. Amended, what it wins is Poisson."""
        return -expm1(-self.rate * share) if self.amended else self.fees(share)

    @cached_property
    def drawn(self) -> float:
        """Probability that one of the honest verifiers is drawn for a checkpoint."""
        return self.looks(self.honest / self.people.verifiers)

    @cached_property
    def found(self) -> float:
        """Probability that a falsified interval is found: at least one of the honest is drawn."""
        return 1 - (1 - self.drawn) ** self.people.verifiers

    @cached_property
    def fee(self) -> float:
        """Twice what an audit costs an ordinary verifier, as `task post` offers it."""
        return 2 * (self.work + self.gas(*AUDIT))

    @cached_property
    def audit_bond(self) -> float:
        return self.rules.audit_bond / COIN

    # --- disputes ---

    @cached_property
    def clock(self) -> int:
        """Seconds: a few replays, as `task post` reckons it, within the deployment's limits."""
        return min(max(self.rules.clock, round(8 * self.interval_seconds)), self.rules.max_clock)

    @cached_property
    def interval_seconds(self) -> float:
        return self.work / self.people.hourly * HOUR

    @cached_property
    def bond(self) -> float:
        """The least that terms may name: TermLimits.requiredBond and excuseBond. Amended, an interval's price as well.

        Half of it then pays the solver for a replay.
        """
        excused = 2 * (self.offer.urgency // HOUR) * self.clock
        replay = part_up(self.offer.max_price, 1, self.intervals) if self.amended else 0
        return max(part_up(self.stake_units, 1, BOND_DIVISOR), self.rules.bond, excused, replay) / COIN

    @cached_property
    def bounty(self) -> float:
        return self.rules.bounty / COIN

    @cached_property
    def friends_share(self) -> float:
        """Most of its stake that a convicted cheat gets back through friends, the finder's bounty left out."""
        return (1 - BURNED) * self.stake - self.bounty

    # --- keepers ---

    @cached_property
    def quorum(self) -> int:
        return self.offer.quorum or self.offer.keepers // 2 + 1

    @cached_property
    def keeper_pay(self) -> float:
        """Of one keeper."""
        return self.price * self.offer.keeper_bps / BPS / self.offer.keepers

    @cached_property
    def holding(self) -> float:
        """What keeping a whole task's checkpoints costs a keeper."""
        return self.people.hold * self.work * self.intervals

    def committee(self, colluding: int) -> float:
        """Probability that a committee has exactly so many colluding keepers."""
        c, size = self.people.colluding, self.offer.keepers
        return float(comb(size, colluding) * c**colluding * (1 - c) ** (size - colluding))

    @cached_property
    def captured(self) -> float:
        """Probability that the colluding alone are a quorum of a committee."""
        return sum(self.committee(number) for number in range(self.quorum, self.offer.keepers + 1))

    @cached_property
    def passes(self) -> float:
        """Probability that what nobody can fetch counts as available.

        As designed the second committee is drawn only if the first has no quorum. Amended, one objection is enough, so
        that the first must be colluding to the last.
        """
        all_of_them = self.committee(self.offer.keepers) if self.amended else self.captured
        return all_of_them + (1 - all_of_them) * self.captured

    @cached_property
    def keeper_bond(self) -> float:
        """Lost by who signed what the second committee denies; the design has none."""
        return self.audit_bond if self.amended else 0.0
