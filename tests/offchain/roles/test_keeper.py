"""What keepers, solvers and requesters decide about committees, at each time of a checkpoint's window."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any, Final

import pytest

from offchain.bls.points import BASE1
from offchain.market.actions import (
    Acknowledge,
    Action,
    Attest,
    Denounce,
    Keep,
    ObjectTo,
    Recall,
    Reward,
    Seat,
    SettleObjection,
    ShowKept,
    Stall,
)
from offchain.market.keeping import Denial, Keeping, Member
from offchain.market.notes import Notes, TaskNotes
from offchain.market.view import ChainView, CheckpointView, Fees, Status, TaskView
from offchain.roles import keeper
from offchain.roles.policy import DENOUNCE_GAS, Policy
from offchain.worker.draining import holds
from tests.support.tasks import unposted

ME, OTHER = "0xMe", "0xOther"
PROMPT_PART: Final = 4  # parts of a window, of which one is given to fetch a checkpoint: Keepers.PROMPT_PART
FREE: Final = Policy()
UNIT: Final = 10**18
POINT: Final = CheckpointView(b"a" * 32, 100, 260, 0, "")
LATER: Final = replace(POINT, root=b"b" * 32, committed_at=120, challengeable_until=280)
NOTHING: Final = Keeping(kept=0, start=0, called_at=0, called_in=0, seats=3, granted=False)
CALLED: Final = replace(NOTHING, called_at=270, called_in=9)
TASK: Final = TaskView(
    7, unposted(steps=30, keepers=3, challenge_window=160), OTHER, OTHER, Status.TRAINING, 50, 90, 900, 0,
    (POINT, LATER), keeping=NOTHING,
)  # fmt: skip
MINE: Final = (Member(OTHER, 1, BASE1), Member(ME, 2, BASE1))
SEATED: Final = {(7, 0, 0): MINE}
BOTH: Final = {**SEATED, (7, 0, 1): MINE}


def at(now: int, task: TaskView = TASK, free: int = 10, **more: Any) -> ChainView:
    more = {"committees": SEATED} | more
    return ChainView(ME, now, free, True, (task,), (), fees=Fees(audit_bond=10), **more)


def decided(view: ChainView, notes: Notes, policy: Policy = FREE) -> list[Action]:
    return keeper.decide(view, notes, policy)


def kept(*checkpoints: int) -> dict[int, TaskNotes]:
    return {7: TaskNotes(kept=frozenset(checkpoints))}


def available(count: int, **more: Any) -> TaskView:
    return replace(TASK, keeping=replace(NOTHING, kept=count), **more)


def test_a_member_keeps_checkpoints_in_their_order() -> None:
    assert decided(at(130), {}) == [Keep(7, 0)]
    assert decided(at(130), kept(0)) == [Keep(7, 1)]
    assert decided(at(130), kept(1)) == [Keep(7, 0)]
    assert decided(at(130), kept(0, 1)) == []
    assert decided(at(130, replace(TASK, paid=1)), {}) == [Keep(7, 1)]
    assert decided(at(130, replace(TASK, first=1)), {}) == [Keep(7, 1)]


def test_who_drains_begins_no_seat_and_ends_what_it_has_signed_for() -> None:
    draining = Policy(draining=True)
    assert decided(at(130), {}, draining) == []
    assert decided(at(130), kept(0), draining) == [Keep(7, 1)]
    assert decided(at(300, seats=frozenset({(7, 1, 0)})), {}, draining) == [Reward(7, 1, 0)]  # of an attempt before


def test_a_drained_keeper_holds_what_it_has_signed_for() -> None:
    mine: dict[str, Any] = {"seats": frozenset({(7, 0, 0)})}
    assert holds(at(130, **mine), {}) == ()
    assert holds(at(130, **mine), kept(0)) == holds(at(130, **mine)) == ("keeping of task 7",)
    assert holds(at(130, replace(TASK, attempt=1), **mine), {}) == ("keeping of task 7",)  # its pay is due
    recalled = replace(TASK, keeping=CALLED)  # notes are about the second committee: the first may have signed
    assert holds(at(300, recalled, **mine), {}) == ("keeping of task 7",)
    assert holds(at(300, recalled, seats=frozenset({(7, 0, 1)})), {}) == ()
    for owed in ("denied", "objections"):
        assert holds(at(130, **{owed: frozenset({(7, 0)})}), {}) == ("keeping of task 7",)


def test_who_has_no_seat_keeps_nothing() -> None:
    assert decided(at(130, committees={}), {}) == []
    assert decided(at(130, committees={(7, 0, 0): MINE[:1]}), {}) == []
    assert decided(at(130, committees={(7, 1, 0): MINE}), {}) == []
    assert decided(at(130, replace(TASK, keeping=CALLED)), {}) == []  # of the second committee nobody knows yet
    assert decided(at(130, replace(TASK, keeping=CALLED), committees=BOTH), {}) == [Keep(7, 0)]
    assert decided(at(130, replace(TASK, status=Status.COMPLETED)), {}) == []


@pytest.mark.parametrize(
    ("now", "task", "free", "objects"),
    [
        (140, available(1), 10, False),
        (141, available(1), 10, True),  # the last half of the time for claims, which is short
        (180, available(1), 10, True),
        (181, available(1), 10, False),  # logs are shown, and it would be refused
        (141, available(1), 9, False),  # no money for the bond
        (141, available(0), 10, False),  # nobody says that it can be had
        (141, replace(available(1), keeping=replace(CALLED, kept=1)), 10, False),
    ],
)
def test_it_objects_to_what_it_cannot_have_and_others_signed(
    now: int, task: TaskView, free: int, objects: bool
) -> None:
    found = decided(at(now, task, free, committees=BOTH), {})
    assert found == [*([ObjectTo(7, 0)] if objects else []), Keep(7, 0)]


def test_afterwards_it_takes_what_it_earned_and_shows_what_it_signed() -> None:
    over = replace(TASK, status=Status.STALLED, attempt=1)
    known: dict[str, Any] = {"seats": frozenset({(7, 0, 0)}), "denied": frozenset({(7, 0)})}
    assert decided(at(300, over, **known), {}) == [ShowKept(7, 0), Reward(7, 0, 0)]
    assert decided(at(300, **known), kept(0, 1)) == []  # the attempt runs
    assert decided(at(300, replace(over, id=8), **known), {}) == []  # not read yet


@pytest.mark.parametrize(("window", "begins"), [(60, 15), (400, 100), (600, 180), (1_000, 375), (86_400, 32_400)])
def test_a_restart_and_a_slow_block_fit_before_the_time_to_object_ends(window: int, begins: int) -> None:
    """It has two minutes where the window is not so short that they were more than half of the time for claims."""
    point = replace(POINT, committed_at=0, challengeable_until=window)
    assert keeper.objecting_from(point) == begins
    task = replace(TASK, checkpoints=(point,), keeping=replace(NOTHING, kept=1))
    objects = [now for now in range(begins - 2, begins + 3) if ObjectTo(7, 0) in decided(at(now, task), {})]
    assert objects == [begins + 1, begins + 2]
    assert begins >= window // PROMPT_PART  # nobody objects to what is still fetched for the first time


def test_the_bond_of_an_objection_comes_back() -> None:
    objected: dict[str, Any] = {"objections": frozenset({(7, 0)}), "committees": BOTH}
    undecided = replace(TASK, keeping=CALLED)
    assert SettleObjection(7, 0) not in decided(at(300, undecided, **objected), kept(0, 1))
    available = replace(TASK, keeping=replace(CALLED, kept=2))
    assert decided(at(300, available, **objected), kept(0, 1)) == [SettleObjection(7, 0)]
    assert decided(at(300, replace(TASK, attempt=1), **objected), kept(0, 1)) == [SettleObjection(7, 0)]
    alone = objected | {"committees": SEATED}
    assert decided(at(300, undecided, **alone), {}) == [Seat(7)]


DENIAL: Final = Denial(until=400, fines={1: 10, 2: 4}, own=1, total=100)


@pytest.mark.parametrize(
    ("now", "denial", "price", "places"),
    [
        (400, DENIAL, 0, []),  # they may still show it
        (401, DENIAL, 0, [1, 2]),
        (401, replace(DENIAL, fines={1: 10, 2: 0}), 0, [1]),  # of a stake that is gone nothing burns
        (401, replace(DENIAL, own=0), 0, []),  # who has no stake gains nothing by it
        (401, DENIAL, Fraction(9, 100), [1]),  # gas that costs 0.09 is worth a hundredth of 10, and not of 4
        (401, DENIAL, Fraction(1, 10), []),
    ],
)
def test_it_denounces_who_shows_nothing_where_that_is_worth_the_gas(
    now: int, denial: Denial, price: Fraction, places: list[int]
) -> None:
    over = replace(TASK, status=Status.STALLED, attempt=1)
    whole = replace(denial, fines={place: fine * UNIT for place, fine in denial.fines.items()})
    view = at(now, over, denials={(7, 0): whole}, gas_price=1)
    policy = Policy(coin_price=price * UNIT / DENOUNCE_GAS)
    assert decided(view, {}, policy) == [Denounce(7, 0, place) for place in places]


def solving(now: int, task: TaskView = TASK, **more: Any) -> list[Action]:
    return list(keeper.of_solver(at(now, task, **more), task))


def test_a_solver_seats_attests_and_calls() -> None:
    assert solving(100, committees={}) == [Seat(7)]
    assert solving(119) == []
    assert solving(120) == [Attest(7, 1)]  # an eighth of the window has passed
    assert solving(119, replace(TASK, terms=replace(TASK.terms, steps=20))) == [Attest(7, 1)]  # it was the last one
    assert solving(200, available(2)) == []
    assert solving(200, available(1)) == [Attest(7, 1)]
    assert solving(261) == [Attest(7, 1), Recall(7)]
    assert solving(261, replace(TASK, keeping=CALLED)) == [Seat(7)]
    assert solving(261, replace(TASK, keeping=CALLED), committees=BOTH) == [Attest(7, 1)]


def test_without_keepers_there_is_nothing_to_do() -> None:
    for keeping in (None, replace(NOTHING, granted=True)):
        task = replace(TASK, keeping=keeping)
        assert solving(261, task, committees={}) == requesting(261, task) == []


def requesting(now: int, task: TaskView = TASK, **more: Any) -> list[Action]:
    return list(keeper.of_requester(at(now, task, **more), task))


def test_a_requester_says_what_it_has_and_takes_the_task_from_who_serves_nobody() -> None:
    assert requesting(180) == []
    assert requesting(181) == [Acknowledge(7, 1)]  # half of the window has passed
    assert requesting(261) == [Acknowledge(7, 1), Recall(7)]
    called = replace(TASK, keeping=CALLED)
    assert requesting(430, called) == [Acknowledge(7, 1), Seat(7)]
    assert requesting(431, called, committees=BOTH) == [Stall(7)]
    assert requesting(431, replace(called, keeping=replace(CALLED, kept=2)), committees=BOTH) == []


def test_what_is_not_available_is_not_final() -> None:
    assert not TASK.final(0, 261)
    assert available(1).final(0, 261) and not available(1).final(1, 281)
    assert replace(TASK, keeping=None).final(0, 261)
    assert replace(TASK, keeping=replace(NOTHING, granted=True)).final(1, 281)
