"""A training that ends with an evaluation, in the market: its figure is audited and disputed like its updates."""

from __future__ import annotations

from functools import cache

from offchain.dispute.falsified import Falsehood, FalsifiedReplay
from offchain.lower import compile as lower
from offchain.market.view import Status
from offchain.task import Task
from offchain.worker.events import Audited, Challenged, DisputeOver
from offchain.worker.making import executor_factory
from tests.offchain.test_evaluated import INTERVAL, STEPS, a_job
from tests.support.town import Town, lying

FUSED = executor_factory("fused")  # which leaves out what a step does not read


@cache
def task() -> Task:
    return lower(a_job())


def test_all_its_checkpoints_are_right_for_who_replays_them(town: Town) -> None:
    number = town.post(task())
    town.worker("solver", "solver", "solver", executors=FUSED)
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: len(town.told(Audited, "verifier")) == task().intervals)
    town.until(lambda: town.status(number) is Status.COMPLETED, idle=100)
    audits = {event.checkpoint: event.right for event in town.told(Audited, "verifier")}
    assert task().steps > STEPS and audits == dict.fromkeys(range(task().intervals), True)


def test_a_false_figure_is_disputed_in_its_own_step(town: Town) -> None:
    number = town.post(task(), clock=300)
    last = task().steps - 1
    right = next(slot.index for slot in task().graph.slots if slot.spec.name == "evaluation.accuracy.sum")
    one_more = Falsehood(last, right, 0, 1 << 20)
    town.worker("cheat", "solver", "solver", executors=lying(one_more), replays=FalsifiedReplay)
    town.worker("verifier", "challenger", "verifier", executors=FUSED)
    town.until(lambda: town.status(number) is Status.SLASHED, idle=30)
    town.until(lambda: town.told(DisputeOver, "verifier"))
    assert town.told(DisputeOver, "verifier")[0].won
    assert town.told(Challenged, "verifier")[0].checkpoint == last // INTERVAL
