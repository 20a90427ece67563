"""What a player of a dispute claims to have computed: an honest run of a small task, given one false part."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from offchain.commit.merkle import Tree, leaf_hash, root
from offchain.commit.roots import chunk, graph_tree, state_root_of, tensor_root, tensor_root_of
from offchain.exec.reference import evaluate, sources_of
from offchain.ir.arrays import Array
from offchain.ir.graph import CHUNK, Source
from tests.support.evidence import Prover
from tests.support.strategies import Case
from tests.support.works import Work


@dataclass(frozen=True)
class Lie:
    """One false word (in the padding, where `element` is beyond the output) of a node, or a false slot root."""

    step: int
    node: int = 0
    element: int = 0
    word: int = 0
    slot: int | None = None


class Run:
    """All steps of a task as one player claims them. What follows a lie is computed honestly from it."""

    def __init__(self, work: Work, lie: Lie | None = None) -> None:
        self.work, self.lie = work, lie
        self.states: list[list[Array]] = [list(work.state)]
        self.state_roots: list[list[bytes]] = [[tensor_root(array) for array in work.state]]
        self.outputs: list[list[Array]] = []
        self.node_roots: list[list[bytes]] = []
        for t in range(work.steps):
            self._step(t)

    def _step(self, t: int) -> None:
        graph, before = self.work.graph, self.states[t]
        outputs: list[Array] = []
        self.outputs.append(outputs)
        for number, node in enumerate(graph.nodes):
            sources = sources_of(node, before, outputs, self.work.constants, self.work.datasets)
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
        """The chunks of a node's output, with the padding that the player claims."""
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
        dtype = self.work.graph.nodes[node].dtype
        return tensor_root_of(dtype, array.size, root([leaf_hash(part) for part in self.chunks(t, node)]))

    def slots_tree(self, t: int) -> Tree:
        """The tree over the state after t steps."""
        return Tree(self.state_roots[t])

    def nodes_tree(self, t: int) -> Tree:
        return Tree(self.node_roots[t])

    def state_root(self, t: int) -> bytes:
        return state_root_of(len(self.state_roots[t]), self.slots_tree(t).root)

    def checkpoint(self, k: int) -> bytes:
        return self.state_root(min((k + 1) * self.work.interval, self.work.steps))

    @cache  # noqa: B019
    def prover(self, t: int) -> Told:
        """Opens the inputs of step t against this player's claims."""
        return Told(Case(self.work.graph, self.states[t], self.work.constants, self.work.datasets, t), self)


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


@cache
def run(work: Work, lie: Lie | None = None) -> Run:
    """The run of a task with this lie; computed once."""
    return Run(work, lie)
