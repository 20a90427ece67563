"""Attack 2: 616 bytes of a legal graph whose first step takes minutes, posted while the solver is in a dispute.

The graph is a `sum` of 2^27 terms that all read the same element (stride 0). The solver ran it in its main loop, to see
how long a step takes, before it looked at the price; it was silent in its dispute, and was slashed. Now the work is
counted before anything runs; what could fit is tried in a process that is killed when it takes too long. `trial_time`
makes the test short: the terms allow two minutes a step.
"""

from __future__ import annotations

import numpy as np
import pytest

from offchain.chain.deployment import COIN
from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.ir.encoding import encode_graph
from offchain.ir.graph import Axis, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType
from offchain.market.view import Status
from offchain.store.taskfile import save_task
from offchain.task import Task
from offchain.worker.events import BidSent, CommitSent, DisputeOver, DisputeSeen, TaskUnfit
from offchain.worker.making import executor_factory
from tests.support import tasks
from tests.support.town import TERMS, Town, lying
from tests.support.works import DOT, every_kind, finish

F = DType.F32
TERMS_OF_SUM = 1 << 27
ACTUAL, HOPELESS = 1 << 12, 1 << 22  # elements: hours of work, and years


def bomb(elements: int) -> Task:
    """Each element is a sum of 2^27 terms, all of which read the state's only element."""
    view = View(0, (Axis(0, 0, elements), Axis(0, 0, TERMS_OF_SUM)))
    node = Node(Kind.SUM, F, (elements,), (Input(Source.STATE, 0, F, 1, view),), TERMS_OF_SUM, 8)
    slots = [
        Slot(TensorSpec("w", F, (1,)), Source.STATE, 0),
        Slot(TensorSpec("log", F, (1, 1)), Source.STATE, 1),
    ]
    return finish([node], slots, [np.ones(1, np.float32), np.zeros(1, np.float32)], [], 1)


def post(town: Town, task: Task, price: int) -> int:
    path = town.folder / f"{task.graph_root.hex()}.task"
    save_task(task, path)
    return tasks.post(town, task, **(TERMS | {"uri": f"file://{path}", "max_price": price, "bidding_time": 20_000}))


@pytest.mark.slow
def test_a_graph_whose_first_step_takes_minutes(town: Town) -> None:
    assert len(encode_graph(bomb(ACTUAL).graph)) < 616
    before = town.fortunes()
    task = town.post(every_kind(6, 3), bidding_time=5_000)
    fused = executor_factory("fused")
    town.worker("solver", "solver", "solver", executors=fused, trials="process", trial_time=0.5)
    town.meanwhile(lambda: town.told(BidSent), seconds=120)
    town.clock.travel(5_000)
    town.until(lambda: town.told(CommitSent))
    lie = Falsehood(2, DOT, 0, 1 << 12)
    town.worker("thief", "challenger", "verifier", executors=lying(lie), replays=FalsifiedReplay)
    town.until(lambda: town.told(DisputeSeen, "solver"))

    bombs = [post(town, bomb(ACTUAL), 10 * COIN), post(town, bomb(HOPELESS), 10 * COIN), post(town, bomb(ACTUAL), 1)]
    town.meanwhile(lambda: town.told(DisputeOver, "solver") and len(town.told(TaskUnfit, "solver")) >= 3, seconds=120)
    assert town.told(DisputeOver, "solver")[0].won
    why = {event.task: event.why for event in town.told(TaskUnfit, "solver")}
    assert set(why) == set(bombs)
    assert "a step took too long" in why[bombs[0]] and "a step took too long" in why[bombs[2]]
    assert "units of work a step" in why[bombs[1]]
    assert {event.task for event in town.told(BidSent)} == {task}

    town.dismiss("thief")
    town.until(lambda: len(town.told(CommitSent)) == 2)
    town.close_windows(task)
    town.until(lambda: town.status(task) is Status.COMPLETED)
    tasks.lapse(town, *bombs)
    net = town.net(before)
    assert net["challenger"] < 0 < net["solver"]
    assert net["rival"] == net["stranger"] == 0
