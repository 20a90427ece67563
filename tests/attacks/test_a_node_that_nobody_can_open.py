"""Attack 7: a map of 16 inputs from tensors of many chunks, all of which a dispute has to open.

A requester and its friend, who trains, want the pay of a task that nobody can dispute, or the stake of nobody: they
post a graph with a map whose last move needs more calldata than nodes take into their pools. The friend commits a
false element of that map. Whoever finds it walks there, cannot send the last move, loses by the clock, and its bond.
"""

from __future__ import annotations

import numpy as np
import pytest

from offchain.errors import IllegalGraph
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import MAX_INPUTS, Kind
from offchain.ir.legality import check
from offchain.ir.moves import MAX_CALLDATA, Counts, excess, of_node
from offchain.ir.primitives import DType, Instr, Op
from offchain.market.view import Status
from offchain.worker.events import Challenged, TaskFit, TaskUnfit
from tests.support import tasks
from tests.support.giants import Giant
from tests.support.town import Town
from tests.support.works import Work, whole

F = DType.F32
LENGTH = 300_000  # elements of a tensor: 293 chunks


def wide(length: int = LENGTH, inputs: int = MAX_INPUTS) -> Graph:
    """A step that adds up 16 slots, element for element, into the first."""
    shape = (16, length // 16)
    items = tuple(whole(Source.STATE, i, F, *shape) for i in range(inputs))
    code = [Instr(Op.INPUT, i) for i in range(inputs)]
    code += [Instr(Op.ADD, inputs + i - 1 if i else 0, i + 1) for i in range(inputs - 1)]
    nodes = (
        Node(Kind.MAP, F, shape, items, program=tuple(code)),
        Node(Kind.MAP, F, (1, 1), (), program=(Instr.const(F, 0),)),
    )
    slots = [Slot(TensorSpec(f"x{i}", F, (length,)), Source.STATE if i else Source.NODE, i) for i in range(inputs)]
    slots.append(Slot(TensorSpec("log", F, (1, 1)), Source.NODE, 1))
    return Graph(nodes, tuple(slots), (), (), (), (), ("loss",))


def wide_work() -> Work:
    state = [np.ones(LENGTH, np.float32) for _ in range(MAX_INPUTS)]
    return Work(wide(), (), (), (*state, np.zeros(1, np.float32)), 1)


def test_nobody_takes_part_and_nobody_loses(town: Town) -> None:
    """The workers say why before they lock anything; the requester gets its money back, and has paid for gas."""
    before = town.fortunes()
    task = town.post(wide_work())
    for name, person, role in (("honest solver", "solver", "solver"), ("other solver", "rival", "solver")):
        town.worker(name, person, role)
    town.until(lambda: len(town.told(TaskUnfit)) == 2)
    assert {event.why for event in town.told(TaskUnfit)} == {REFUSAL}
    assert not town.told(TaskFit)
    tasks.lapse(town, task)
    assert town.status(task) is Status.CANCELLED
    net = town.net(before)
    assert net["requester"] < 0
    assert all(net[name] == 0 for name in net if name != "requester")


def test_a_verifier_of_a_friend_s_task_stays_away(town: Town) -> None:
    before = town.fortunes()
    task, friend = town.post(wide_work()), town.quick("solver")
    tasks.auction(town, task, {"solver": 0})
    friend.commit(task, 0, bytes(range(32)), "memory://nothing")
    town.worker("verifier", "challenger", "verifier")
    town.until(lambda: town.told(TaskUnfit, "verifier"))
    town.clock.travel(100_000)
    friend.collect(task)
    assert not town.told(Challenged)
    net = town.net(before)
    assert net["requester"] + net["solver"] < 0
    assert all(net[name] == 0 for name in net if name not in ("requester", "solver"))


REFUSAL = "node 0 (map): its move nameElement needs up to 98,852 bytes of calldata, above 98,304"


def test_the_refused_move_is_as_large_as_they_say() -> None:
    """Of the largest tensors, the evidence alone is more than nodes take."""
    giant = Giant(wide(1 << 34), 0, 5)
    shown = giant.evidence(0, 5)
    assert sum(len(o.chunk) + 32 * len([*o.ref_proof, *o.chunk_proof]) for o in shown.openings) > MAX_CALLDATA
    with pytest.raises(IllegalGraph, match="nameElement needs up to"):
        check(giant.graph)


def joined(parts: int, overlap: int = 0) -> Node:
    """Parts end to end along one axis, each read in its own range, and a little beyond."""
    size = LENGTH // parts
    ranges = [(max(i * size - overlap, 0), min((i + 1) * size, LENGTH)) for i in range(parts)]
    items = tuple(Input(Source.STATE, i, F, LENGTH, View(0, (Axis(1, lo, hi),))) for i, (lo, hi) in enumerate(ranges))
    return Node(Kind.MAP, F, (LENGTH,), items, program=tuple(Instr(Op.INPUT, i) for i in range(parts)))


def test_only_what_one_element_reads_counts() -> None:
    counts = Counts(10, 0, 17, 0)

    def bytes_of(node: Node) -> int:
        return max(move.calldata for move in of_node(node, counts))

    def opened(inputs: int) -> int:
        return bytes_of(wide(inputs=inputs).nodes[0])

    one, two = opened(1), opened(2)
    opening = two - one
    assert bytes_of(joined(16)) < one + 1_000
    assert bytes_of(joined(16)) + 0.9 * opening < bytes_of(joined(16, overlap=100)) < two + 1_000


@pytest.mark.parametrize(("inputs", "legal"), [(12, True), (15, True), (16, False)])
def test_a_few_inputs_less_are_legal(inputs: int, legal: bool) -> None:
    assert (excess(wide(inputs=inputs).nodes[0], Counts.of(wide())) is None) == legal
