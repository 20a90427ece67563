"""What a player of a dispute claims to have computed: honest runs of small jobs, given one false part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Final

import numpy as np

from offchain.commit.merkle import Tree, leaf_hash, root
from offchain.commit.roots import chunk, graph_tree, state_root_of, tensor_root, tensor_root_of
from offchain.exec.reference import evaluate, sources_of
from offchain.ir.arrays import Array
from offchain.ir.graph import CHUNK, Axis, Graph, Input, Node, Slot, Source, TensorSpec, View
from offchain.ir.kinds import Kind
from offchain.ir.legality import check
from offchain.ir.primitives import DType, Instr, Op
from tests.support.evidence import Prover
from tests.support.strategies import Case

F, I = DType.F32, DType.I32  # noqa: E741


@dataclass(frozen=True, eq=False)
class Job:
    """A graph, what it reads, and for how long."""

    graph: Graph
    state: list[Array]
    constants: list[Array]
    datasets: list[Array]
    steps: int

    @property
    def interval(self) -> int:
        return self.graph.interval

    def points(self) -> range:
        """Numbers of the checkpoints."""
        return range(-(-self.steps // self.interval))


@dataclass(frozen=True)
class Lie:
    """One false word (in the padding, where `element` is beyond the output) of a node, or a false slot root."""

    step: int
    node: int = 0
    element: int = 0
    word: int = 0
    slot: int | None = None


class Run:
    """All steps of a job as one player tells them. What follows a lie is computed honestly from it."""

    def __init__(self, job: Job, lie: Lie | None = None) -> None:
        self.job, self.lie = job, lie
        self.states: list[list[Array]] = [job.state]
        self.state_roots: list[list[bytes]] = [[tensor_root(array) for array in job.state]]
        self.outputs: list[list[Array]] = []
        self.node_roots: list[list[bytes]] = []
        for t in range(job.steps):
            self._step(t)

    def _step(self, t: int) -> None:
        graph, before = self.job.graph, self.states[t]
        outputs: list[Array] = []
        self.outputs.append(outputs)
        for number, node in enumerate(graph.nodes):
            sources = sources_of(node, before, outputs, self.job.constants, self.job.datasets)
            outputs.append(self._told(t, number, evaluate(node, sources, t)))
        self.node_roots.append([self._node_root(t, number) for number in range(len(outputs))])
        after, roots = [], []
        for number, slot in enumerate(graph.slots):
            from_node = slot.source is Source.NODE
            after.append((outputs if from_node else before)[slot.index])
            told = (self.node_roots[t] if from_node else self.state_roots[t])[slot.index]
            lies = self.lie is not None and (self.lie.step, self.lie.slot) == (t, number)
            roots.append(leaf_hash(b"no tensor at all") if lies else told)
        self.states.append(after)
        self.state_roots.append(roots)

    def _lies_at(self, t: int, node: int) -> Lie | None:
        lie = self.lie
        return lie if lie is not None and lie.slot is None and (lie.step, lie.node) == (t, node) else None

    def _told(self, t: int, node: int, output: Array) -> Array:
        lie = self._lies_at(t, node)
        if lie is None or lie.element >= output.size:
            return output
        output = output.copy()
        output.view(np.uint32)[lie.element] = lie.word
        return output

    def chunks(self, t: int, node: int) -> list[bytes]:
        """The chunks of a node's output, with what was told of the padding."""
        array, lie = self.outputs[t][node], self._lies_at(t, node)
        parts = [chunk(array, i) for i in range(-(-array.size // CHUNK))]
        if lie is not None and lie.element >= array.size:
            at = lie.element % CHUNK * 4
            parts[-1] = parts[-1][:at] + lie.word.to_bytes(4, "little") + parts[-1][at + 4 :]
        return parts

    def chunk_tree(self, t: int, node: int) -> Tree:
        return Tree([leaf_hash(part) for part in self.chunks(t, node)])

    def _node_root(self, t: int, node: int) -> bytes:
        array, lie = self.outputs[t][node], self._lies_at(t, node)
        if lie is None or lie.element < array.size:
            return tensor_root(array)
        dtype = self.job.graph.nodes[node].dtype
        return tensor_root_of(dtype, array.size, root([leaf_hash(part) for part in self.chunks(t, node)]))

    def slots_tree(self, t: int) -> Tree:
        """Over the state after t steps."""
        return Tree(self.state_roots[t])

    def nodes_tree(self, t: int) -> Tree:
        return Tree(self.node_roots[t])

    def state_root(self, t: int) -> bytes:
        return state_root_of(len(self.state_roots[t]), self.slots_tree(t).root)

    def checkpoint(self, k: int) -> bytes:
        return self.state_root(min((k + 1) * self.job.interval, self.job.steps))

    @cache  # noqa: B019
    def prover(self, t: int) -> Told:
        """Opens the inputs of step t against what this player told of it."""
        return Told(Case(self.job.graph, self.states[t], self.job.constants, self.job.datasets, t), self)


class Told(Prover):
    """A prover over a player's own trees."""

    def __init__(self, case: Case, run: Run) -> None:
        super().__init__(case)
        self.run = run

    @cached_property
    def outputs(self) -> list[Array]:
        return self.run.outputs[self.case.t]

    @cached_property
    def trees(self) -> tuple[Tree, Tree, Tree]:
        t = self.case.t
        return self.run.nodes_tree(t), self.run.slots_tree(t), graph_tree(self.case.graph)


# --- jobs --------------------------------------------------------------------------------------------------------

COPY: Final = (Instr(Op.INPUT, 0),)


def whole(source: Source, index: int, dtype: DType, *shape: int) -> Input:
    """A tensor read in its own shape."""
    size = int(np.prod(shape))
    return Input(source, index, dtype, size, View.contiguous(shape))


def strided(source: Source, index: int, dtype: DType, length: int, shape: Sequence[int], *strides: int) -> Input:
    return Input(source, index, dtype, length, View.strided(tuple(shape), strides))


def finish(nodes: Sequence[Node], slots: Sequence[Slot], state: list[Array], data: list[Array], steps: int) -> Job:
    graph = Graph(
        nodes=tuple(nodes),
        slots=tuple(slots),
        constants=(),
        constant_roots=(),
        datasets=tuple(TensorSpec(f"data{i}", F, (a.size,)) for i, a in enumerate(data)),
        dataset_roots=tuple(map(tensor_root, data)),
        metrics=("loss",),
    )
    check(graph)
    return Job(graph, state, [], data, steps)


# Nodes of `every_kind`, by what they are.
ROWS, BATCH, DOT, WIDE, SUM, MAX, SCATTER, NEW, LOG, PADDED = range(10)
LONG: Final = 2_100  # three chunks, and a sum of 64 segments that 64 does not divide


@cache
def every_kind(steps: int = 5, interval: int = 3) -> Job:
    """A small step with every kind of node, a tensor of three chunks, and a maximum that also reads padding."""
    rng = np.random.default_rng(7)
    data = rng.standard_normal(24, dtype=np.float32)  # 8 rows of 3
    state = [rng.standard_normal(18, dtype=np.float32), np.zeros(24, np.float32), np.zeros(interval, np.float32)]
    rows = (Instr(Op.STEP), Instr(Op.INDEX, 0), Instr(Op.IADD, 0, 1), Instr.const(I, 7), Instr(Op.IAND, 2, 3))
    wave = (Instr(Op.INDEX, 0), Instr(Op.TO_FLOAT, 0), Instr(Op.INPUT, 0), Instr(Op.MUL, 1, 2))
    n = Source.NODE
    a, b = strided(n, BATCH, F, 12, (4, 6, 3), 3, 0, 1), strided(Source.STATE, 0, F, 18, (4, 6, 3), 0, 3, 1)
    long = whole(n, WIDE, F, LONG)
    beside = replace(
        whole(n, DOT, F, 24), view=View(0, (Axis(6, 0, 4), Axis(1, 0, 6)))
    )  # along k = 6 the view ends, and the maximum reads 0
    nodes = [
        Node(Kind.MAP, I, (4,), (), program=rows),
        Node(Kind.GATHER, F, (4, 3), (strided(Source.DATA, 0, F, 24, (4, 3, 8), 0, 1, 3),
                                      strided(n, ROWS, I, 4, (4, 3), 1, 0)), extent=8),
        Node(Kind.DOT, F, (4, 6), (a, b), extent=3, bits=21),
        Node(Kind.MAP, F, (LONG,), (strided(n, DOT, F, 24, (LONG,), 0),), program=wave),
        Node(Kind.SUM, F, (1,), (replace(long, view=View.strided((1, LONG), (0, 1))),), extent=LONG, bits=24),
        Node(Kind.MAX, F, (4,), (beside,), extent=7),
        Node(Kind.SCATTER_ADD, F, (8, 3), (strided(n, BATCH, F, 12, (8, 3, 4), 0, 1, 3),
                                           strided(n, ROWS, I, 4, (8, 3, 4), 0, 0, 1)), extent=4, bits=21),
        Node(Kind.MAP, F, (18,), (whole(Source.STATE, 0, F, 18), strided(n, SUM, F, 1, (18,), 0)),
             program=(Instr(Op.INPUT, 0), Instr(Op.INPUT, 1), Instr(Op.STEP), Instr.const(I, -20 & 0xFFFFFFFF),
                      Instr(Op.LDEXP, 1, 3), Instr(Op.ADD, 0, 4))),
        Node(Kind.MAP, F, (interval, 1), (strided(n, SUM, F, 1, (interval, 1), 0, 0),), program=COPY),
        Node(Kind.MAP, F, (1_030,), (strided(n, DOT, F, 24, (1_030,), 0),), program=COPY),
    ]  # fmt: skip
    slots = [
        Slot(TensorSpec("w", F, (18,)), n, NEW),
        Slot(TensorSpec("kept", F, (24,)), Source.STATE, 1),
        Slot(TensorSpec("log", F, (interval, 1)), n, LOG),
    ]
    return finish(nodes, slots, state, [data], steps)


@cache
def many(count: int = 300) -> Job:
    """More than 256 nodes, and more than 256 slots."""
    state = [np.full(1, i, np.float32) for i in range(count)] + [np.zeros(1, np.float32)]
    program = (Instr(Op.INPUT, 0), Instr(Op.ADD, 0, 0))
    nodes = [Node(Kind.MAP, F, (1,), (whole(Source.STATE, i, F, 1),), program=program) for i in range(count)]
    slots = [Slot(TensorSpec(f"s{i}", F, (1,)), Source.NODE, i) for i in range(count)]
    slots.append(Slot(TensorSpec("log", F, (1, 1)), Source.NODE, 0))
    return finish(nodes, slots, state, [], 1)


@cache
def tall(length: int = 265_000) -> Job:
    """One output of more than 256 chunks."""
    program = (Instr(Op.INDEX, 0), Instr(Op.TO_FLOAT, 0))
    nodes = [Node(Kind.MAP, F, (length,), (), program=program)]
    slots = [Slot(TensorSpec("log", F, (1, 1)), Source.STATE, 0)]
    return finish(nodes, slots, [np.zeros(1, np.float32)], [], 1)


@cache
def lengthy(steps: int = 600) -> Job:
    """One node, one slot, and an interval of more than 256 steps."""
    program = (Instr(Op.INPUT, 0), Instr(Op.STEP), Instr(Op.TO_FLOAT, 1), Instr(Op.ADD, 0, 2))
    item = strided(Source.STATE, 0, F, steps, (steps, 1), 0, 0)
    nodes = [Node(Kind.MAP, F, (steps, 1), (item,), program=program)]
    slots = [Slot(TensorSpec("log", F, (steps, 1)), Source.NODE, 0)]
    return finish(nodes, slots, [np.zeros(steps, np.float32)], [], steps)


@cache
def run(job: Job, lie: Lie | None = None) -> Run:
    return Run(job, lie)


def header(job: Job) -> tuple[int, int, int, int, bytes]:
    graph = job.graph
    return (len(graph.nodes), 0, len(graph.slots), len(graph.datasets), graph_tree(graph).root)
