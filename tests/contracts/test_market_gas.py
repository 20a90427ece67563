"""Gas of every verb of vault, registry, market and checkpoint log, held to a committed snapshot."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from offchain.chain.seals import seal_of
from offchain.market.notes import OwnBid
from offchain.roles import policy
from tests.contracts.conftest import SNAPSHOT, GasSnapshot
from tests.support.deployment import PARAMETERS
from tests.support.tasks import ROOT
from tests.support.world import World

LOST = PARAMETERS.challenge_window + 1
SALT = b"s" * 32
CEILINGS = {  # whatever else changes: a market that costs more is not cheap for the system
    "Auction.commit": 100_000,
    "Auction.reveal": 170_000,
    "TaskMarket.post": 420_000,
    "TaskMarket.award": 120_000,
    "TaskMarket.takeOver": 170_000,
    "TaskMarket.collect": 140_000,
}
MARKED = {"urgency": 1, "risk_bps": 500, "attempts": 3, "audit_fee": 7}  # every rule of the score counts


Spend = Callable[..., None]


@pytest.fixture
def spend(fee_world: World, gas_snapshot: GasSnapshot) -> Spend:
    def check(verb: str, call: Any, sender: str, at: int | None = None) -> None:
        gas_snapshot.check(verb, fee_world.send(call, sender, at)["gasUsed"])

    return check


def test_gas_of_accounts(fee_world: World, spend: Spend) -> None:
    world = fee_world
    vault, registry = world.vault.functions, world.registry.functions
    spend("StakeVault.deposit", vault.deposit(1), world.solver)
    spend("StakeVault.requestWithdrawal", vault.requestWithdrawal(1), world.solver)
    spend("StakeVault.withdraw", vault.withdraw(), world.solver, world.clock.now + PARAMETERS.withdrawal_delay)
    spend("WorkerRegistry.register", registry.register(1, "https://worker.example"), world.stranger)
    spend("WorkerRegistry.update", registry.update(3, "https://worker.example"), world.stranger)
    spend("WorkerRegistry.deregister", registry.deregister(), world.stranger)


def test_gas_of_a_task(fee_world: World, spend: Spend) -> None:
    """Three bid, three intervals are paid one by one."""
    world = fee_world
    auction, market, log = world.auction.functions, world.market.functions, world.log.functions
    world.send(world.registry.functions.register(1, ""), world.stranger)
    spend("TaskMarket.post", market.post(world.terms(**MARKED)), world.requester)
    bids = {"rival": OwnBid(0, 850, 10, SALT), "solver": OwnBid(0, 800, 10, SALT)}
    for name, bid in {"stranger": OwnBid(0, 899, 10, SALT), **bids}.items():
        seal = seal_of(world.deployment.chain_id, world.auction.address, 0, world.address(name), bid)
        spend("Auction.commit", auction.commit(0, seal), world.address(name))
    shown = {"Auction.reveal first": "rival", "Auction.reveal that leads": "solver"}
    for at, (verb, name) in zip((world.task(0)["biddingEnds"], None), shown.items(), strict=True):
        spend(verb, auction.reveal(0, bids[name].price, 10, SALT), world.address(name), at)
    last = auction.reveal(0, 899, 10, SALT)
    spend("Auction.reveal that is beaten", last, world.stranger)
    spend("TaskMarket.award", market.award(0), world.stranger, ends(world, 0))
    for index in range(3):
        verb = "CheckpointLog.commit" if index else "CheckpointLog.commit first"
        spend(verb, log.commit(0, index, ROOT, "memory://state"), world.solver)
    spend("CheckpointLog.hold", log.hold(0, 0), world.referee)
    spend("CheckpointLog.unhold", log.unhold(0, 0, 0), world.referee)
    until = world.log.functions.challengeableUntil(0, 0).call()
    spend("TaskMarket.collect first", market.collect(0), world.stranger, until + 1)
    spend("TaskMarket.collect", market.collect(0), world.stranger, until + PARAMETERS.interval_time + 1)
    spend("TaskMarket.collect last", market.collect(0), world.stranger, until + 2 * PARAMETERS.interval_time + 1)


def test_gas_of_failures(fee_world: World, spend: Spend) -> None:
    """A solver is convicted, the standby takes over and stalls, the task is reopened and cancelled."""
    world = fee_world
    auction, market, log = world.auction.functions, world.market.functions, world.log.functions
    convicted = world.award(price=800, attempts=3)
    world.commit(convicted, 0)
    world.send(log.hold(convicted, 0), world.referee)
    spend("TaskMarket.slash", market.slash(convicted, world.challenger, 2_000, 0), world.referee)
    spend("TaskMarket.takeOver", market.takeOver(convicted), world.rival)
    spend("TaskMarket.stall", market.stall(convicted), world.stranger, world.clock.now + LOST)
    spend("TaskMarket.reopen", market.reopen(convicted), world.stranger)
    spend("TaskMarket.cancel", market.cancel(convicted), world.requester)
    unsold = world.post()
    world.quick("solver").bid(unsold, OwnBid(0, 800, 10, SALT))
    spend("TaskMarket.award without bids", market.award(unsold), world.stranger, ends(world, unsold))
    spend("Auction.settle", auction.settle(unsold, 0, world.solver), world.stranger)


def ends(world: World, task: int) -> int:
    """When revealing is over."""
    return int(world.task(task)["biddingEnds"]) + PARAMETERS.bidding_time


def test_no_verb_of_the_market_has_become_dear() -> None:
    measured = json.loads(SNAPSHOT.read_text())
    for verb, ceiling in CEILINGS.items():
        shapes = {name: gas for name, gas in measured.items() if name.startswith(verb)}
        assert shapes, verb
        assert max(shapes.values()) <= ceiling, shapes


def test_workers_reckon_with_the_gas_that_was_measured() -> None:
    """A bid covers the gas of a task's life, and an audit is worth the gas of a dispute: neither may be out of date."""
    market = json.loads(SNAPSHOT.read_text())
    assert is_just_above(policy.SEAL_GAS, market["Auction.commit"])
    assert is_just_above(policy.REVEAL_GAS, market["Auction.reveal that leads"])
    assert is_just_above(policy.AWARD_GAS, market["TaskMarket.award"])
    assert is_just_above(policy.COMMIT_GAS, market["CheckpointLog.commit first"])
    assert is_just_above(policy.COLLECT_GAS, market["TaskMarket.collect first"])
    assert is_just_above(policy.POST_GAS, market["TaskMarket.post"])
    assert is_just_above(policy.TAKEOVER_GAS, market["TaskMarket.takeOver"])
    assert is_just_above(policy.CLAIM_GAS, market["Auditor.claim"])
    assert is_just_above(policy.VOUCH_GAS, market["Auditor.reveal with keepers"])
    assert is_just_above(policy.SETTLE_GAS, market["Auditor.settle"])
    assert is_just_above(policy.SEAT_GAS, market["Keepers.seat of 3"])
    for seats in (4, 16):
        reckoned = policy.ATTEST_GAS + seats * policy.ATTEST_SEAT_GAS
        assert is_just_above(reckoned, market[f"Keepers.attest of {seats}"])
    assert is_just_above(policy.REWARD_GAS, market["Keepers.reward"])
    levels = 8  # of a tree with a thousand stakes, above those of the four with which that was measured
    assert is_just_above(policy.DENOUNCE_GAS, market["Keepers.denounce"] + levels * 22_100)
    disputes = json.loads((SNAPSHOT.parents[1] / "protocol" / SNAPSHOT.name).read_text())
    assert max(book["gas"] for book in disputes.values()) / 2 <= policy.DISPUTE_GAS


def is_just_above(reckoned: int, measured: int) -> bool:
    return measured <= reckoned <= 1.2 * measured
