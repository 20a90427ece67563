"""TaskMarket: what may be posted, and how the market is wired."""

from __future__ import annotations

from dataclasses import asdict, astuple, replace
from fractions import Fraction
from typing import Any

import pytest
from web3 import Web3

from offchain.chain.deployment import COIN
from offchain.market.view import Status
from tests.conftest import Deploy
from tests.support.deployment import FREE, PARAMETERS
from tests.support.reverts import reverts
from tests.support.world import World

STAKE = 4_320  # 4.8 · 900: four tenths of the steps in an interval, and 0.4 honest audits of each
FEE = PARAMETERS.post_fee
ELSEWHERE = ("withdrawal_delay", "key_delay", "bid_bond", "audit_bond")  # parameters that are no limits of the market
NONE = (0,) * (len(astuple(PARAMETERS)) - len(ELSEWHERE) - 2)  # limits but for what the stake rule assumes


# --- posting ---------------------------------------------------------------------------------------------------------


def test_post(market_world: World) -> None:
    world = market_world
    task = world.post()
    assert task == 0
    assert world.task(task)["status"] == Status.BIDDING
    assert world.task(task)["biddingEnds"] == world.clock.now + PARAMETERS.bidding_time
    assert world.market.functions.terms(task).call() == world.terms()
    assert world.market.functions.intervals(task).call() == 3
    assert world.pots(task) == (900, 0)
    assert world.free("requester") == FREE - 900 - FEE
    assert world.burned() == FEE


def test_post_without_money_reverts(market_world: World) -> None:
    world = market_world
    with reverts(world.vault, "InsufficientFree", world.requester.lower(), FREE + 1 + FEE, FREE):
        world.ask(world.market.functions.post(world.terms(max_price=FREE + 1)), world.requester)
    with reverts(world.vault, "InsufficientFree", world.requester.lower(), FREE + FEE, FREE):
        world.ask(world.market.functions.post(world.terms(max_price=FREE)), world.requester)


@pytest.mark.parametrize(
    ("field", "value", "error"),
    [
        ("graph_root", bytes(32), ("TermMissing", "graphRoot")),
        ("state_root", bytes(32), ("TermMissing", "stateRoot")),
        ("steps", 0, ("TermTooSmall", "steps", 1, 0)),
        ("steps", 2**31, ("TermTooLarge", "steps", 2**31 - 1, 2**31)),
        ("interval", 0, ("TermTooSmall", "interval", 1, 0)),
        ("interval", 26, ("TermTooLarge", "interval", 25, 26)),
        ("uri", "u" * 513, ("TermTooLarge", "uri", 512, 513)),
        ("bidding_time", 49, ("TermTooSmall", "biddingTime", 50, 49)),
        ("interval_time", 9, ("TermTooSmall", "intervalTime", 10, 9)),
        ("challenge_window", 99, ("TermTooSmall", "challengeWindow", 100, 99)),
        ("clock", 19, ("TermTooSmall", "clock", 20, 19)),
        ("bond", PARAMETERS.bond - 1, ("TermTooSmall", "bond", PARAMETERS.bond, PARAMETERS.bond - 1)),
        ("stake", STAKE - 1, ("TermTooSmall", "stake", STAKE, STAKE - 1)),
        ("bidding_time", 10**6 + 1, ("TermTooLarge", "biddingTime", 10**6, 10**6 + 1)),
        ("interval_time", 10**6 + 1, ("TermTooLarge", "intervalTime", 10**6, 10**6 + 1)),
        ("challenge_window", 2**32 - 1, ("TermTooLarge", "challengeWindow", 10**6, 2**32 - 1)),
        ("clock", 2**32 - 1, ("TermTooLarge", "clock", 10**6, 2**32 - 1)),
        ("steps", 2**31 - 1, ("TermTooLarge", "duration", 10**8, 214_748_365 * 10)),
        ("stake", 10 * STAKE + 1, ("TermTooLarge", "stake", 10 * STAKE, 10 * STAKE + 1)),
        ("reveal_time", 49, ("TermTooSmall", "revealTime", 50, 49)),
        ("handover_time", 10**6 + 1, ("TermTooLarge", "handoverTime", 10**6, 10**6 + 1)),
        ("risk_bps", 10_001, ("TermTooLarge", "riskBps", 10_000, 10_001)),
        ("attempts", 0, ("TermTooSmall", "attempts", 1, 0)),
        ("attempts", 17, ("TermTooLarge", "attempts", 16, 17)),
        ("bond", 2**127, ("TermTooLarge", "bond", PARAMETERS.bond, 2**127)),
        ("audit_rate_bps", 0, ("TermTooSmall", "auditRateBps", 1, 0)),
        ("audit_rate_bps", 7_999, ("TermTooSmall", "stake", STAKE + 1, STAKE)),
        ("audit_fee", 2**96, ("TermTooLarge", "auditFee", 2**96 - 1, 2**96)),
        ("keepers", 17, ("TermTooLarge", "keepers", 16, 17)),
        ("keeper_bps", 1, ("TermTooLarge", "keeperBps", 0, 1)),  # without keepers nobody would earn it
    ],
)
def test_post_with_wrong_terms_reverts(market_world: World, field: str, value: Any, error: tuple[Any, ...]) -> None:
    world = market_world
    with reverts(world.limits, *error):
        world.ask(world.market.functions.post(world.terms(**({"stake": STAKE} | {field: value}))), world.requester)


def test_a_bond_is_worth_the_time_that_a_dispute_excuses(market_world: World) -> None:
    """A stake of 40 allows a bond of 10, which is what 100 s cost twice at a twentieth each."""
    world, stake = market_world, 40 * COIN
    long = {"max_price": COIN * 8, "stake": stake, "clock": 100}
    fitting = world.terms(urgency=COIN // 20, bond=10 * COIN, **long)
    world.ask(world.market.functions.post(fitting), world.requester)
    with reverts(world.limits, "TermTooSmall", "bond", 10 * COIN + 200, 10 * COIN):
        world.ask(
            world.market.functions.post(world.terms(urgency=COIN // 20 + 1, bond=10 * COIN, **long)), world.requester
        )


def test_the_time_of_a_task_has_a_price_that_can_be_reckoned_with(market_world: World) -> None:
    world, most = market_world, (2**120 - 1) // 10**8
    long = {"steps": 100, "interval": 1, "interval_time": 10**6}
    with reverts(world.limits, "TermTooLarge", "urgency", most, most + 1):
        world.ask(world.market.functions.post(world.terms(urgency=most + 1, **long)), world.requester)
    with reverts(world.limits, "TermTooSmall", "bond"):  # the next check
        world.ask(world.market.functions.post(world.terms(urgency=most, **long)), world.requester)


@pytest.mark.parametrize("price", [0, 1, 2, 900, 10**18 + 1, 2**128 - 1])
@pytest.mark.parametrize("honest", [1, 3_333, 10_000])
def test_stake_rule(deploy: Deploy, snapshot: None, price: int, honest: int) -> None:
    """Burned part · x ≥ margin · gain of an interval, and one unit less would not do."""
    rules = deploy("TermLimits", (honest, 12_000, *NONE))
    for steps, interval, rate in ((1, 1, 1), (25, 10, 2_500), (2**31 - 1, 7, 2**16 - 1)):
        stake = rules.functions.requiredStake(price, steps, interval, rate).call()
        gain, x, burned = Fraction(2 * price * interval, steps), Fraction(honest * rate, 10**8), Fraction(1, 2)

        def deters(candidate: int, gain: Fraction = gain, caught: Fraction = x * burned) -> bool:
            return candidate * caught >= Fraction(12, 10) * gain

        assert deters(stake)
        assert stake == 0 or not deters(stake - 1)
        assert rules.functions.allowedStake(price, steps, interval, rate).call() == 10 * stake


def test_the_stake_of_the_design(market_world: World) -> None:
    """50 intervals and a quarter of an audit for each: 0.77 of the highest price."""
    stake = market_world.limits.functions.requiredStake(COIN, 500, 10, 2_500).call()
    assert stake == COIN * 768 // 1_000


@pytest.mark.parametrize(
    ("stake", "price", "least", "most"),
    [
        (0, 0, 100, 100),  # the deployment's least bond is always allowed
        (5_001, 0, 101, 1_250),  # a fiftieth rounded up, a quarter rounded down
        (2**128 - 1, 0, -(-(2**128 - 1) // 50), (2**128 - 1) // 4),
        (5_001, 1_000, 401, 1_250),  # 10 of 25 steps, rounded up
        (5_001, 3_200, 1_281, 1_281),  # an interval's price is always allowed
    ],
)
def test_bond_rule(deploy: Deploy, snapshot: None, stake: int, price: int, least: int, most: int) -> None:
    limits = (5_000, 12_000, 0, 0, 0, 0, 0, 0, 100, 50, *(0,) * 6)
    rules = deploy("TermLimits", limits)
    about = stake, price + (price != 0), 25, 10
    assert rules.functions.requiredBond(*about).call() == least
    assert rules.functions.allowedBond(*about).call() == most
    assert rules.functions.requiredStake(0, 1, 1, 1).call() == 500  # ten bounties
    assert rules.functions.allowedStake(0, 1, 1, 1).call() == 5_000


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"max_bidding_time": 49}, ("biddingTime", 50, 49)),
        ({"max_interval_time": 9}, ("intervalTime", 10, 9)),
        ({"max_challenge_window": 99}, ("challengeWindow", 100, 99)),
        ({"max_clock": 19}, ("clock", 20, 19)),
        ({"max_duration": 10**6 - 1}, ("duration", 10**6, 10**6 - 1)),
        ({"bounty": 10, "bond": 19}, ("bond", 20, 19)),
        ({"fee_bps": 10_001}, ("feeBps", 10_001, 10_000)),
        ({"standby_bps": 10_001}, ("standbyBps", 10_001, 10_000)),
        ({"honest_bps": 0}, ("honestBps", 1, 0)),
        ({"honest_bps": 10_001}, ("honestBps", 10_001, 10_000)),
        ({"margin_bps": 9_999}, ("marginBps", 10_000, 9_999)),
    ],
)
def test_limits_that_contradict_each_other_are_refused(
    w3: Web3, artifacts: dict[str, Any], changes: dict[str, int], error: tuple[Any, ...]
) -> None:
    artifact = artifacts["TermLimits"]
    factory = w3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
    limits = [value for name, value in asdict(replace(PARAMETERS, **changes)).items() if name not in ELSEWHERE]
    constructor = factory.constructor(limits)
    with reverts(factory, "InvalidLimit", *error):
        w3.eth.call({"data": constructor.data_in_transaction})


# --- wiring and views ------------------------------------------------------------------------------------------------


def test_connect_only_the_deployer_and_once(market_world: World) -> None:
    world, deployer = market_world, market_world.owner
    others = (world.contract(part).address for part in ("auditor", "keepers"))
    parts = (world.auction.address, world.log.address, world.referee, *others)
    connect = world.market.functions.connect(*parts)
    with reverts(world.market, "NotDeployer", world.referee.lower()):
        world.ask(connect, world.referee)
    with reverts(world.market, "AlreadyConnected"):
        world.ask(connect, deployer)


def test_limits(market_world: World) -> None:
    expected = [value for name, value in asdict(PARAMETERS).items() if name not in ELSEWHERE]
    assert list(market_world.limits.functions.values().call()) == expected


def test_deadline_of_the_longest_task(market_world: World) -> None:
    """Neither the deadline nor the number of intervals overflows."""
    world = market_world
    task = world.award(steps=10**7, interval=1, interval_time=10)
    assert world.market.functions.intervals(task).call() == 10**7
    due = world.market.functions.deadline(task, 10**7 - 1).call()
    assert due == world.task(task)["awardedAt"] + PARAMETERS.max_duration


def test_intervals_of_an_unknown_task_reverts(market_world: World) -> None:
    with reverts(market_world.market, "UnknownTask", 0):
        market_world.ask(market_world.market.functions.intervals(0))
