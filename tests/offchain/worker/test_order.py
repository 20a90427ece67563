"""What has a deadline comes first, and nothing that strangers can make many of keeps it waiting."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import pytest

from offchain.market.actions import (
    Action,
    Award,
    Claim,
    Collect,
    Commit,
    Defend,
    DrawLot,
    Fetch,
    ObjectTo,
    Reveal,
    Reward,
    ShowKept,
    TakeOver,
    Vouch,
)
from offchain.market.view import ChainView, CheckpointView, Status, TaskView
from offchain.worker import runner
from offchain.worker.events import AwardSent
from offchain.worker.order import DEADLINES, in_order
from tests.support import tasks
from tests.support.tasks import unposted
from tests.support.town import Town

POINTS: Final = tuple(CheckpointView(bytes(32), 100 * k, 100 * k + 80, 0, "") for k in range(6))
TASK: Final = TaskView(
    0, unposted(interval_time=7, reveal_time=20), "0xHonest", "0xS", Status.TRAINING, 300, 210, 9, 0, POINTS,
    handover_ends=250,
)  # fmt: skip
SPAM: Final = tuple(replace(TASK, id=1 + n, requester="0xThief") for n in range(3))
VIEW: Final = ChainView("0xMe", 200, 0, True, (TASK, *SPAM), ())


def test_the_earliest_deadline_comes_first() -> None:
    rest: list[Action] = [Reward(1, 0, 0), Fetch(2), Collect(0)]
    urgent: list[Action] = [
        Defend(7), ShowKept(0, 0),
        Claim(0, 1), Vouch(0, 1),  # until 140 and 180
        Commit(0, 0, b""),  # until 217
        ObjectTo(0, 2), TakeOver(0), Vouch(0, 2), Reveal(0),  # until 240, 250, 280 and 320
    ]  # fmt: skip
    assert in_order(VIEW, [*rest, *reversed(urgent[2:]), *urgent[:2]]) == [urgent, rest, []]


def test_lots_are_drawn_last_and_each_requester_s_first_before_the_second_of_another() -> None:
    spam: list[Action] = [DrawLot(task.id, k) for task in SPAM for k in range(6)]
    honest: list[Action] = [DrawLot(0, 0), DrawLot(0, 1)]
    urgent, rest, lots = in_order(VIEW, [*spam, *honest, Fetch(0), Vouch(0, 1)])
    assert (urgent, rest) == ([Vouch(0, 1)], [Fetch(0)])
    assert lots[:4] == [spam[0], honest[0], spam[1], honest[1]] and lots[4:] == spam[2:]


def test_what_has_no_deadline_does_not_keep_the_next_look_waiting(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each transaction takes a block: whoever has thirty of them before it would see a deadline too late."""
    monkeypatch.setattr(runner, "LINGER", 1e-9)
    posted = [tasks.post(town) for _ in range(3)]
    town.clock.travel(1_000)
    worker = town.worker("requester", "requester", "requester")
    award, tried = worker._acts.table[Award], list[int]()
    worker._acts.table[Award] = lambda view, action: tried.append(action.task_id)
    for _ in range(2 * len(posted)):
        worker.cycle()
    assert sorted(tried[:3]) == posted and tried[3:] == tried[:3]  # what comes to nothing keeps no other from its turn
    worker._acts.table[Award] = award
    seen = []
    for _ in posted:
        worker.cycle()
        seen.append(len(town.told(AwardSent)))
    assert seen == [1, 2, 3]
    assert Award not in DEADLINES
