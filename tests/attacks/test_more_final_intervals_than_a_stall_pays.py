"""Attack 19: more intervals are final than one `stall` pays for, so that it is refused for ever.

A solver commits more than 64 checkpoints, collects none, and leaves. `stall` pays at most 64 final intervals, and
is refused if any is left to pay. A requester that only knows `stall` repeats it for ever, and its money stays locked.
"""

from __future__ import annotations

from offchain.chain.deployment import COIN
from offchain.market.view import PAID_PER_CALL, Status
from offchain.worker.posting import follow
from tests.support import tasks
from tests.support.deployment import PARAMETERS, QUICK, Funded
from tests.support.town import Town

PRICE = 100 * COIN
GAS = COIN // 10  # more than anybody but the solver spends on it
STEPS = 100
DELIVERED = PAID_PER_CALL + 2
TERMS = {"steps": STEPS, "interval": 1, "max_price": PRICE, "interval_time": 10}


def left(place: Funded) -> int:
    """A task whose solver committed DELIVERED checkpoints at once, and was never seen again."""
    task = tasks.train(place, roots=[tasks.ROOT] * DELIVERED, **TERMS)
    place.clock.travel(10 * (DELIVERED + 1) + tasks.WINDOW)
    return task


def test_a_requester_who_follows_its_task_gets_its_money_back(town: Town) -> None:
    """It pays for what was delivered, and gas; who left is paid for that, and loses a tenth of its stake."""
    before = town.fortunes()
    task = left(town)
    statuses = [view.task(task).status for view in follow(town.chain("requester", QUICK), task, poll=0)]
    assert statuses == [Status.TRAINING, Status.TRAINING, Status.STALLED]  # it collected, and stalled
    net, now = town.net(before), town.fortunes()
    delivered = PRICE * DELIVERED // STEPS
    stake = town.quick("requester").terms(task).stake
    fee = PARAMETERS.post_fee
    assert now["requester"].tokens - before["requester"].tokens == -delivered - fee
    assert -delivered - fee - GAS < net["requester"]
    assert net["solver"] < delivered - stake // 10 < delivered
    assert net["rival"] == net["challenger"] == net["stranger"] == 0
