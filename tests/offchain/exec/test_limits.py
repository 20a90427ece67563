"""What an executor may take for a graph that nobody vouches for: told before it compiles or allocates anything."""

from __future__ import annotations

import numpy as np
import pytest

from offchain.errors import BadInput, OutOfMemory
from offchain.exec.base import Limits, Setting
from offchain.exec.eager.executor import TorchExecutor
from offchain.exec.fused.engines import known_good
from offchain.exec.fused.executor import FusedExecutor
from offchain.exec.fused.planner import FusedPlanner
from offchain.exec.make import make_executor
from offchain.exec.plan.memory import largest
from offchain.exec.plan.planning import ArenaShare
from offchain.exec.plan.shards import Joined, Share
from offchain.ir.graph import Axis, Graph, Input, Node, Source, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.ir.primitives import DType, Instr
from offchain.ir.program import ProgramBuilder
from offchain.native.jit import Compiler
from tests.support.strategies import over_state

F32 = DType.F32
GB = 10**9
FEW = np.zeros(4, np.float32)


def spread_product(rows: int, extent: int) -> Graph:
    """A product whose operand has `rows` times `extent` elements, read from four."""
    left = View(0, (Axis(1, 0, 2), Axis(0, 0, 4), Axis(0, 0, extent)))
    right = View(0, (Axis(0, 0, rows), Axis(1, 0, 2), Axis(0, 0, extent)))
    reads = tuple(Input(Source.STATE, 0, F32, 4, view) for view in (left, right))
    graph = over_state([Node(Kind.DOT, F32, (rows, 4), reads, extent, 2)], [FEW]).graph
    check(graph)
    return graph


def tree(depth: int, length: int) -> Graph:
    """A map that holds many values at once: sums of pairs of sums, none of which is written again."""
    builder = ProgramBuilder((length,))
    values = [builder.input(0, F32) * float(n) for n in range(1 << depth)]
    while len(values) > 1:
        half = len(values) // 2
        values = [a + b for a, b in zip(values[:half], values[half:], strict=True)]
    still = Input(Source.STATE, 0, F32, 4, View(0, (Axis(0, 0, length),)))
    graph = over_state([Node(Kind.MAP, F32, (length,), (still,), program=builder.finish(values[0]))], [FEW]).graph
    check(graph)
    return graph


@pytest.fixture
def never_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(*given: object) -> None:
        raise AssertionError("it was compiled before it was refused")

    monkeypatch.setattr(Compiler, "load", load)


@pytest.mark.usefixtures("never_compiled")
def test_an_operand_that_a_small_graph_spreads_is_counted() -> None:
    """Sources of 16 bytes, an output of 33 kB, and 8.6 GB or 4.3 in between."""
    graph = spread_product(1 << 11, 1 << 20)
    size, shape = r"[48]\.\d+ GB", r"\(2048, 4\)"
    said = rf"node 0 \(dot\) needs {size} for operands or totals of an output of shape {shape} \(a step needs {size}\)"
    with pytest.raises(OutOfMemory, match=f"^{said}: a step may take 1 GB$"):
        FusedExecutor(graph, [], [], Setting(limits=Limits(memory=GB)))


@pytest.mark.usefixtures("never_compiled")
@pytest.mark.parametrize("rows", [1 << 17, 1 << 20, (1 << 32) - 1])
def test_more_memory_than_a_machine_can_address(rows: int) -> None:
    with pytest.raises(OutOfMemory, match=r"^node 0 \(dot\) needs .* TB for operands or totals"):
        FusedExecutor(spread_product(rows, 1 << 30), [], [])


def test_values_of_a_program_are_counted_where_they_are_tensors() -> None:
    graph = tree(5, 1 << 26)
    with pytest.raises(OutOfMemory, match=r"^node 0 \(map\) needs 8\.\d+ GB to make an output of shape \(67108864,\)"):
        TorchExecutor(graph, [], [], Setting(limits=Limits(memory=4 * GB)))
    FusedExecutor(graph, [], [], Setting(limits=Limits(memory=4 * GB)))  # holds them in registers


@pytest.mark.usefixtures("never_compiled")
def test_kernels_are_counted_before_they_are_compiled() -> None:
    nodes = [Node(Kind.MAP, F32, (n,), (), program=(Instr.const(F32, n),)) for n in range(1, 9)]
    graph = over_state(nodes, [FEW]).graph
    with pytest.raises(BadInput, match=r"^the graph needs 8 kernels, of which 7 may be compiled$"):
        FusedExecutor(graph, [], [], Setting(limits=Limits(kernels=7)))


@pytest.mark.parametrize("name", ["reference", "torch", "fused"])
def test_what_stays_within_its_limits_is_made(name: str) -> None:
    graph = spread_product(4, 8)
    made = make_executor(name, graph, [], [], Setting(limits=Limits(memory=100_000, kernels=10)))
    state = [FEW, np.zeros(1, np.float32)]
    assert made.dump(made.step(made.load(state), 0))[0].tobytes() == FEW.tobytes()


def test_numbers_that_processes_join_count_for_the_node_that_has_most_of_them() -> None:
    """Two products lie in one buffer, of which the first begins and the second takes more."""
    nodes = [node for rows in (8, 64) for node in spread_product(rows, 2).nodes]
    graph = over_state(nodes, [FEW]).graph
    plan = FusedPlanner(Share(graph, (Joined(0, 2), Joined(0, 2))), known_good()).make()
    assert plan.largest == ArenaShare(4 * graph.nodes[1].length, 1, output=False)
    what, purpose, _ = largest(graph, plan)
    assert (what, purpose[:22]) == ("node 1 (dot)", "for operands or totals")
