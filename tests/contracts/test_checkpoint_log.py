"""CheckpointLog: what a solver may commit, when it is final, and what holds it up."""

from __future__ import annotations

from typing import Any

import pytest
from web3 import Web3

from offchain.market.view import Status
from tests.conftest import Deploy
from tests.support.deployment import PARAMETERS
from tests.support.reverts import reverts
from tests.support.tasks import ROOT, URI
from tests.support.world import World

INTERVAL, WINDOW = PARAMETERS.interval_time, PARAMETERS.challenge_window


def commit(world: World, task: int, index: int, root: bytes = ROOT, uri: str = URI) -> Any:
    return world.log.functions.commit(task, index, root, uri)


def test_commit(market_world: World) -> None:
    world = market_world
    task = world.award()
    receipt = world.commit(task, 0)
    (event,) = world.events(world.log.events.Committed(), receipt)
    assert event == {"taskId": task, "index": 0, "root": ROOT, "uri": URI}
    assert world.log.functions.count(task).call() == 1
    beacon = int.from_bytes(world.w3.eth.get_block("latest")["mixHash"][-7:])
    times = world.clock.now, 0, world.clock.now + WINDOW
    assert world.log.functions.checkpoint(task, 0).call() == (ROOT, *times, 0, 0, beacon, 0)
    assert world.log.functions.challengeableUntil(task, 0).call() == world.clock.now + WINDOW


def test_commit_up_to_the_deadline(market_world: World) -> None:
    world = market_world
    task = world.award()
    due = world.task(task)["awardedAt"] + INTERVAL
    assert world.market.functions.deadline(task, 0).call() == due
    world.clock.mine(due)
    world.ask(commit(world, task, 0), world.solver)
    world.clock.mine(due + 1)
    with reverts(world.log, "DeadlineMissed", due, due + 1):
        world.ask(commit(world, task, 0), world.solver)


def test_deadlines_count_from_the_award(market_world: World) -> None:
    """Who is early with one checkpoint keeps the time for the next."""
    world = market_world
    task = world.award()
    awarded = world.task(task)["awardedAt"]
    world.commit(task, 0)
    world.commit(task, 1, at=awarded + 2 * INTERVAL)
    world.commit(task, 2, at=awarded + 3 * INTERVAL)


def test_commit_out_of_order_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    with reverts(world.log, "WrongIndex", 0, 1):
        world.ask(commit(world, task, 1), world.solver)
    world.commit(task, 0)
    with reverts(world.log, "WrongIndex", 1, 0):
        world.ask(commit(world, task, 0), world.solver)


def test_commit_beyond_the_last_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    for index in range(3):
        world.commit(task, index)
    with reverts(world.log, "AllCommitted", task, 3):
        world.ask(commit(world, task, 3), world.solver)


def test_commit_by_others_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    for caller in (world.rival, world.requester, world.referee):
        with reverts(world.log, "NotSolver", world.solver.lower(), caller.lower()):
            world.ask(commit(world, task, 0), caller)


def test_commit_before_the_award_reverts(market_world: World) -> None:
    world = market_world
    task = world.post()
    with reverts(world.log, "NotTraining", task, Status.BIDDING):
        world.ask(commit(world, task, 0), world.solver)


def test_commit_after_a_conviction_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    world.commit(task, 0)
    world.send(world.log.functions.hold(task, 0), world.referee)
    world.send(world.market.functions.slash(task, world.challenger, 0, 0), world.referee)
    with reverts(world.log, "NotTraining", task, Status.SLASHED):
        world.ask(commit(world, task, 1), world.solver)


def test_commit_to_an_unknown_task_reverts(market_world: World) -> None:
    with reverts(market_world.market, "UnknownTask", 0):
        market_world.ask(commit(market_world, 0, 0), market_world.solver)


@pytest.mark.parametrize(
    ("root", "uri", "error"), [(bytes(32), URI, ("ZeroRoot",)), (ROOT, "u" * 513, ("UriTooLong", 512, 513))]
)
def test_commit_of_nonsense_reverts(market_world: World, root: bytes, uri: str, error: tuple[Any, ...]) -> None:
    world = market_world
    task = world.award()
    with reverts(world.log, *error):
        world.ask(commit(world, task, 0, root, uri), world.solver)


def test_windows_of_checkpoints_that_come_at_once_are_an_interval_apart(market_world: World) -> None:
    world = market_world
    task = world.award()
    until = world.log.functions.challengeableUntil
    for index in range(3):
        world.commit(task, index)
    first = until(task, 0).call()
    assert [until(task, index).call() - first for index in range(3)] == [0, INTERVAL, 2 * INTERVAL]
    world.ask(world.log.functions.hold(task, 2), world.referee)  # it may be disputed before its window opens


def test_windows_of_checkpoints_that_come_late_open_with_them(market_world: World) -> None:
    """None opens later than the checkpoint's deadline, so that nobody waits longer than the terms say."""
    world = market_world
    task = world.award()
    awarded = world.task(task)["awardedAt"]
    times = [awarded + 1, awarded + 2 * INTERVAL, awarded + 2 * INTERVAL + 1]
    opens = []
    for index, at in enumerate(times):
        world.commit(task, index, at=at)
        opens.append(world.log.functions.challengeableUntil(task, index).call() - WINDOW)
    assert opens == [times[0], times[1], times[1] + INTERVAL]
    assert all(opened <= world.market.functions.deadline(task, k).call() for k, opened in enumerate(opens))


def test_final_once_the_window_is_closed(market_world: World) -> None:
    world = market_world
    task = world.award()
    final = world.log.functions.finality(task, 0)
    assert not final.call()[0]
    world.commit(task, 0)
    committed_at = world.clock.now
    world.clock.travel(WINDOW)
    assert final.call() == [False, 0, 0]
    world.clock.travel(1)
    assert final.call() == [True, committed_at, 0]
    assert not world.log.functions.finality(task, 1).call()[0]


def test_final_once_every_dispute_is_over(market_world: World) -> None:
    world = market_world
    task = world.award()
    world.commit(task, 0)
    final = world.log.functions.finality(task, 0)
    for _ in range(2):
        world.send(world.log.functions.hold(task, 0), world.referee)
    world.clock.travel(WINDOW + 1)
    for _ in range(2):
        assert not final.call()[0]
        world.send(world.log.functions.unhold(task, 0, 0), world.referee)
    assert final.call()[0]


def test_hold_up_to_the_end_of_the_window(market_world: World) -> None:
    world = market_world
    task = world.award()
    world.commit(task, 0)
    until = world.clock.now + WINDOW
    world.clock.mine(until)
    world.ask(world.log.functions.hold(task, 0), world.referee)
    world.clock.mine(until + 1)
    with reverts(world.log, "WindowClosed", until, until + 1):
        world.ask(world.log.functions.hold(task, 0), world.referee)


@pytest.mark.parametrize("verb", ["hold", "unhold"])
def test_hold_and_unhold_only_by_the_game(market_world: World, verb: str) -> None:
    world = market_world
    task = world.award()
    world.commit(task, 0)
    for caller in (world.solver, world.requester, world.owner):
        with reverts(world.log, "NotGame", caller.lower()):
            world.ask(world.log.functions[verb](task, 0, *(0,) * (verb == "unhold")), caller)


def test_hold_of_what_is_not_committed_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    with reverts(world.log, "UnknownCheckpoint", task, 0):
        world.ask(world.log.functions.hold(task, 0), world.referee)
    with reverts(world.log, "UnknownCheckpoint", task, 0):
        world.ask(world.log.functions.checkpoint(task, 0))


def test_unhold_without_a_hold_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    world.commit(task, 0)
    with reverts(world.log, "NotHeld", task, 0):
        world.ask(world.log.functions.unhold(task, 0, 0), world.referee)


def test_connect_only_the_deployer_and_once(w3: Web3, deploy: Deploy, snapshot: None) -> None:
    deployer, game, keepers = w3.eth.accounts[:3]
    log = deploy("CheckpointLog", game)
    with reverts(log, "NotDeployer", game.lower()):
        log.functions.connect(game, keepers).call({"from": game})
    with reverts(log, "ZeroAddress"):
        log.functions.connect("0x" + "00" * 20, keepers).call({"from": deployer})
    with reverts(log, "ZeroAddress"):
        log.functions.connect(game, "0x" + "00" * 20).call({"from": deployer})
    w3.eth.wait_for_transaction_receipt(log.functions.connect(game, keepers).transact({"from": deployer}))
    assert (log.functions.game().call(), log.functions.keepers().call()) == (game, keepers)
    with reverts(log, "AlreadyConnected"):
        log.functions.connect(deployer, keepers).call({"from": deployer})
