"""Attack 3: a large state that a step hardly changes, many quick steps, and a short clock.

The worker timed one bare step, and found the task easy. In a dispute it hashed the whole state after every step, which
took longer than its clock: an honest solver was slashed, and an honest challenger lost its bond. Time is real here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from offchain.chain.client import GraphHeader
from offchain.dispute.falsified import Falsehood, FalsifiedExecutor, FalsifiedReplay
from offchain.dispute.replay import Ledger
from offchain.exec.base import UNLIMITED, Executor, Limits
from offchain.ir.graph import Node, Slot, Source, TensorSpec
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.market.view import Status
from offchain.worker.events import BidSent, Challenged, CommitSent, DisputeOver, Moved, TimedOut
from offchain.worker.making import executor_factory
from tests.support.town import PRICE, Town
from tests.support.works import Work, finish, strided, whole

F = DType.F32
LARGE = 16 << 20  # elements: 64 MB
STEPS = 1_000  # all of one interval
CLOCK = 60  # seconds; hashing all of the state 250 times takes longer, on an idle machine too
MOVE_TIME = 0.1  # seconds; this chain mines at once
BIDDING = 600  # seconds; a file of that size takes a while to be tried
FUSED = executor_factory("fused")


@pytest.fixture(scope="module")
def work() -> Work:
    """`w` grows by an element of `large`, which no step changes; `log` gets a row a step."""
    add = (Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(Op.ADD, 0, 1))
    first = strided(Source.STATE, 1, F, LARGE, (16,), 1)
    row = strided(Source.NODE, 0, F, 16, (STEPS, 1), 0, 0)
    nodes = [
        Node(Kind.MAP, F, (16,), (whole(Source.STATE, 0, F, 16), first), program=add),
        Node(Kind.MAP, F, (STEPS, 1), (row,), program=(Instr(Op.INPUT, 0),)),
    ]
    slots = [
        Slot(TensorSpec("w", F, (16,)), Source.NODE, 0),
        Slot(TensorSpec("large", F, (LARGE,)), Source.STATE, 1),
        Slot(TensorSpec("log", F, (STEPS, 1)), Source.NODE, 1),
    ]
    large = np.random.default_rng(0).standard_normal(LARGE, dtype=np.float32)
    return finish(nodes, slots, [np.zeros(16, np.float32), large, np.zeros(STEPS, np.float32)], [], STEPS)


def lie(ledger: Ledger, limits: Limits = UNLIMITED) -> Executor[Any]:
    return FalsifiedExecutor(FUSED(ledger, limits), ledger, Falsehood(700, 0, 3, 1 << 20))


def live(town: Town, condition: Callable[[], Any]) -> None:
    """Lets the workers look while the chain's clock goes as fast as everybody's."""
    limit = time.monotonic() + BIDDING
    while not condition():
        assert time.monotonic() < limit, town.events[-30:]
        for worker in town.workers.values():
            worker.cycle()


def committed(town: Town, work: Work, name: str, **options: Any) -> int:
    """The task, trained by a worker to its only checkpoint."""
    task = town.post(work, clock=CLOCK, bidding_time=BIDDING)
    town.worker(name, "solver", "solver", move_time=MOVE_TIME, **options)
    live(town, lambda: town.told(BidSent, name))
    town.clock.travel(BIDDING + 1)
    town.until(lambda: town.told(CommitSent, name))
    return task


def test_a_solver_answers_in_time_and_keeps_its_stake(town: Town, work: Work) -> None:
    before = town.fortunes()
    task = committed(town, work, "solver", executors=FUSED)
    town.quick("challenger").open(task, 0, GraphHeader.of(work.graph))
    live(town, lambda: town.told(Moved, "solver"))
    town.clock.travel(CLOCK + 1)  # the challenger only hoped that the solver would be late
    town.until(lambda: town.told(DisputeOver, "solver"))
    assert town.told(DisputeOver, "solver")[0].won and town.told(TimedOut, "solver")
    town.clock.travel(1_001)
    town.until(lambda: town.status(task) is Status.COMPLETED)
    net = town.net(before)
    assert net["solver"] > PRICE * 9 // 10
    assert net["challenger"] < 0


@pytest.mark.slow
def test_a_challenger_convicts_in_time(town: Town, work: Work) -> None:
    before = town.fortunes()
    task = committed(town, work, "cheat", executors=lie, replays=FalsifiedReplay)
    town.worker("verifier", "challenger", "verifier", executors=FUSED, move_time=MOVE_TIME)
    live(town, lambda: town.told(Challenged, "verifier"))
    live(town, lambda: town.told(DisputeOver, "verifier"))
    assert town.told(DisputeOver, "verifier")[0].won
    assert town.status(task) is Status.SLASHED
    net = town.net(before)
    assert net["solver"] < 0 < net["challenger"]
