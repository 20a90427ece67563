"""Executors by name: what every one of them promises, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from offchain.dispute.falsified import Falsehood, FalsifiedExecutor
from offchain.errors import BadBlob, BadInput, IllegalGraph
from offchain.exec import Setting, make_executor
from offchain.exec.base import last_readers, state_after
from offchain.exec.make import EXECUTORS
from offchain.ir.arrays import Array
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.primitives import Instr, Op
from tests.offchain.exec.compared import (
    F32,
    copy_graph,
    words,
)
from tests.support.everything import everything


@pytest.mark.parametrize("name", EXECUTORS)
def test_step_leaves_its_argument_and_passes_slots_through(name: str) -> None:
    executor = make_executor(name, copy_graph(), [], [])
    given_state = [np.array([1, 2, 3], np.float32), np.zeros(3, np.float32), np.zeros(1, np.float32)]
    state = executor.load(given_state)
    after = executor.step(state, 0)
    executor.dump(after)[0][:] = 99
    given_state[0][:] = 77
    assert [a.tolist() for a in executor.dump(state)] == [[1, 2, 3], [0, 0, 0], [0]]
    assert [a.tolist() for a in executor.dump(after)] == [[2, 4, 6], [1, 2, 3], [0]]


@pytest.mark.parametrize("name", EXECUTORS)
@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(np.zeros(4, np.float32), id="length"),
        pytest.param(np.zeros(3, np.int32), id="dtype"),
        pytest.param(np.array([0, 0xFFC00000, 0], np.uint32).view(np.float32), id="nan"),
    ],
)
def test_load_refuses(name: str, bad: Array) -> None:
    executor = make_executor(name, copy_graph(), [], [])
    with pytest.raises(BadBlob, match="slot x"):
        executor.load([bad, np.zeros(3, np.float32), np.zeros(1, np.float32)])
    with pytest.raises(BadBlob, match="1 arrays for 3"):
        executor.load([bad])


@pytest.mark.parametrize("name", EXECUTORS)
def test_executor_refuses_an_illegal_graph(name: str) -> None:
    graph = copy_graph()
    reading_beyond = Input(Source.STATE, 0, F32, 3, View(1, (Axis(1, 0, 3),)))
    bad = Node(Kind.MAP, F32, (3,), (reading_beyond,), program=(Instr(Op.INPUT, 0),))
    with pytest.raises(IllegalGraph, match="outside its source"):
        make_executor(name, Graph((bad,), graph.slots, (), (), (), (), ("loss",)), [], [])


def test_make_executor_refuses_an_unknown_name() -> None:
    with pytest.raises(BadInput, match="no executor 'abacus'"):
        make_executor("abacus", copy_graph(), [], [])


def test_outputs_die_after_their_last_reader() -> None:
    def copy(source: Source, index: int) -> Node:
        read = Input(source, index, F32, 3, View.contiguous((3,)))
        return Node(Kind.MAP, F32, (3,), (read,), program=(Instr(Op.INPUT, 0),))

    made = (copy(Source.STATE, 0), copy(Source.NODE, 0), copy(Source.NODE, 1), copy(Source.NODE, 0))
    slots = (Slot(TensorSpec("x", F32, (3,)), Source.NODE, 2), Slot(TensorSpec("log", F32, (1, 1)), Source.STATE, 1))
    assert last_readers(Graph(made, slots, (), (), (), (), ("loss",))) == [(), (), (1,), (0, 3)]


@pytest.mark.parametrize("name", [*EXECUTORS, "falsified"])
def test_whoever_writes_to_an_output_changes_nothing_else(name: str) -> None:
    """Of a step of every node kind: neither later outputs, nor the state, nor the step that comes after."""
    work = everything()
    executor = make_executor("fused" if name == "falsified" else name, work.graph, work.constants, work.datasets)
    if name == "falsified":
        executor = FalsifiedExecutor(executor, work.ledger, Falsehood(0, work.names["y"], 3))
    state = executor.load(work.state)
    right = words(list(executor.outputs(state, 0)))
    for output, word in zip(executor.outputs(state, 0), right, strict=True):
        assert words([output]) == [word]
        output[:] = 77
    for array in (*list(executor.outputs(state, 0)), *executor.dump(state)):
        array[:] = 77
    assert words(list(executor.outputs(state, 0))) == right
    after = executor.dump(executor.step(state, 0))
    assert words(after) == words(state_after(work.graph, work.state, [np.array(w, np.uint32) for w in right]))


def test_the_reference_refuses_devices() -> None:
    with pytest.raises(BadInput, match=r"^executor reference runs on the CPU, not on cuda:1: take fused or torch$"):
        make_executor("reference", copy_graph(), [], [], Setting("cuda:1"))


def test_a_device_without_kernels_is_refused() -> None:
    with pytest.raises(BadInput, match=r"^executor fused has no kernels for mps: take --executor torch$"):
        make_executor("fused", copy_graph(), [], [], Setting("mps"))
