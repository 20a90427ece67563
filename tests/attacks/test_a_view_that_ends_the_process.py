"""Attack 21: a legal view that the fused executor cannot survive.

A thief posts a task whose graph sums five numbers through a view with one valid coordinate of k, where k's stride is
2^32 - 1. No address is outside the tensor. But LLVM keeps strides in 32 bits when it vectorises, takes this one for -1,
and makes the kernel read far outside. The worker that tries the task dies, and with it the defence of its other tasks.
Now such a view has another form, in which that stride is 0: a task file with the old form is refused as it is read.
"""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from offchain.errors import IllegalGraph, MalformedGraph
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.encoding import decode_node, encode_node
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.ir.primitives import Instr, Op
from offchain.market.view import Status
from offchain.store.taskfile import load_task, save_task
from offchain.worker.events import TaskFit, TaskUnfit
from offchain.worker.making import executor_factory
from tests.support import tasks
from tests.support.guarded import GuardedExecutor
from tests.support.town import Town
from tests.support.works import F, I, Work, every_kind

S = 1 << 32
STRIDES = [S - 1, S + 1, 1 - S, -S - 1]
KINDS = [Kind.SUM, Kind.MAX, Kind.DOT, Kind.SCATTER_ADD]


def deadly(kind: Kind = Kind.SUM, stride: int = S - 1, settled: bool = False) -> Work:
    """Five numbers reduced over k of 8, of which one coordinate is valid. x stays as it is, and so does the index."""
    rows = (Axis(0, 0, 2),) if kind is Kind.SCATTER_ADD else ()
    view = View(4 - stride, (*rows, Axis(-1, 0, 5), Axis(stride, 1, 2)))
    x = Input(Source.STATE, 0, F, 5, view.settled() if settled else view)
    index = Input(Source.STATE, 1, I, 8, View(0, (*rows, Axis(0, 0, 5), Axis(1, 0, 8))))
    inputs = {Kind.DOT: (x, x), Kind.SCATTER_ADD: (x, index)}.get(kind, (x,))
    reduced = Node(kind, F, (2, 5) if rows else (5,), inputs, 8, 0 if kind is Kind.MAX else 21)
    loss = Input(Source.NODE, 0, F, reduced.length, View(0, (Axis(0, 0, 2), Axis(0, 0, 1))))
    row = Node(Kind.MAP, F, (2, 1), (loss,), program=(Instr(Op.INPUT),))
    specs = TensorSpec("x", F, (5,)), TensorSpec("i", I, (8,)), TensorSpec("log", F, (2, 1))
    slots = tuple(Slot(spec, Source.STATE, n) for n, spec in enumerate(specs[:2]))
    graph = Graph((reduced, row), (*slots, Slot(specs[2], Source.NODE, 1)), (), (), (), (), ("loss",))
    state = np.arange(1, 6, dtype=np.float32), np.arange(8, dtype=np.int32), np.zeros(2, np.float32)
    return Work(graph, (), (), state, 4)


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_neither_decoded_nor_legal(kind: Kind, stride: int) -> None:
    graph = deadly(kind, stride).graph
    refusal = "input 0 has a view that is not in canonical form"
    with pytest.raises(IllegalGraph, match=rf"^node 0 \({kind.name.lower()}\): {refusal}$"):
        check(graph)
    with pytest.raises(MalformedGraph, match=rf"^node 0: {refusal}$"):
        decode_node(encode_node(graph.nodes[0]), "node 0")


@pytest.mark.parametrize("stride", STRIDES)
@pytest.mark.parametrize("kind", KINDS)
def test_its_legal_form_is_run_within_its_tensor(kind: Kind, stride: int) -> None:
    """And so is this form, by kernels that are made of it although no decoder accepts it: they take the legal one."""
    work = deadly(kind, stride, settled=True)
    check(work.graph)
    slow = ReferenceExecutor(work.graph, [], [])
    expected = [array.tobytes() for array in slow.outputs(slow.load(work.state), 0)]
    for graph in (work.graph, deadly(kind, stride).graph):
        with mock.patch("offchain.exec.base.check"):
            fast = GuardedExecutor(graph, [], [])
        assert [array.tobytes() for array in fast.outputs(fast.load(work.state), 0)] == expected


def test_a_worker_refuses_the_task_and_goes_on(town: Town, tmp_path: Path) -> None:
    before = town.fortunes()
    path = tmp_path / "deadly.file"
    save_task(deadly(), path)
    with pytest.raises(MalformedGraph, match="not in canonical form"):
        load_task(path)
    thief = town.post(deadly(), uri=f"file://{path}")
    town.worker("solver", "solver", "solver", executors=executor_factory("fused"))
    town.until(lambda: town.told(TaskUnfit, "solver"))
    assert {(event.task, event.why) for event in town.told(TaskUnfit)} == {
        (thief, "node 0: input 0 has a view that is not in canonical form")
    }
    tasks.lapse(town, thief)
    honest = town.post(every_kind(6))
    town.until(lambda: town.status(honest) is Status.TRAINING)
    town.until(lambda: town.status(honest) is Status.COMPLETED, seconds=120, idle=1_000)
    assert [event.task for event in town.told(TaskFit)] == [honest]
    town.dismiss("solver")
    net = town.net(before)
    assert net["requester"] < 0 < net["solver"]
    assert all(net[name] == 0 for name in ("rival", "challenger", "stranger"))
