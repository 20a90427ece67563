"""TaskMarket: who is paid after the award, when, and what is refused."""

from __future__ import annotations

import pytest

from offchain.market.view import Status
from tests.support.deployment import FREE, PARAMETERS
from tests.support.reverts import reverts
from tests.support.world import World

STAKE = 4_320  # 4.8 · 900, the stake rule at q = 1/2
FEE = PARAMETERS.post_fee
INTERVAL, WINDOW = PARAMETERS.interval_time, PARAMETERS.challenge_window


# --- pay -------------------------------------------------------------------------------------------------------------


def test_collect_pays_in_order_and_in_proportion_to_steps(market_world: World) -> None:
    world = market_world
    task = world.award(price=800)
    for index in range(3):
        world.commit(task, index)
    world.clock.travel(INTERVAL + WINDOW)  # the first two windows are over, the last one not
    receipt = world.send(world.market.functions.collect(task), world.stranger, at=world.clock.now)
    paid = world.events(world.market.events.Paid(), receipt)
    assert [(event["index"], event["amount"]) for event in paid] == [(0, 320), (1, 320)]
    assert world.task(task)["paid"] == 2
    assert world.free("solver") == FREE - STAKE + 640

    world.clock.travel(INTERVAL)
    world.send(world.market.functions.collect(task), world.stranger)
    assert world.task(task)["status"] == Status.COMPLETED
    assert (world.free("solver"), world.pots(task)) == (FREE + 800, (0, 0))


def test_collect_within_the_window_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    with reverts(world.market, "NothingFinal", task, 0):
        world.ask(world.market.functions.collect(task))
    world.commit(task, 0)
    world.clock.travel(WINDOW)
    with reverts(world.market, "NothingFinal", task, 0):
        world.ask(world.market.functions.collect(task))
    world.clock.travel(1)
    world.ask(world.market.functions.collect(task))


def test_collect_stops_at_a_dispute(market_world: World) -> None:
    """Neither the disputed checkpoint is paid, nor a later one that is final by itself."""
    world = market_world
    task = world.award()
    for index in range(3):
        world.commit(task, index)
    world.send(world.log.functions.hold(task, 1), world.referee)
    world.clock.travel(2 * WINDOW)
    world.send(world.market.functions.collect(task), world.stranger)
    assert world.task(task)["paid"] == 1
    with reverts(world.market, "NothingFinal", task, 1):
        world.ask(world.market.functions.collect(task))
    world.send(world.log.functions.unhold(task, 1, 0), world.referee)
    world.send(world.market.functions.collect(task), world.stranger)
    assert world.task(task)["status"] == Status.COMPLETED


def test_collect_pays_a_bounded_number(market_world: World) -> None:
    """A long backlog can neither outgrow a block nor be lost."""
    world = market_world
    task = world.award(price=900, steps=66, interval=1)
    for index in range(66):
        world.commit(task, index, at=world.clock.now)
    world.close_windows(task)
    world.send(world.market.functions.collect(task), world.stranger)
    assert world.task(task)["paid"] == 64
    world.send(world.market.functions.collect(task), world.stranger)
    assert (world.task(task)["status"], world.free("solver")) == (Status.COMPLETED, FREE + 900)


# --- stall -----------------------------------------------------------------------------------------------------------


def test_stall_pays_what_is_final_and_burns_a_tenth(market_world: World) -> None:
    world = market_world
    task = world.award(price=800)
    world.commit(task, 0)
    world.clock.travel(WINDOW + 1)
    world.send(world.market.functions.stall(task), world.stranger)
    assert world.task(task)["status"] == Status.STALLED
    assert world.free("solver") == FREE + 320 - 432
    assert world.free("requester") == FREE - FEE - 320
    assert (world.burned(), world.pots(task)) == (FEE + 432, (0, 0))


def test_stall_before_the_deadline_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    deadline = world.task(task)["awardedAt"] + INTERVAL
    world.clock.mine(deadline)
    with reverts(world.market, "NotStalled", deadline, deadline):
        world.ask(world.market.functions.stall(task))
    world.clock.mine(deadline + 1)
    world.ask(world.market.functions.stall(task))


def test_stall_with_a_checkpoint_pending_reverts(market_world: World) -> None:
    """The stake answers for every commitment until nobody can dispute it any more."""
    world = market_world
    task = world.award()
    world.commit(task, 0)
    world.send(world.log.functions.hold(task, 0), world.referee)
    world.clock.travel(WINDOW)
    with reverts(world.market, "CheckpointPending", task, 0):
        world.ask(world.market.functions.stall(task))
    world.clock.travel(WINDOW)  # closed now, but the dispute goes on
    with reverts(world.market, "CheckpointPending", task, 0):
        world.ask(world.market.functions.stall(task))


def test_stall_of_delivered_work_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    for index in range(3):
        world.commit(task, index)
    world.clock.travel(10 * WINDOW)
    with reverts(world.market, "NothingDue", task):
        world.ask(world.market.functions.stall(task))


SHARES = (1760, 400)  # of a stake of 4320: for the challenger, and kept for others


# --- conviction ------------------------------------------------------------------------------------------------------


def test_slash_pays_before_the_false_checkpoint_and_burns_half(market_world: World) -> None:
    world = market_world
    task = world.award(price=800)
    for index in range(3):
        world.commit(task, index)
    world.send(world.log.functions.hold(task, 1), world.referee)
    world.clock.travel(2 * WINDOW)
    receipt = world.send(world.market.functions.slash(task, world.challenger, *SHARES), world.referee)
    (event,) = world.events(world.market.events.Slashed(), receipt)
    assert [event[name] for name in ("slashed", "rewards")] == [4320, 2160]
    (ended,) = world.events(world.market.events.Ended(), receipt)
    assert (ended["how"], ended["refunded"]) == (Status.SLASHED, 900 - 320)
    assert world.task(task)["status"] == Status.SLASHED
    assert world.free("solver") == FREE - STAKE + 320
    assert world.kept(task) == 400
    assert world.free("challenger") == FREE + 1760
    assert world.free("requester") == FREE - FEE - 320
    assert (world.burned(), world.pots(task)) == (FEE + 2160, (0, 0))


def test_burn_is_rounded_up(market_world: World) -> None:
    world = market_world
    task = world.award(stake=STAKE + 1)
    world.commit(task, 0)
    world.send(world.log.functions.hold(task, 0), world.referee)
    world.send(world.market.functions.slash(task, world.challenger, *SHARES), world.referee)
    assert (world.burned(), world.kept(task)) == (FEE + 2161, 400)


def test_a_solver_is_slashed_once(market_world: World) -> None:
    world = market_world
    task = world.award()
    world.commit(task, 0)
    world.send(world.log.functions.hold(task, 0), world.referee)
    slash = world.market.functions.slash(task, world.challenger, *SHARES)
    world.send(slash, world.referee)
    with reverts(world.market, "WrongStatus", task, Status.TRAINING, Status.SLASHED):
        world.ask(slash, world.referee)


def test_half_of_a_stake_burns_in_any_case(market_world: World) -> None:
    world = market_world
    task = world.award()
    with reverts(world.market, "RewardTooLarge", 2160, 2161):
        world.ask(world.market.functions.slash(task, world.challenger, 1761, 400), world.referee)


def test_slash_of_the_last_checkpoint_despite_a_long_backlog(market_world: World) -> None:
    """Intervals that are final and not collected can't make a conviction too dear for a block."""
    world = market_world
    times = {"challenge_window": 100, "interval_time": 100}
    task = world.award(steps=100, interval=1, price=900, audit_rate_bps=200, **times)  # few audits: the usual stake
    for index in range(99):
        world.commit(task, index, at=world.clock.now)
    world.close_windows(task)
    world.commit(task, 99)
    world.send(world.log.functions.hold(task, 99), world.referee)
    receipt = world.send(world.market.functions.slash(task, world.challenger, *SHARES), world.referee)
    assert receipt["gasUsed"] < 1_000_000
    assert world.free("solver") == FREE - STAKE + 64 * 9
    assert world.free("requester") == FREE - FEE - 64 * 9


def test_slash_by_others_reverts(market_world: World) -> None:
    world = market_world
    task = world.award()
    for caller in (world.challenger, world.requester, world.owner):
        with reverts(world.market, "NotGame", caller.lower()):
            world.ask(world.market.functions.slash(task, world.challenger, *SHARES), caller)


def test_slash_before_the_award_reverts(market_world: World) -> None:
    world = market_world
    task = world.post()
    with reverts(world.market, "WrongStatus", task, Status.TRAINING, Status.BIDDING):
        world.ask(world.market.functions.slash(task, world.challenger, *SHARES), world.referee)


@pytest.mark.parametrize("verb", ["collect", "stall", "award"])
def test_nothing_moves_after_the_end(market_world: World, verb: str) -> None:
    world = market_world
    task = world.award()
    world.clock.travel(INTERVAL)
    world.send(world.market.functions.stall(task), world.stranger)
    expected = Status.BIDDING if verb == "award" else Status.TRAINING
    with reverts(world.market, "WrongStatus", task, expected, Status.STALLED):
        world.ask(world.market.functions[verb](task))
