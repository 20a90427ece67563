"""What a verifier decides about tickets and claims, at each time of a checkpoint's window."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from offchain.market.actions import (
    Action,
    Audit,
    Claim,
    Collect,
    DrawLot,
    Fetch,
    OpenDispute,
    SettleClaim,
    Vouch,
)
from offchain.market.notes import TaskNotes
from offchain.market.view import NOBODY, ChainView, CheckpointView, Fees, Status, TaskView
from offchain.roles import requester, verifier
from offchain.roles.policy import AUDIT_GAS, Policy
from tests.support.tasks import unposted

ME, OTHER = "0xMe", "0xOther"
POINT = CheckpointView(bytes(32), 100, 160, 0, "")  # claimable until 130, disputable until 160
TASK = TaskView(
    7, unposted(steps=30, audit_fee=500), OTHER, OTHER, Status.TRAINING, 50, 90, 900, 0, (POINT,), standby=NOBODY
)  # fmt: skip
DRAWS = Policy(audit_share=0.0, draws=True)
FIT = TaskNotes(fit=True)
WON = replace(FIT, lots={0: True})
RIGHT = replace(WON, audited={0: True}, ready=frozenset({0}))
KEY = (7, 0, 0)


def decided(
    now: int, known: TaskNotes, task: TaskView = TASK, policy: Policy = DRAWS, free: int = 10, **more: object
) -> list[Action]:
    at = ChainView(ME, now, free, True, (task,), (), fees=Fees(audit_bond=10), **more)  # type: ignore[arg-type]
    return verifier.decide(at, {7: known}, policy, b"secret")


def test_it_looks_at_its_ticket_before_anything_else() -> None:
    assert decided(120, FIT) == [DrawLot(7, 0)]
    assert decided(120, replace(FIT, lots={0: False})) == []
    assert decided(131, FIT) == []  # too late for a claim
    assert decided(120, FIT, policy=replace(DRAWS, draws=False)) == []


def test_it_replays_what_it_is_drawn_for() -> None:
    assert decided(120, WON) == [Audit(7, 0)]
    assert decided(120, replace(WON, fit=None)) == [Fetch(7)]
    assert decided(131, WON) == []
    own_accord = replace(DRAWS, audit_share=1.0)
    assert decided(120, FIT, policy=own_accord) == [DrawLot(7, 0), Audit(7, 0)]
    assert decided(131, FIT, policy=own_accord) == [Audit(7, 0)]


def test_it_vouches_for_what_is_right_and_disputes_what_is_wrong() -> None:
    assert decided(130, RIGHT) == [Claim(7, 0)]
    assert decided(131, RIGHT) == []
    assert decided(120, RIGHT, free=9) == []  # no money for the bond
    assert decided(120, replace(RIGHT, ready=frozenset())) == []
    assert decided(120, replace(WON, audited={0: False}), free=100) == [OpenDispute(7, 0)]


def test_it_leaves_a_fee_that_does_not_pay_its_gas() -> None:
    for cost, actions in ((499, [DrawLot(7, 0)]), (500, [])):
        policy = replace(DRAWS, coin_price=Fraction(cost, AUDIT_GAS))
        assert decided(120, FIT, policy=policy, gas_price=1) == actions


def test_it_shows_the_log_when_nobody_can_claim_any_more() -> None:
    claims = {KEY: False}
    assert decided(130, RIGHT, claims=claims) == []
    assert decided(131, RIGHT, claims=claims) == [Vouch(7, 0)]
    assert decided(160, RIGHT, claims=claims) == [Vouch(7, 0)]
    assert decided(161, RIGHT, claims=claims) == []
    assert decided(131, replace(RIGHT, ready=frozenset()), claims=claims) == []


@pytest.mark.parametrize(
    ("now", "changes", "actions"),
    [
        (161, {}, []),  # its solver collects
        (221, {}, [Collect(7)]),
        (221, {"checkpoints": (replace(POINT, holds=1),)}, []),
        (161, {"paid": 1}, [SettleClaim(7, 0, 0)]),
        (161, {"paid": 1, "status": Status.COMPLETED}, [SettleClaim(7, 0, 0)]),
        (140, {"checkpoints": (), "status": Status.VACANT, "attempt": 1}, [SettleClaim(7, 0, 0)]),
        (140, {"checkpoints": (replace(POINT, attempt=1),), "attempt": 1}, [SettleClaim(7, 0, 0)]),
    ],
)
def test_it_settles_what_is_decided(now: int, changes: dict[str, object], actions: list[Action]) -> None:
    task = replace(TASK, **changes)  # type: ignore[arg-type]
    assert decided(now, RIGHT, task, claims={KEY: True}) == actions


@pytest.mark.parametrize(
    ("now", "shown", "changes", "settles"),
    [
        (160, False, {}, False),  # it may still be shown
        (161, False, {}, True),
        (161, True, {}, False),  # who is paid for it may settle it
        (161, True, {"paid": 1, "status": Status.COMPLETED}, False),
        (161, False, {"paid": 1, "status": Status.COMPLETED}, True),
        (140, True, {"checkpoints": (), "status": Status.STALLED, "attempt": 1}, True),
        (140, False, {"checkpoints": (replace(POINT, attempt=1),), "attempt": 1}, True),
        (161, False, {"id": 8}, False),  # not read yet
    ],
)
def test_a_requester_settles_what_earns_nothing(
    now: int, shown: bool, changes: dict[str, object], settles: bool
) -> None:
    task = replace(TASK, requester=ME, **changes)  # type: ignore[arg-type]
    at = ChainView(ME, now, 0, True, (task,), (), theirs={(*KEY, OTHER): shown})
    assert requester.decide(at) == ([SettleClaim(7, 0, 0, OTHER)] if settles else [])


def test_a_claim_in_a_task_that_is_not_read_yet_waits() -> None:
    assert decided(131, RIGHT, replace(TASK, id=8), claims={KEY: True}) == []
