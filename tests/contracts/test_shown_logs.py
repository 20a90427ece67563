"""Nobody claims with a log that another has shown: claims are over for good before any log is shown.

What becomes available late can be claimed longer. So nobody shows the log of what is not available yet, and nobody
objects once logs are shown.
"""

from __future__ import annotations

from typing import Any

import pytest

from offchain.chain import keepers, verifiers
from offchain.market.keeping import GRANTED
from offchain.market.view import Status
from tests.support.audited import (
    BOND,
    RIGHT,
    STAKE,
    commit,
    drawn,
    gained,
    pot,
    reveal,
    settle,
    try_claim,
    try_reveal,
)
from tests.support.deployment import PARAMETERS
from tests.support.keeping import Sitting, several, sit
from tests.support.reverts import reverts
from tests.support.vouching import EVERYBODY, FEE, STAKES, close_claiming, vouch
from tests.support.world import World

WINDOW = PARAMETERS.challenge_window
HONEST, LAZY = "challenger", "stranger"
LATE = WINDOW // 4 + 1  # seconds after a commit
AUDITED: dict[str, Any] = {"audit_fee": FEE, "audit_rate_bps": EVERYBODY, "stake": STAKE, "interval_time": 10_000}


@pytest.fixture
def sat(audit_world: World) -> Sitting:
    """Whose committee sits, with a checkpoint that every verifier is drawn for."""
    sitting = sit(audit_world, several, **AUDITED)
    commit(audit_world, sitting.task, 0)
    return sitting


def attested(sitting: Sitting, index: int) -> None:
    sitting.attest(sitting.quorum(), index, root=RIGHT[index].root)


def recalled(sitting: Sitting) -> Sitting:
    """The second committee, once the first one's time is over."""
    sitting.world.close_windows(sitting.task)
    keepers.recall(sitting.world.quick("requester"), sitting.task)
    return Sitting.of(sitting.world, sitting.task, "requester")


def ends(sitting: Sitting, index: int) -> int:
    return int(sitting.world.log.functions.challengeableUntil(sitting.task, index).call())


def completed(sitting: Sitting) -> None:
    """The rest is delivered, had and paid, and every claim settled."""
    world, task = sitting.world, sitting.task
    for index in range(world.log.functions.count(task).call(), 3):
        commit(world, task, index)
    attested(sitting, 2)
    world.close_windows(task)
    world.quick("solver").collect(task)
    assert world.status(task) is Status.COMPLETED
    for name in (HONEST, LAZY):
        if any(world.quick(name).call("auditor", "claimOf", task, 0, 0, world.address(name))["commitment"]):
            settle(world, name, task)
    assert pot(world, task) == 0


def test_nobody_shows_a_log_while_others_may_get_time_to_claim(sat: Sitting) -> None:
    """Who has replayed at once waits, and is paid as if all had been in time. Who waits for its log is too late."""
    world, task, before = sat.world, sat.task, sat.world.wealth()
    vouch(world, HONEST, task, 0, RIGHT[0].shown)
    copied = drawn(world, LAZY, task)
    close_claiming(world, task, 0)
    with reverts(world.auditor, "Unavailable", task, 0):
        try_reveal(world, HONEST, task, 0, RIGHT[0].shown)
    second = recalled(sat)
    with reverts(world.auditor, "Unavailable", task, 0):  # nobody takes the bond of who could not show it
        world.ask(world.auditor.functions.settle(task, 0, 0, world.address(HONEST)))
    attested(second, 0)
    with reverts(world.auditor, "ClaimingOpen"):
        try_reveal(world, HONEST, task, 0, RIGHT[0].shown)
    close_claiming(world, task, 0)
    reveal(world, HONEST, task)
    with reverts(world.auditor, "ClaimingOver"):
        try_claim(world, LAZY, task, 0, copied)
    completed(second)
    assert gained(world, before) == {HONEST: FEE}


def test_who_shows_nothing_of_what_came_late_loses_its_bond(sat: Sitting) -> None:
    world, task, before = sat.world, sat.task, sat.world.wealth()
    vouch(world, LAZY, task, 0, RIGHT[0].shown)
    completed(recalled(sat))
    assert gained(world, before) == {LAZY: -BOND, "burned": BOND}


def test_the_requester_s_late_word_leaves_time_to_claim_and_to_show(sat: Sitting) -> None:
    """It can't take verifiers' bonds by saying in the last second that it has what they vouched for."""
    world, task, before = sat.world, sat.task, sat.world.wealth()
    vouch(world, HONEST, task, 0, RIGHT[0].shown)
    last = ends(sat, 0)
    world.send(world.contract("keepers").functions.acknowledge(task, 0, 0), world.requester, last)
    began = last - WINDOW
    assert ends(sat, 0) == 2 * (last + WINDOW // 4) - began
    vouch(world, LAZY, task, 0, RIGHT[0].shown)
    close_claiming(world, task, 0)
    for name in (HONEST, LAZY):
        reveal(world, name, task)
    completed(sat)
    assert gained(world, before) == {HONEST: FEE, LAZY: FEE}


def test_nobody_objects_once_logs_are_shown(sat: Sitting) -> None:
    """A member that is drawn would get time to claim, and the log to claim it with."""
    world, task = sat.world, sat.task
    attested(sat, 0)
    vouch(world, HONEST, task, 0, RIGHT[0].shown)
    claimable = int(world.auditor.functions.claimableUntil(task, 0).call())
    world.clock.mine(claimable)
    with reverts(world.auditor, "ClaimingOpen", claimable, claimable):
        try_reveal(world, HONEST, task, 0, RIGHT[0].shown)
    member = min(sat.seats, key=lambda name: sat.seats[name])
    encoded = [each.encoded() for each in sat.members]
    objecting = world.contract("keepers").functions.object(task, 0, encoded, sat.place(member))
    world.ask(objecting, world.address(member))
    world.clock.mine(claimable + 1)
    with reverts(world.contract("keepers"), "WindowClosed", claimable, claimable + 1):
        world.ask(objecting, world.address(member))
    reveal(world, HONEST, task)


def test_what_comes_late_gives_no_more_time_for_what_was_there(audit_world: World) -> None:
    """Or logs that were shown could be copied, and a row of late ones would keep the first from being final."""
    sitting = sit(audit_world, several, **(AUDITED | {"interval_time": 45}))
    world, task = sitting.world, sitting.task
    commit(world, task, 0)
    world.clock.travel(LATE)
    attested(sitting, 0)
    copied, until = drawn(world, LAZY, task), ends(sitting, 0)
    assert until > world.log.functions.checkpoint(task, 0).call()[1] + WINDOW
    vouch(world, HONEST, task, 0, RIGHT[0].shown)
    world.clock.travel(10)
    commit(world, task, 1)
    later = ends(sitting, 1)
    close_claiming(world, task, 0)
    reveal(world, HONEST, task)
    world.clock.travel(LATE)
    attested(sitting, 1)
    assert ends(sitting, 1) > later and ends(sitting, 0) == until
    with reverts(world.auditor, "ClaimingOver"):
        try_claim(world, LAZY, task, 0, copied)
    world.clock.mine(until + 1)
    world.quick("solver").collect(task)
    assert world.task(task)["paid"] == 1


def test_windows_of_later_checkpoints_do_not_follow_one_that_came_late(sat: Sitting) -> None:
    world, task = sat.world, sat.task
    world.clock.travel(3 * WINDOW)
    attested(sat, 0)
    commit(world, task, 1)
    began, promised = world.log.functions.checkpoint(task, 0).call()[1], world.task(task)["promised"]
    until = ends(sat, 1)
    assert until == began + WINDOW + promised
    attested(sat, 1)
    assert ends(sat, 1) == until


def test_who_could_not_show_a_log_because_nobody_could_be_asked_loses_nothing(audit_world: World) -> None:
    """That all stakes had left comes out when the window is over."""
    world = audit_world
    sitting = sit(world, several, **AUDITED)
    commit(world, sitting.task, 0)
    before = world.wealth()
    vouch(world, HONEST, sitting.task, 0, RIGHT[0].shown)
    for name, stake in STAKES.items():
        verifiers.unstake(world.quick(name), stake)
    world.clock.travel(PARAMETERS.key_delay)
    recalled(sitting)
    assert keepers.keeping(world.quick("solver"), sitting.task, 0).available == GRANTED
    with reverts(world.auditor, "NotFinal", sitting.task, 0):
        world.ask(world.auditor.functions.settle(sitting.task, 0, 0, world.address(HONEST)))
    with reverts(world.contract("keepers"), "AlreadyAvailable", GRANTED, 0):
        world.ask(world.contract("keepers").functions.acknowledge(sitting.task, 0, 0), world.requester)
    world.quick("solver").collect(sitting.task)
    settle(world, HONEST, sitting.task)
    assert gained(world, before) == {}
