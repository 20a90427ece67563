"""Auditor: who is paid for vouching for a checkpoint, and who loses a bond."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from offchain.chain import claims
from offchain.chain.claims import Claim, Fate, claims_of
from offchain.market.view import Status
from tests.support.audited import (
    BOND,
    BUDGET,
    RIGHT,
    STAKE,
    begun,
    commit,
    convict,
    drawn,
    finish,
    gained,
    leave,
    pot,
    reveal,
    settle,
    try_claim,
    try_reveal,
)
from tests.support.deployment import PARAMETERS
from tests.support.reverts import reverts
from tests.support.vouching import FEE, close_claiming, vouch
from tests.support.world import World

# --- who is paid -----------------------------------------------------------------------------------------------------


def test_who_replayed_is_paid(audit_world: World) -> None:
    world = audit_world
    start = world.wealth()
    task = begun(world)
    assert pot(world, task) == BUDGET * FEE
    before = world.wealth()
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    assert pot(world, task) == BUDGET * FEE + BOND
    assert claims.budget(world.quick("stranger"), task).left == BUDGET - 1
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    finish(world, task)
    settle(world, "challenger", task)
    assert gained(world, before) == {"challenger": FEE}
    assert pot(world, task) == 0
    gains = world.gains(start)
    assert gains["requester"] == -800 - FEE - PARAMETERS.post_fee and sum(gains.values()) == 0


def test_who_reads_the_chain_sees_who_vouched_for_what(audit_world: World) -> None:
    world = audit_world
    task = begun(world, 2)
    address = world.address
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    vouch(world, "stranger", task, 0, RIGHT[0].shown)
    vouch(world, "challenger", task, 1, RIGHT[1].shown)
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    finish(world, task)
    settle(world, "challenger", task)
    settle(world, "stranger", task)
    assert claims_of(world.quick("requester"), task) == [
        Claim(task, 0, 0, address("challenger"), Fate.PAID, 1),
        Claim(task, 0, 0, address("stranger"), Fate.FORFEITED, 1),
        Claim(task, 0, 1, address("challenger"), Fate.CLAIMED, 1),
    ]


def test_the_fee_waits_until_the_interval_is_paid_for(audit_world: World, auditor: Any) -> None:
    """By then every checkpoint before it is final, too."""
    world = audit_world
    task = begun(world)
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    call = auditor.functions.settle(task, 0, 0, world.challenger)
    until = world.log.functions.challengeableUntil(task, 0).call()
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    world.clock.mine(until)
    with reverts(auditor, "WindowOpen", until, until):
        world.ask(call)
    world.clock.mine(until + 1)
    with reverts(auditor, "NotFinal", task, 0):
        world.ask(call)
    world.quick("stranger").collect(task)
    world.ask(call)


def test_what_is_earned_stays_when_the_task_ends(audit_world: World) -> None:
    """Of two open claims one was not revealed: its fee goes to the requester, after the rest of the budget."""
    world = audit_world
    task = begun(world)
    for name in ("challenger", "stranger"):
        vouch(world, name, task, 0, RIGHT[0].shown)
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    finish(world, task)
    assert world.status(task) is Status.COMPLETED
    assert pot(world, task) == 2 * (FEE + BOND)
    before = world.wealth()
    settle(world, "stranger", task)
    settle(world, "challenger", task)
    assert world.gains(before) == {"requester": FEE, "challenger": FEE + BOND, "burned": BOND}
    assert pot(world, task) == 0


def test_a_solver_that_leaves_takes_nothing_from_who_audited_it(audit_world: World) -> None:
    world = audit_world
    task = begun(world)
    before = world.wealth()
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    world.close_windows(task)
    world.clock.mine(world.market.functions.deadline(task, 1).call() + 1)
    world.quick("requester").stall(task)
    settle(world, "challenger", task)
    assert gained(world, before)["challenger"] == FEE


def test_who_wins_several_fees_is_paid_each_of_them_for_one_replay(audit_world: World, auditor: Any) -> None:
    """One claim, one bond, one log: as much as several names with the same stake would have together."""
    world = audit_world
    task = begun(world, fees={"challenger": 3, "stranger": 1})
    before = world.wealth()
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    vouch(world, "stranger", task, 0, RIGHT[0].shown)
    assert auditor.functions.claimOf(task, 0, 0, world.challenger).call()[1:] == (3, False)
    assert [claim.fees for claim in claims_of(world.quick("requester"), task)] == [3, 1]
    assert claims.budget(world.quick("stranger"), task).left == BUDGET - 4
    assert pot(world, task) == BUDGET * FEE + 2 * BOND
    close_claiming(world, task, 0)
    for name in ("challenger", "stranger"):
        reveal(world, name, task)
    finish(world, task)
    for name in ("challenger", "stranger"):
        settle(world, name, task)
    assert gained(world, before) == {"challenger": 3 * FEE, "stranger": FEE}
    assert pot(world, task) == 0


def test_a_budget_that_runs_out_within_a_claim_pays_what_is_left(audit_world: World, auditor: Any) -> None:
    """And no more: the others' fees and bonds, which lie in the same pot, are whole."""
    world = audit_world
    task = begun(world, fees={"challenger": 3, "stranger": 1})
    leave(world, task, 2)
    before = world.wealth()
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    assert claims.budget(world.quick("stranger"), task).left == 0
    with reverts(auditor, "BudgetSpent", task):
        try_claim(world, "stranger", task, 0, drawn(world, "stranger", task))
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    held = pot(world, task)
    finish(world, task)
    settle(world, "challenger", task)
    assert gained(world, before) == {"challenger": 2 * FEE}
    assert pot(world, task) == held - 2 * FEE - BOND


@pytest.mark.parametrize("ended", [True, False])
def test_all_fees_of_a_claim_that_earns_none_go_back(audit_world: World, ended: bool) -> None:
    """To the budget, or, once the task has ended, to its requester."""
    world = audit_world
    task = begun(world, fees={"challenger": 3})
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    if ended:
        finish(world, task)
    else:
        world.close_windows(task)
    before = world.wealth()
    settle(world, "challenger", task)
    assert world.gains(before) == {"burned": BOND} | ({"requester": 3 * FEE} if ended else {})
    assert claims.budget(world.quick("stranger"), task).left == (0 if ended else BUDGET)


# --- who gains nothing, and loses a bond ------------------------------------------------------------------------------


def test_who_guesses_loses_the_bond(audit_world: World, auditor: Any) -> None:
    world = audit_world
    task, guess = begun(world), replace(RIGHT[0].shown, chunk=bytes(4_096))
    before = world.wealth()
    vouch(world, "challenger", task, 0, guess)
    close_claiming(world, task, 0)
    with reverts(auditor, "RootDiffers", RIGHT[0].root):
        try_reveal(world, "challenger", task, 0, guess)
    with reverts(auditor, "CommitmentDiffers"):
        try_reveal(world, "challenger", task, 0, RIGHT[0].shown)
    finish(world, task)
    settle(world, "challenger", task)
    assert gained(world, before) == {"challenger": -BOND, "burned": BOND}


def test_who_copies_a_commitment_loses_the_bond(audit_world: World, auditor: Any) -> None:
    """Although the other one shows what is in it."""
    world = audit_world
    task, right = begun(world), RIGHT[0].shown
    before = world.wealth()
    vouch(world, "challenger", task, 0, right)
    vouch(world, "stranger", task, 0, right, right.commitment(world.challenger))
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    with reverts(auditor, "CommitmentDiffers", right.commitment(world.challenger), right.commitment(world.stranger)):
        try_reveal(world, "stranger", task, 0, right)
    finish(world, task)
    for name in ("challenger", "stranger"):
        settle(world, name, task)
    assert gained(world, before) == {"challenger": FEE, "stranger": -BOND, "burned": BOND}


def test_who_does_not_reveal_loses_the_bond(audit_world: World, auditor: Any) -> None:
    """As soon as it is too late, whatever becomes of the checkpoint; the budget is whole again."""
    world = audit_world
    task = begun(world)
    before = world.wealth()
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    until = world.log.functions.challengeableUntil(task, 0).call()
    world.send(world.log.functions.hold(task, 0), world.referee)
    world.clock.mine(until + 1)
    with reverts(auditor, "RevealOver", until, until + 1):
        try_reveal(world, "challenger", task, 0, RIGHT[0].shown)
    settle(world, "challenger", task)
    assert gained(world, before) == {"challenger": -BOND, "burned": BOND}
    assert claims.budget(world.quick("stranger"), task).left == BUDGET


def test_who_vouched_for_what_was_proved_false_loses_the_bond(audit_world: World) -> None:
    """Revealed or not: a friend of the solver knows the log without looking."""
    world = audit_world
    task = begun(world)
    for name in ("challenger", "stranger"):
        vouch(world, name, task, 0, RIGHT[0].shown)
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)
    before = world.wealth()
    convict(world, task, 0)
    for name in ("challenger", "stranger"):
        settle(world, name, task)
    gains = gained(world, before)
    assert "challenger" not in gains and "stranger" not in gains  # what they locked is gone
    assert gains["burned"] == 2 * BOND + STAKE
    assert pot(world, task) == 0


# --- who loses nothing -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("convicted", "proved"), [(1, True), (0, False)])
def test_nobody_honest_loses_when_a_solver_fails(audit_world: World, convicted: int, proved: bool) -> None:
    """Convicted of another checkpoint, or of this one by the clock alone: whoever vouched has its bond again."""
    world = audit_world
    task = begun(world, 2)
    before = world.wealth()
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    convict(world, task, convicted, proved)
    settle(world, "challenger", task)
    assert "challenger" not in world.gains(before)
    assert pot(world, task) == 0


def test_a_claim_about_an_attempt_that_is_over(audit_world: World, auditor: Any) -> None:
    """It is not mistaken for one about the next solver's checkpoint, and that one's budget is whole."""
    world = audit_world
    task = begun(world, attempts=2)
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    convict(world, task, 0, proved=False)
    world.quick("rival").take_over(task)
    commit(world, task, 0, "rival")
    with reverts(auditor, "NotClaimed", task, 1, 0, world.challenger.lower()):
        try_reveal(world, "challenger", task, 0, RIGHT[0].shown)
    with reverts(auditor, "NotClaimed", task, 1, 0, world.challenger.lower()):
        world.ask(auditor.functions.settle(task, 1, 0, world.challenger))
    before = world.wealth()
    settle(world, "challenger", task)
    assert world.gains(before) == {"challenger": BOND}
    assert claims.budget(world.quick("stranger"), task).left == BUDGET
    vouch(world, "challenger", task, 0, RIGHT[0].shown)  # again, for this attempt
    close_claiming(world, task, 0)
    reveal(world, "challenger", task)


def test_a_verdict_about_the_attempt_before_says_nothing_about_this_one(audit_world: World) -> None:
    world = audit_world
    task = begun(world, attempts=2)
    convict(world, task, 0, proved=True)
    world.quick("rival").take_over(task)
    commit(world, task, 0, "rival")
    vouch(world, "challenger", task, 0, RIGHT[0].shown)
    before = world.wealth()
    convict(world, task, 0, proved=False)
    settle(world, "challenger", task, attempt=1)
    assert world.gains(before)["challenger"] == BOND
