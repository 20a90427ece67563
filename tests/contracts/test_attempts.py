"""TaskMarket: a solver fails, the standby takes over or the task is reopened; what promises, fees and records do."""

from __future__ import annotations

from typing import Any, Final

import pytest

from offchain.market.view import NOBODY, Status
from tests.support import tasks
from tests.support.deployment import FREE, PARAMETERS
from tests.support.reverts import reverts
from tests.support.tasks import ROOT, URI
from tests.support.world import SHORT, World

STAKE: Final = 4_320  # 4.8 · 900, the stake rule at q = 1/2
BOND: Final = PARAMETERS.bid_bond
FEE: Final = PARAMETERS.post_fee
INTERVAL, WINDOW, TIME = PARAMETERS.interval_time, PARAMETERS.challenge_window, PARAMETERS.bidding_time
LONG: Final = {"attempts": 3, "interval_time": 1_000}


def begun(world: World, promised: int = 1_000, **changes: Any) -> int:
    """A task that `solver` trains for 800, with `rival` as standby at that price."""
    number = tasks.post(world, **(SHORT | LONG | changes))
    tasks.auction(world, number, {"solver": 0, "rival": 800}, promised)
    return number


def stalled(world: World, paid: int = 0, **changes: Any) -> int:
    """The same, after `paid` intervals were paid and the solver missed its deadline."""
    task = begun(world, **changes)
    for index in range(paid):
        world.commit(task, index)
    due = world.market.functions.deadline(task, paid).call()
    if paid:
        due = max(due, world.log.functions.challengeableUntil(task, paid - 1).call())
    world.send(world.market.functions.stall(task), world.stranger, due + 1)
    return task


# --- failure ---------------------------------------------------------------------------------------------------------


def test_a_task_whose_solver_stalls_waits_for_the_standby(market_world: World) -> None:
    world = market_world
    task = stalled(world, paid=1)
    found = world.task(task)
    assert (found["status"], found["attempt"], found["paid"]) == (Status.VACANT, 1, 1)
    assert (found["standby"], found["handoverEnds"]) == (world.rival, world.clock.now + TIME)
    assert world.free("solver") == FREE + 320 - 432
    assert (world.free("requester"), world.pots(task)) == (FREE - FEE - 900, (580, 0))  # the rest of the escrow stays
    assert world.registry.functions.record(world.solver).call() == (320, 480)


def test_what_a_failed_solver_committed_is_void(market_world: World) -> None:
    world = market_world
    task = begun(world)
    for index in range(2):
        world.commit(task, index)
    world.clock.travel(WINDOW)
    world.send(world.log.functions.hold(task, 1), world.referee)
    world.send(world.market.functions.slash(task, world.challenger, 0, 0), world.referee)
    assert (world.task(task)["paid"], world.log.functions.count(task).call()) == (1, 1)
    world.send(world.log.functions.unhold(task, 1, 0), world.referee)  # too late, and harmless


def test_the_last_attempt_ends_the_task(market_world: World) -> None:
    world = market_world
    task = stalled(world, attempts=1)
    assert world.status(task) is Status.STALLED
    assert (world.free("requester"), world.free("rival")) == (FREE - FEE, FREE)
    assert world.pots(task) == (0, 0)


# --- takeover --------------------------------------------------------------------------------------------------------


def test_the_standby_trains_the_rest_at_its_own_price(market_world: World) -> None:
    world = market_world
    task = stalled(world, paid=1)
    world.send(world.market.functions.takeOver(task), world.rival)
    found = world.task(task)
    assert (found["status"], found["solver"], found["standby"]) == (Status.TRAINING, world.rival, NOBODY)
    assert (found["first"], found["price"], found["awardedAt"]) == (1, 480, world.clock.now)  # 800 · 15 / 25 steps
    assert (world.free("rival"), world.pots(task)) == (FREE - STAKE, (580, STAKE))
    for index in (1, 2):
        world.send(world.log.functions.commit(task, index, ROOT, URI), world.rival)
    world.clock.travel(WINDOW + 1_000)
    world.send(world.market.functions.collect(task), world.stranger)
    assert world.status(task) is Status.COMPLETED
    assert (world.free("rival"), world.free("requester")) == (FREE + 480, FREE - FEE - 800)
    assert world.registry.functions.record(world.rival).call() == (480, 0)


def test_takeover_of_the_wrong_people_and_too_late_reverts(market_world: World) -> None:
    world = market_world
    task = begun(world)
    take_over = world.market.functions.takeOver(task)
    with reverts(world.market, "WrongStatus", task, Status.VACANT, Status.TRAINING):
        world.ask(take_over, world.rival)
    task = stalled(world)
    take_over, ends = world.market.functions.takeOver(task), world.task(task)["handoverEnds"]
    with reverts(world.market, "NotStandby", world.rival.lower(), world.solver.lower()):
        world.ask(take_over, world.solver)
    world.clock.mine(ends)
    world.ask(take_over, world.rival)
    world.clock.mine(ends + 1)
    with reverts(world.market, "HandoverOver", ends, ends + 1):
        world.ask(take_over, world.rival)


def test_takeover_without_the_stake_reverts(market_world: World) -> None:
    world = market_world
    world.quick("solver").deposit(BOND)  # it leads, and its bond is locked, too
    task = stalled(world, max_price=FREE // 10, stake=FREE)
    world.quick("rival").request_withdrawal(1)
    with reverts(world.vault, "InsufficientFree", world.rival.lower(), FREE, FREE - 1):
        world.ask(world.market.functions.takeOver(task), world.rival)


# --- reopening and cancelling ----------------------------------------------------------------------------------------


def test_a_standby_that_does_not_come_loses_its_bond_and_the_task_is_reopened(market_world: World) -> None:
    world = market_world
    task = stalled(world, paid=1)
    reopen, ends = world.market.functions.reopen(task), world.task(task)["handoverEnds"]
    world.clock.mine(ends)
    with reverts(world.market, "HandoverOpen", ends, ends):
        world.ask(reopen)
    world.send(reopen, world.stranger, ends + 1)
    assert (world.free("rival"), world.burned()) == (FREE - BOND, FEE + 432 + BOND)
    assert world.quick("stranger").call("market", "ask", task)["reserve"] == 540  # 900 · 15 / 25 steps
    tasks.auction(world, task, {"rival": 500}, 1_000, attempt=1)
    found = world.task(task)
    assert (found["status"], found["first"], found["price"]) == (Status.TRAINING, 1, 540)


def test_a_task_without_a_standby_is_reopened_at_once(market_world: World) -> None:
    world = market_world
    number = tasks.post(world, **(SHORT | LONG))
    tasks.auction(world, number, {"solver": 0}, 1_000)
    world.send(world.market.functions.stall(number), world.stranger, world.clock.now + 1_001)
    world.send(world.market.functions.reopen(number), world.stranger)
    assert world.status(number) is Status.BIDDING


def test_reopening_what_is_not_vacant_reverts(market_world: World) -> None:
    world = market_world
    task = begun(world)
    with reverts(world.market, "WrongStatus", task, Status.VACANT, Status.TRAINING):
        world.ask(world.market.functions.reopen(task))


def test_a_requester_may_end_a_task_that_failed(market_world: World) -> None:
    world = market_world
    task = stalled(world, paid=1)
    cancel, ends = world.market.functions.cancel(task), world.task(task)["handoverEnds"]
    with reverts(world.market, "HandoverOpen", ends):
        world.ask(cancel, world.requester)
    with reverts(world.market, "NotRequester", world.requester.lower(), world.stranger.lower()):
        world.ask(cancel, world.stranger)
    world.send(cancel, world.requester, ends + 1)
    assert world.status(task) is Status.CANCELLED
    assert (world.free("requester"), world.pots(task)) == (FREE - FEE - 320, (0, 0))
    with reverts(world.market, "WrongStatus", task, Status.VACANT, Status.CANCELLED):
        world.ask(cancel, world.requester)


# --- promises, fees and time that disputes took ----------------------------------------------------------------------


def test_lateness_costs_what_it_grew_by(market_world: World) -> None:
    """25 steps for 800; 100 s promised per 10. Late by 10 s, 10 s and 60 s: 20, 0 and 100 of 160 are withheld."""
    world = market_world
    task = begun(world, promised=100, urgency=2)
    start = world.task(task)["awardedAt"]
    for index, at in enumerate((110, 210, 310)):
        world.commit(task, index, at=start + at)
    world.clock.travel(2 * WINDOW + 1_000)
    receipt = world.send(world.market.functions.collect(task), world.stranger)
    paid = world.events(world.market.events.Paid(), receipt)
    price = world.task(task)["price"]
    assert price == 800  # the rival's burden is the same
    assert [(event["amount"], event["withheld"]) for event in paid] == [(300, 20), (320, 0), (60, 100)]
    assert world.free("requester") == FREE - FEE - 680


def test_lateness_takes_no_more_than_the_pay_but_of_all_intervals(market_world: World) -> None:
    world = market_world
    task = begun(world, promised=1, urgency=1)
    for index in range(3):
        world.commit(task, index, at=world.task(task)["awardedAt"] + 900 + index)
    world.clock.travel(2 * WINDOW + 1_000)
    receipt = world.send(world.market.functions.collect(task), world.stranger)
    paid = world.events(world.market.events.Paid(), receipt)
    assert [(event["amount"], event["withheld"]) for event in paid] == [(0, 320), (0, 320), (0, 160)]


def test_time_of_disputes_that_were_won_does_not_count(market_world: World) -> None:
    world = market_world
    task = begun(world, promised=100, urgency=2)
    start, deadline = world.task(task)["awardedAt"], world.market.functions.deadline(task, 0)
    before = deadline.call()
    world.send(world.market.functions.excuse(task, 50), world.referee)
    assert deadline.call() == before + 50
    for index, at in enumerate((150, 250, 300)):
        world.commit(task, index, at=start + at)
    world.clock.travel(2 * WINDOW + 1_000)
    receipt = world.send(world.market.functions.collect(task), world.stranger)
    assert [event["withheld"] for event in world.events(world.market.events.Paid(), receipt)] == [0, 0, 0]


def test_only_the_game_excuses(market_world: World) -> None:
    world = market_world
    task = begun(world)
    with reverts(world.market, "NotGame", world.solver.lower()):
        world.ask(world.market.functions.excuse(task, 50), world.solver)
    ended = stalled(world, attempts=1)
    with reverts(world.market, "WrongStatus", ended, Status.TRAINING, Status.STALLED):
        world.ask(world.market.functions.excuse(ended, 50), world.referee)


def test_fee_and_standby(fee_world: World) -> None:
    """Of 800: 8 burn, the solver has 792; the standby has 16 beside that, and its bond back; the rest goes back."""
    world = fee_world
    task = begun(world)
    assert world.pots(task) == (900 + 18, STAKE)
    for index in range(3):
        world.commit(task, index)
    world.clock.travel(WINDOW + 3_000)
    world.send(world.market.functions.collect(task), world.stranger)
    assert world.burned() == FEE + 4 + 4 + 2  # each interval's, rounded up
    assert (world.free("solver"), world.free("rival")) == (FREE + 790, FREE + 6 + 6 + 3)  # rounded down
    assert (world.free("requester"), world.pots(task)) == (FREE - FEE - 800 - 15, (0, 0))
    assert world.registry.functions.record(world.solver).call() == (800, 0)


@pytest.mark.parametrize("verb", ["note", "truncate"])
def test_only_the_market_keeps_the_books(market_world: World, verb: str) -> None:
    world = market_world
    call, contract = (
        (world.registry.functions.note(world.solver, 1, 0), world.registry)
        if verb == "note"
        else (world.log.functions.truncate(0, 0), world.log)
    )
    with reverts(contract, "NotMarket", world.solver.lower()):
        world.ask(call, world.solver)
