"""Where a task stands, what gets the money back, and what an account has to do by when."""

from __future__ import annotations

from dataclasses import replace

import pytest

from offchain.market.duties import Duty, duties
from offchain.market.keeping import Keeping
from offchain.market.stages import Stage, stage, waiting, way_back
from offchain.market.view import NOBODY, ChainView, CheckpointView, Status, TaskView
from tests.support.tasks import unposted

ME, OTHER = "0xMe", "0xOther"
TERMS = unposted(steps=30)  # three intervals of 10 steps, a minute for everything
BIDDING = TaskView(7, TERMS, ME, NOBODY, Status.BIDDING, 100, 0, 0, 0, ())
TRAINING = replace(BIDDING, solver=OTHER, status=Status.TRAINING, awarded_at=200, promised=20)
VACANT = replace(BIDDING, status=Status.VACANT, standby=OTHER, handover_ends=500)


def committed(*times: int, holds: int = 0, paid: int = 0) -> TaskView:
    points = tuple(CheckpointView(bytes(32), at, at + 60, holds, "") for at in times)
    return replace(TRAINING, checkpoints=points, paid=paid)


def view(task: TaskView, now: int, me: str = ME) -> ChainView:
    return ChainView(me, now, 0, True, (task,), ())


@pytest.mark.parametrize(
    ("task", "now", "said"),
    [
        (BIDDING, 50, Stage("taking sealed bids", 100, 160 + 180 + 60)),
        (BIDDING, 120, Stage("bids are shown", 160, 160 + 180 + 60)),
        (BIDDING, 170, Stage("to be awarded", None, 170 + 180 + 60)),
        (TRAINING, 210, Stage("training for checkpoint 0 of 0 to 2", 260, 260 + 60)),
        (TRAINING, 240, Stage("training for checkpoint 0 of 0 to 2", 260, 240 - 20 + 60 + 60)),  # it is late
        (committed(220), 225, Stage("training for checkpoint 1 of 0 to 2", 320, 260 + 60)),
        (committed(220, holds=1), 225, Stage("checkpoint 0 is disputed", None, 260 + 60)),
        (committed(220, 240, 260), 270, Stage("challenge window", 320, 320)),
        (committed(220, 240, 260), 321, Stage("to be collected")),
        (VACANT, 400, Stage("the runner-up may take over", 500)),
        (VACANT, 501, Stage("to be reopened")),
        (replace(TRAINING, status=Status.STALLED), 400, Stage("stalled")),
    ],
)
def test_stages(task: TaskView, now: int, said: Stage) -> None:
    assert stage(task, now) == said


KEPT = Keeping(kept=1, start=0, called_at=0, called_in=0, seats=3, granted=False)


@pytest.mark.parametrize(
    ("keeping", "now", "said"),
    [
        (KEPT, 290, Stage("checkpoint 1 waits for its keepers, or its requester's word", 300)),
        (KEPT, 301, Stage("checkpoint 1 was kept by too few: the second committee may be called")),
        (replace(KEPT, called_at=310), 320, Stage("checkpoint 1 waits for the second committee of keepers", 370)),
        (
            replace(KEPT, called_at=310),
            371,
            Stage("checkpoint 1 could not be had from anybody: its solver has stalled"),
        ),
        (replace(KEPT, kept=3), 320, None),
        (replace(KEPT, granted=True), 320, None),
    ],
)
def test_whom_a_task_waits_for_that_has_keepers(keeping: Keeping, now: int, said: Stage | None) -> None:
    """Nobody but time, for what is not over; then for who is to say that it can be had."""
    task = replace(committed(220, 240, 260), keeping=keeping)
    assert waiting(task, now) == said
    if now > 320:
        assert stage(task, now) == (said or Stage("to be collected"))


@pytest.mark.parametrize(
    ("task", "now", "said"),
    [
        (BIDDING, 50, "`offchain task cancel 7` gets it back, as long as"),
        (replace(BIDDING, leader=OTHER), 120, "`offchain task award 7` in 40 s"),
        (TRAINING, 210, "if checkpoint 0 is not there in 50 s, `offchain task stall 7`"),
        (committed(220, 240, 260), 270, "`offchain task collect 7` after the last challenge window"),
        (VACANT, 400, "`offchain task cancel 7` in 100 s gets it back"),
        (VACANT, 501, "`offchain task cancel 7` gets it back"),
    ],
)
def test_the_way_back(task: TaskView, now: int, said: str) -> None:
    assert said in way_back(view(task, now), task)


def test_nothing_is_to_be_got_back_from_a_task_that_is_over() -> None:
    over = replace(TRAINING, status=Status.COMPLETED)
    assert way_back(view(over, 0), over) == ""


def test_duties() -> None:
    sealed = replace(view(BIDDING, 110, OTHER), sealed=frozenset({(7, 0)}))
    assert duties(sealed) == [Duty(160, "show the bid", 7)]
    late = replace(sealed, now=1_000)
    assert duties(late) == [Duty(1_000, "settle a bid that was not shown", 7, must=False)]
    assert duties(view(BIDDING, 110)) == [Duty(160, "award", 7, must=False)]
    assert duties(view(committed(220), 225, OTHER)) == [
        Duty(320, "commit checkpoint 1", 7),
        Duty(281, "collect", 7, must=False),
    ]
    assert duties(view(VACANT, 400, OTHER)) == [Duty(500, "take over", 7)]
    assert duties(view(VACANT, 501, OTHER)) == []
