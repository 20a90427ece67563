"""Attack 12: twelve tasks at once, each of which fills most of the machine.

The worker bid on every one, as each fits alone, and missed the deadlines of all. Now its ledger holds what it has bid
on, with a dispute about each: it bids on what fits together, says why it leaves the others, and keeps every promise.
The needs are put into its notes, as if they had been measured: tests have no hour.
"""

from __future__ import annotations

from offchain.market.notes import Needs
from offchain.market.view import Status
from offchain.worker.events import BidSent, CommitSent, Declined, TaskFit
from tests.support import tasks
from tests.support.town import Town
from tests.support.works import every_kind

OFFERED = 12
TIMES = {"interval_time": 2_000, "clock": 1_000, "bidding_time": 500}


def test_twelve_tasks_that_each_fill_the_machine(town: Town) -> None:
    before = town.fortunes()
    offered = [town.post(every_kind(6, 3), **TIMES) for _ in range(OFFERED)]
    solver = town.worker("solver", "solver", "solver")
    while offered[-1] not in (view := solver.reader.read()):  # a look takes a second at most
        pass
    for task in offered:  # as it would have been measured
        solver.db.set_fit(view.task(task), Needs(memory=1_000, interval_seconds=1_100.0, dispute_seconds=450.0))
    town.meanwhile(lambda: len(town.told(Declined)) == OFFERED - 1)

    taken = {event.task for event in town.told(BidSent)}
    assert len(taken) == 1
    assert {event.task for event in town.told(Declined)} == set(offered) - taken
    assert "needs 110% of this machine's time" in town.told(Declined)[0].why

    town.clock.travel(500)
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows(*taken)
    town.until(lambda: all(town.status(task) is Status.COMPLETED for task in taken))
    assert not town.told(TaskFit)
    tasks.lapse(town, *set(offered) - taken)
    net = town.net(before)
    assert net["solver"] > 0
    assert net["rival"] == net["stranger"] == net["challenger"] == 0
