"""Attack 6: an interval's first step reads the old log, and the state is served without the log.

A requester and its friend, who trains, want the bond of a careful verifier. The requester's graph adds the last row of
the old log to a parameter. The friend commits what is right, and serves its states without the log, as the protocol
lets it. A verifier that starts from such a state reads zeros in place of the log, computes another root, disputes a
right checkpoint, and loses a bond that the requester chose.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from offchain.errors import BadBlob, IllegalGraph
from offchain.ir import legality
from offchain.ir.encoding import decode_graph, encode_graph
from offchain.ir.graph import Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.log import carried_rows
from offchain.ir.primitives import DType, Instr, Op
from offchain.market.view import Status
from offchain.store.checkpoint import load_state, save_state
from offchain.worker.events import Audited, Challenged, TaskFit, TaskUnfit
from tests.support import tasks
from tests.support.runs import Run
from tests.support.town import Town
from tests.support.works import F, Work, strided

INTERVAL, STEPS = 2, 4


def nosy() -> Work:
    """x grows by the last row of the old log, and by one; the log holds x."""
    add = (Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(Op.ADD, 0, 1), Instr.const(F, 0x3F800000), Instr(Op.ADD, 2, 3))
    x, log = strided(Source.STATE, 0, F, 1, (1,), 0), strided(Source.STATE, 1, F, INTERVAL, (1,), 0)
    last = Node(Kind.MAP, F, (1,), (x, replace(log, view=View(INTERVAL - 1, log.view.axes))), program=add)
    rows = Node(
        Kind.MAP, F, (INTERVAL, 1), (strided(Source.NODE, 0, F, 1, (INTERVAL, 1), 0, 0),), program=(Instr(Op.INPUT, 0),)
    )
    slots = (
        Slot(TensorSpec("x", F, (1,)), Source.NODE, 0),
        Slot(TensorSpec("log", F, (INTERVAL, 1)), Source.NODE, 1),
    )
    graph = Graph((last, rows), slots, (), (), (), (), ("loss",))
    return Work(graph, (), (), (np.ones(1, np.float32), np.zeros(INTERVAL, np.float32)), STEPS)


def serve(town: Town, work: Work, upto: int) -> str:
    """The state after so many steps, without its log, as a file of the friend's."""
    path = town.folder / f"{upto}.state"
    save_state(path, work.graph, Run(work).states[upto], log=False)
    return f"file://{path}"


def offered(town: Town, work: Work) -> int:
    """The friend trains the task and commits what is right; an honest verifier comes when the first window is over."""
    town.worker("honest solver", "rival", "solver")
    task, friend = town.post(work, challenge_window=1_000), town.quick("solver")
    town.until(lambda: town.told(TaskUnfit, "honest solver") or town.told(TaskFit, "honest solver"))
    town.dismiss("honest solver")
    tasks.auction(town, task, {"solver": 0})
    right = Run(work)
    friend.commit(task, 0, right.checkpoint(0), serve(town, work, INTERVAL))
    town.close_windows()
    town.quick("solver").collect(task)
    friend.commit(task, 1, right.checkpoint(1), serve(town, work, STEPS))
    town.worker("verifier", "challenger", "verifier", max_failures=1)
    return task


def test_nobody_takes_part_and_nobody_loses(town: Town) -> None:
    before = town.fortunes()
    task = offered(town, nosy())
    town.until(lambda: town.told(TaskUnfit, "verifier"))
    alone, asked_the_solver_too = (event.why for event in town.told(TaskUnfit))
    assert alone == REFUSAL
    assert asked_the_solver_too.startswith(f"{REFUSAL}; http://solver/")
    assert not town.told(TaskFit) and not town.told(Challenged)
    town.close_windows()
    town.quick("solver").collect(task)
    assert town.status(task) is Status.COMPLETED
    net = town.net(before)
    assert net["requester"] + net["solver"] < 0
    assert net["challenger"] == net["rival"] == net["stranger"] == 0


def test_without_the_rule_a_state_without_its_log_is_no_ground_for_a_dispute(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Defence in depth: a verifier whose rules miss such a graph computes from an earlier state, whose log it has."""
    monkeypatch.setattr(legality, "NODE_RULES", [rule for rule in legality.NODE_RULES if rule.__name__ != "_log"])
    before = town.fortunes()
    task = offered(town, nosy())
    town.until(lambda: town.told(Audited, "verifier"))
    assert [event.right for event in town.told(Audited)] == [True]
    town.close_windows()
    town.quick("solver").collect(task)
    assert not town.told(Challenged)
    net = town.net(before)
    assert net["requester"] + net["solver"] < 0
    assert net["challenger"] == net["rival"] == net["stranger"] == 0


REFUSAL = "node 0 (map): input 1 reads the log; only a gather by the rows that an interval has reached may read it"


def gathered(rows: int = INTERVAL, lo: int = 0, first: tuple[Instr, ...] = ()) -> Graph:
    """The log by a gather, whose row numbers are those of intervals of `rows` steps, or of another program."""
    program = first or carried_rows(rows)
    index = Node(Kind.MAP, DType.I32, (INTERVAL,), (), program=program)
    table = strided(Source.STATE, 0, F, INTERVAL, (INTERVAL, INTERVAL), 0, 1)
    at = Input(Source.NODE, 0, DType.I32, INTERVAL, View(0, (Axis(1, lo, INTERVAL),)).settled())
    kept = Node(Kind.GATHER, F, (INTERVAL,), (table, at), INTERVAL)
    return Graph((index, kept), (Slot(TensorSpec("log", F, (INTERVAL, 1)), Source.NODE, 1),), (), (), (), (), ("loss",))


def beside(slot: Slot) -> Graph:
    """The good graph with one more slot before the log."""
    good = gathered()
    nodes = (
        good.nodes[0],
        replace(good.nodes[1], inputs=(replace(good.nodes[1].inputs[0], index=1), good.nodes[1].inputs[1])),
    )
    return replace(good, nodes=nodes, slots=(slot, *good.slots))


BAD: dict[str, Callable[[], Graph]] = {
    "a map": lambda: nosy().graph,
    "rows of a longer interval": lambda: gathered(rows=4),
    "row 0 where the index is not read": lambda: gathered(lo=1),
    "any other rows": lambda: gathered(first=(Instr(Op.INDEX, 0),)),
    "another slot": lambda: beside(Slot(TensorSpec("x", F, (INTERVAL,)), Source.STATE, 1)),
}


def test_the_canonical_gather_may_read_the_log() -> None:
    legality.check(gathered())
    legality.check(beside(Slot(TensorSpec("x", F, (INTERVAL,)), Source.STATE, 0)))


@pytest.mark.parametrize("name", BAD)
def test_whatever_else_reads_the_log_is_refused(name: str) -> None:
    graph = decode_graph(encode_graph(BAD[name]()))
    with pytest.raises(IllegalGraph, match="the log"):
        legality.check(graph)


def test_a_log_that_no_step_writes_must_be_served(tmp_path: Path) -> None:
    """It is legal: it repeats itself. But zeros in its place would not be it."""
    log = Slot(TensorSpec("log", F, (INTERVAL, 1)), Source.STATE, 0)
    still = replace(gathered(), slots=(log,))
    legality.check(still)
    work, path = Work(still, (), (), (np.ones(INTERVAL, np.float32),), STEPS), tmp_path / "s"
    save_state(path, still, work.state, log=False)
    with pytest.raises(BadBlob, match="tensor is missing"):
        load_state(path, still, work.state_root)
    save_state(path, still, work.state)
    assert load_state(path, still, work.state_root)[0].tolist() == [1, 1]
