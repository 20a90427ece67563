"""Attack 13: a task whose values become subnormal after step 0, and stay so.

Multiplications took 3.4 times as long as the trial had said. The graph looks at the step's number, so no state that
a trial may choose shows it. Now a step counts as slow as if every operation met subnormal values of which that can be
true, and a task whose terms leave no room for that is refused.
"""

from __future__ import annotations

import time
from statistics import median
from typing import Any

import numpy as np

from offchain.dispute.replay import Ledger
from offchain.exec.base import UNLIMITED
from offchain.ir.graph import Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import DType, Instr, Op
from offchain.task import Task
from offchain.worker import subnormal
from offchain.worker.events import BidSent, TaskUnfit
from offchain.worker.making import executor_factory
from offchain.worker.measure import measure
from tests.support import tasks
from tests.support.town import Town
from tests.support.works import finish

F, I = DType.F32, DType.I32  # noqa: E741
LENGTH, PRODUCTS, STEPS, LATE = 1 << 18, 40, 1_000, 500


def turning() -> Task:
    """From step LATE on, every product meets a subnormal number."""
    whole = Input(Source.STATE, 0, F, LENGTH, View.contiguous((LENGTH,)))
    program = [
        Instr(Op.INPUT, 0),
        Instr(Op.STEP),
        Instr.const(I, LATE),
        Instr(Op.ILT, 1, 2),  # 1 before LATE
        Instr.const(F, int(np.float32(1e-39).view(np.uint32))),
        Instr.const(F, int(np.float32(1.5).view(np.uint32))),
        Instr(Op.SELECT, 3, 5, 4),
        Instr.const(F, int(np.float32(0.9999).view(np.uint32))),
    ]
    at = 6
    for _ in range(PRODUCTS):
        program.append(Instr(Op.MUL, at, 7))
        at = len(program) - 1
    program.append(Instr(Op.ADD, at, 0))
    node = Node(Kind.MAP, F, (LENGTH,), (whole,), program=tuple(program))
    slots = [
        Slot(TensorSpec("w", F, (LENGTH,)), Source.NODE, 0),
        Slot(TensorSpec("log", F, (STEPS, 1)), Source.STATE, 1),
    ]
    return finish([node], slots, [np.ones(LENGTH, np.float32), np.zeros(STEPS, np.float32)], [], STEPS)


def seconds(executor: Any, state: Any, t: int) -> float:
    times = []
    for _ in range(9):
        began = time.monotonic()
        executor.step(state, t)
        times.append(time.monotonic() - began)
    return median(times)


def test_values_that_become_subnormal_after_the_trial(town: Town) -> None:
    before = town.fortunes()
    fused, task = executor_factory("fused"), turning()
    ledger = Ledger(task.graph, task.constants, task.datasets)
    executor = fused(ledger, UNLIMITED)
    state = executor.load(task.state)
    early, late = seconds(executor, state, 0), seconds(executor, state, LATE)
    figures = measure(task, ledger, executor, subnormal.measured(fused), 0)
    assert figures.cost.plain > min(0.7 * late, 2 * early)  # other processes make times differ

    fitting = int(1.5 * STEPS * early * 2)  # with headroom, if every step were like the first
    number = town.post(task, interval_time=max(fitting, 10), clock=2_000)
    town.worker("solver", "solver", "solver", executors=fused)
    if late > 2 * early:  # a processor that takes longer for subnormal numbers
        town.until(lambda: town.told(TaskUnfit))
        assert "computing an interval needs" in town.told(TaskUnfit)[0].why
        assert not town.told(BidSent)
        town.close()
        tasks.lapse(town, number)
        net = town.net(before)
        assert net.pop("requester") < 0
        assert set(net.values()) == {0}
