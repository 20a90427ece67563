"""Gas of every verb of vault, registry, market and checkpoint log, held to a committed snapshot."""

from __future__ import annotations

import json
from typing import Any

from offchain.roles import policy
from tests.contracts.conftest import SNAPSHOT, GasSnapshot
from tests.support.deployment import PARAMETERS
from tests.support.tasks import ROOT
from tests.support.world import World

LOST = PARAMETERS.challenge_window + 1
SPREAD = 2 * PARAMETERS.interval_time  # between the first window of three and the last


def test_gas_of_every_verb(market_world: World, gas_snapshot: GasSnapshot) -> None:
    """One task of three intervals is completed, one is convicted, one stalls."""
    world = market_world
    vault, registry, market, log = (part.functions for part in (world.vault, world.registry, world.market, world.log))

    def spend(verb: str, call: Any, sender: str, at: int | None = None) -> None:
        gas_snapshot.check(verb, world.send(call, sender, at)["gasUsed"])

    spend("StakeVault.deposit", vault.deposit(1), world.solver)
    spend("StakeVault.requestWithdrawal", vault.requestWithdrawal(1), world.solver)
    spend("StakeVault.withdraw", vault.withdraw(), world.solver, world.clock.now + PARAMETERS.withdrawal_delay)
    spend("WorkerRegistry.register", registry.register(1, "https://worker.example"), world.stranger)
    spend("WorkerRegistry.update", registry.update(3, "https://worker.example"), world.stranger)
    spend("WorkerRegistry.deregister", registry.deregister(), world.stranger)

    spend("TaskMarket.post", market.post(world.terms()), world.requester)
    spend("TaskMarket.bid first", market.bid(0, 900), world.rival)
    spend("TaskMarket.bid lower", market.bid(0, 800), world.solver)
    spend("TaskMarket.award", market.award(0), world.stranger, world.task(0)["biddingEnds"])
    for index in range(3):
        verb = "CheckpointLog.commit" if index else "CheckpointLog.commit first"
        spend(verb, log.commit(0, index, ROOT, "memory://state"), world.solver)
    spend("CheckpointLog.hold", log.hold(0, 0), world.referee)
    spend("CheckpointLog.unhold", log.unhold(0, 0), world.referee)
    spend("TaskMarket.collect all three", market.collect(0), world.stranger, world.clock.now + SPREAD + LOST)

    convicted = world.award()
    world.commit(convicted, 0)
    world.send(log.hold(convicted, 0), world.referee)
    spend("TaskMarket.slash", market.slash(convicted, world.challenger, 2_000, 0), world.referee)
    stalled = world.award()
    spend("TaskMarket.stall", market.stall(stalled), world.stranger, world.clock.now + LOST)
    world.post()
    spend("TaskMarket.award without bids", market.award(3), world.stranger, world.task(3)["biddingEnds"])


def test_workers_reckon_with_the_gas_that_was_measured() -> None:
    """A bid covers the gas of a task's life, and an audit is worth the gas of a dispute: neither may be out of date."""
    market = json.loads(SNAPSHOT.read_text())
    assert is_just_above(policy.BID_GAS, market["TaskMarket.bid first"])
    assert is_just_above(policy.AWARD_GAS, market["TaskMarket.award"])
    assert is_just_above(policy.COMMIT_GAS, market["CheckpointLog.commit first"])
    assert is_just_above(policy.COLLECT_GAS, market["TaskMarket.collect all three"])
    disputes = json.loads((SNAPSHOT.parents[1] / "protocol" / SNAPSHOT.name).read_text())
    assert max(book["gas"] for book in disputes.values()) / 2 <= policy.DISPUTE_GAS


def is_just_above(reckoned: int, measured: int) -> bool:
    return measured <= reckoned <= 1.2 * measured
