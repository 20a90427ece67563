"""What a worker tells of its money, of what others did first, and how it is drained."""

from __future__ import annotations

from functools import partial

import pytest

from offchain.bls.points import G1
from offchain.chain.verifiers import Standing
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.market.actions import Award
from offchain.market.view import Status
from offchain.worker import acts, draining
from offchain.worker.alarms import FraudUnanswered, Lost, LowEther, LowVault, NotDrawn, Outbid
from offchain.worker.events import BidSent, Challenged, CommitSent, Declined, Drained, Draining, Failed, Overtaken
from offchain.worker.purse import not_drawn
from tests.support.deployment import FREE
from tests.support.town import Town, lying
from tests.support.works import DOT, every_kind

TASK = every_kind(6, 3)
LIE = {"executors": lying(Falsehood(4, DOT, 0, 1 << 12)), "replays": FalsifiedReplay}


def test_a_fraud_without_a_bond_is_told_again_until_there_is_one(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acts, "REPEAT", 0.0)
    town.post(TASK, clock=300)
    challenger = town.quick("challenger")
    challenger.request_withdrawal(FREE)
    town.worker("cheat", "solver", "solver", **LIE)
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: len(town.told(FraudUnanswered)) > 1, seconds=100)
    (low,) = town.told(LowVault, "verifier")
    assert (low.free, low.what) == (0, "the bond of a dispute")
    told = town.told(FraudUnanswered)[0]
    assert (told.checkpoint, told.free) == (1, 0) and told.bond > 0 and told.seconds_left > 0
    assert not town.told(Challenged)
    challenger.deposit(told.bond)
    town.until(lambda: town.told(Challenged))


def test_a_loss_is_told_once_also_after_a_restart(town: Town) -> None:
    task = town.post(TASK, interval_time=1_000)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(CommitSent))
    town.dismiss("solver")
    town.clock.travel(5_000)
    town.quick("requester").stall(task)
    town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(Lost))
    (lost,) = town.told(Lost)
    stake = town.quick("solver").terms(task).stake
    assert (lost.task, lost.kind, lost.amount) == (
        task,
        "deadline",
        -(-stake // 10),
    ) and "a deadline was missed" in lost.how
    town.dismiss("solver")
    town.worker("solver", "solver", "solver").cycle()
    assert len(town.told(Lost)) == 1


def test_who_is_outbid_hears_to_whom_the_task_went(town: Town) -> None:
    """Its log ended with the bid that it showed, unless it had sent the award itself."""
    task = town.post(TASK)
    town.worker("one", "solver", "solver")
    town.worker("two", "rival", "solver")
    town.until(lambda: town.status(task) is Status.TRAINING and bool(town.told(Outbid)))
    (told,) = town.told(Outbid)
    view = town.quick("stranger").task(task, town.quick("stranger").terms(task))
    assert (told.task, told.solver, told.price) == (task, view.solver, view.price)
    loser = town.address("solver" if view.solver == town.address("rival") else "rival")
    assert told.stands_by is (view.standby == loser)


def test_low_ether_is_told_once(town: Town) -> None:
    worker = town.worker("solver", "solver", "solver", least_moves=10**12)
    for _ in range(3):
        worker.cycle()
    (low,) = town.told(LowEther)
    assert 0 < low.moves < low.least


def test_a_verifier_that_is_never_drawn_is_told_why_once(town: Town) -> None:
    """It replayed checkpoints, was paid for none, and no line said that it lacks a key and a stake."""
    worker = town.worker("verifier", "challenger", "verifier")
    for _ in range(3):
        worker.cycle()
    (told,) = town.told(NotDrawn)
    assert told.why == "it has no signing key and no stake: it is drawn for no audit, and for no committee"
    assert told.remedy == "`offchain verifier enroll`, `offchain verifier stake N`; then start it again"
    town.worker("solver", "solver", "solver").cycle()
    assert len(town.told(NotDrawn)) == 1


@pytest.mark.parametrize(
    ("point", "stake", "has_key", "missing"),
    [
        (G1(1, 2), 5, True, None),
        (G1(1, 2), 0, True, ("no stake", "`offchain verifier stake N`")),
        (None, 5, True, ("no signing key", "`offchain verifier enroll`")),
        (G1(1, 2), 5, False, ("no file with its", "`offchain verifier enroll`; then start it again")),
    ],
)
def test_what_a_verifier_lacks(point: G1 | None, stake: int, has_key: bool, missing: tuple[str, str] | None) -> None:
    doubt = not_drawn(Standing(point, 0, stake, stake, 0, 0), has_key)
    if missing is None:
        assert doubt is None
    else:
        assert doubt is not None and missing[0] in doubt[0] and doubt[1] == missing[1]


def test_that_somebody_was_faster_is_no_failure(town: Town) -> None:
    task = town.post(TASK)
    worker = town.worker("solver", "solver", "solver")
    town.until(lambda: town.status(task) is Status.TRAINING)
    worker._attempt(Award(task), partial(worker.chain.award, task))
    (overtaken,) = town.told(Overtaken)
    assert overtaken.level == "debug" and "WrongStatus" in overtaken.answer
    assert not town.told(Failed)


def test_a_worker_that_drains_ends_what_it_holds_and_then_itself(town: Town) -> None:
    task = town.post(TASK)
    worker = town.worker("solver", "solver", "solver")
    town.until(lambda: town.told(BidSent))
    draining.request(town.folder / "solver", linger=0)
    later = town.post(TASK)
    town.until(lambda: town.status(task) is Status.TRAINING)
    town.until(lambda: town.told(Drained), idle=300)
    assert town.status(task) is Status.COMPLETED
    assert town.told(Draining) == [Draining(True, (f"task {task}",))]
    assert {event.task: event.kind for event in town.told(Declined)} == {later: "draining"}
    assert worker._stop.is_set()
