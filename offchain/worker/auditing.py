"""What a requester offers for audits: how many it lets expect, and how much each is paid."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Final

from offchain.chain.client import Chain
from offchain.economics.audits import RATES_BPS, StakeRule, audit_bill
from offchain.market.view import Terms
from offchain.roles.policy import AUDIT_GAS, HOUR, Policy

ROOM: Final = 2  # times what an audit costs a machine like this one: a slower one may be drawn


@dataclass(frozen=True, slots=True)
class Audits:
    """A requester's offer to verifiers.

    Attributes:
        rate_bps: fees to expect per checkpoint, in 1/10,000.
        fee: in the token's smallest unit.
    """

    rate_bps: int
    fee: int


@dataclass(frozen=True, slots=True)
class Row:
    """What a rate of audits asks of everybody: the solver's least stake, and what the requester locks for audits."""

    rate_bps: int
    stake: int
    bill: int


def stake_rule(chain: Chain) -> StakeRule:
    """What the deployment assumes about verifiers."""
    limits = chain.call("limits", "values")
    return StakeRule(limits["honestBps"], limits["marginBps"], limits["bounty"])


def audits_for(terms: Terms, rule: StakeRule, seconds: float | None, gas_price: int, operator: Policy) -> Audits:
    """What to offer for audits of a task, where its requester says nothing.

    The rate is the lowest usual one with which a stake no larger than the highest price deters, else one audit per
    checkpoint. The fee is twice what an audit costs a machine like this one: the replay, and gas.

    Args:
        seconds: of an interval here; None where that is not known. Then an interval costs half of what it may be paid.
        gas_price: in wei.
    """
    rate = rule.rate(terms.max_price, terms.steps, terms.interval)
    if seconds is None:
        work = Fraction(terms.max_price, 2 * terms.intervals)
    else:
        work = Fraction(seconds) * operator.hourly / HOUR
    return Audits(rate, ROOM * (ceil(work) + operator.gas_cost(AUDIT_GAS, gas_price)))


def table(terms: Terms, rule: StakeRule) -> list[Row]:
    """Stake and bill for each usual rate, at the fee of these terms."""
    price, steps, interval = terms.max_price, terms.steps, terms.interval
    return [
        Row(rate, rule.required(price, steps, interval, rate), audit_bill(terms.intervals, terms.audit_fee, rate))
        for rate in RATES_BPS
    ]
