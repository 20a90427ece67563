"""Attack 4: four disputes at once about one right checkpoint, each of which names another step.

Each dispute had a replay of its own, from the start of the interval, while all their clocks ran. The solver answered
them one after the other, lost the last ones by its clock, and was slashed. The bonds of all liars came back.
"""

from __future__ import annotations

import pytest

from offchain.chain.deployment import COIN
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.market.view import Status
from offchain.worker.events import Challenged, CommitSent, DisputeOver, DisputeSeen
from tests.support.tally import Tally
from tests.support.town import PRICE, Town, lying
from tests.support.works import DOT, every_kind

INTERVAL = 8
TASK = every_kind(2 * INTERVAL, INTERVAL)
LIARS = {"requester": 6, "rival": 1, "challenger": 4, "stranger": 3}  # and the step that each one lies about


@pytest.mark.slow
def test_every_liar_pays_and_the_interval_is_replayed_once(town: Town) -> None:
    before = town.fortunes()
    tally = Tally(town.folder / "tally")
    task = town.post(TASK)
    town.worker("solver", "solver", "solver", executors=tally)
    town.until(lambda: town.told(CommitSent, "solver"))
    computed = tally.steps()
    for person, step in LIARS.items():
        lie = lying(Falsehood(step, DOT, 0, 1 << 12))
        town.worker(person, person, "verifier", executors=lie, replays=FalsifiedReplay)
    town.until(lambda: len(town.told(Challenged)) == len(LIARS))
    town.until(lambda: len(town.told(DisputeOver, "solver")) == len(LIARS))
    assert len(town.told(DisputeSeen, "solver")) == len(LIARS)
    assert all(event.won for event in town.told(DisputeOver, "solver"))
    again = tally.steps() - computed
    assert all(again[t] == 1 for t in range(INTERVAL) if t not in LIARS.values())
    assert all(again[t] <= 4 for t in LIARS.values())  # with its trace, and twice to find what is opened
    town.until(lambda: len(town.told(CommitSent, "solver")) == 2)
    town.close_windows()
    town.until(lambda: town.status(task) is Status.COMPLETED)
    net = town.net(before)
    assert net["solver"] > PRICE
    assert all(net[liar] < -COIN // 2 for liar in LIARS)
