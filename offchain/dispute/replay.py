"""What a player of a dispute knows: every state root of an interval, and everything inside one step.

The solver replays what it claims, the challenger what is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
import numpy.typing as npt

from offchain.commit.merkle import Tree
from offchain.commit.roots import graph_tree, state_root, state_root_of, state_tree
from offchain.commit.trace import Outputs, TensorTree, Trace
from offchain.exec import reference
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Node, Source, address, coordinates
from offchain.ir.kinds import Kind, traits, unknown

Opening = tuple[list[bytes], list[bytes], bytes]  # IStepVerifier.Opening: refProof, chunkProof, chunk


def pair(exponents: Sequence[int]) -> tuple[int, int]:
    """A sum's one or two exponents as the contract takes them: 0 in place of a missing second one."""
    first, *rest = exponents
    return first, (*rest, 0)[0]


class Ledger:
    """What is the same in every step: the graph, its constants and datasets, and their trees."""

    def __init__(self, graph: Graph, constants: Sequence[Array], datasets: Sequence[Array]) -> None:
        self.graph = graph
        self.arrays = {Source.CONST: list(constants), Source.DATA: list(datasets)}
        self._trees: dict[tuple[Source, int], TensorTree] = {}

    @cached_property
    def tree(self) -> Tree:
        return graph_tree(self.graph)

    def leaf(self, source: Source, index: int) -> int:
        """Leaf of a constant, slot or dataset in the graph's tree."""
        before_slots = len(self.graph.nodes) + len(self.graph.constants)
        start = {
            Source.CONST: len(self.graph.nodes),
            Source.STATE: before_slots,
            Source.DATA: before_slots + len(self.graph.slots),
        }
        return start[source] + index

    def tensor(self, source: Source, index: int) -> TensorTree:
        key = (source, index)
        if key not in self._trees:
            self._trees[key] = TensorTree(self.arrays[source][index])
        return self._trees[key]


@dataclass
class Record:
    """One step from the inside: the state before it, and the output of every node."""

    ledger: Ledger
    t: int
    state: list[Array]
    before: Tree  # over the tensor roots of `state`
    trace: Trace

    def sources(self, node: Node) -> list[Array]:
        """The flat arrays that a node's inputs read, in the order of its inputs."""
        arrays = self.ledger.arrays
        return reference.sources_of(
            node, self.state, self.trace.sources(node), arrays[Source.CONST], arrays[Source.DATA]
        )

    def exponents(self, node: int, element: int) -> tuple[int, ...]:
        """The exponents by which the operands of a sum's element are scaled."""
        item = self.ledger.graph.nodes[node]
        return reference.exponents(item, self.sources(item), element)

    def terms(self, node: int, element: int) -> npt.NDArray[np.int64]:
        """Integer terms of a sum's element, in order of k."""
        item = self.ledger.graph.nodes[node]
        return reference.terms(item, self.sources(item), element)

    def open_inputs(
        self, nodes: Tree, index: int, element: int, k: int = 0, positions: Iterable[int] | None = None
    ) -> list[Opening]:
        """Openings of a node's inputs (or only of those at `positions`) at one element, with proofs in `nodes`."""
        node = self.ledger.graph.nodes[index]
        wanted = range(len(node.inputs)) if positions is None else positions
        out = []
        for position in wanted:
            at = self._address(node, position, element, k)
            if at is not None:
                item = node.inputs[position]
                tensor, proof = self._committed(nodes, item.source, item.index)
                opening = tensor.opening(at)
                out.append((proof, opening.proof, opening.chunk))
        return out

    def _address(self, node: Node, position: int, element: int, k: int) -> int | None:
        """Flat index that an input reads, None where it reads nothing."""
        coords = coordinates(element, node.shape)
        if len(node.view_shape(position)) == len(coords):
            return address(node.inputs[position].view, coords)
        if node.kind is Kind.GATHER:
            k = self._gather_index(node, element)
            if not 0 <= k < node.extent:
                return None
        elif not traits(node.kind).reduces:
            raise unknown(node.kind)
        return address(node.inputs[position].view, (*coords, k))

    def _gather_index(self, node: Node, element: int) -> int:
        at = self._address(node, 1, element, 0)
        return 0 if at is None else int(self.sources(node)[1][at])

    def _committed(self, nodes: Tree, source: Source, index: int) -> tuple[TensorTree, list[bytes]]:
        if source is Source.NODE:
            return self.trace.tensor(index), nodes.proof(index)
        if source is Source.STATE:
            return TensorTree(self.state[index]), self.before.proof(index)
        return self.ledger.tensor(source, index), self.ledger.tree.proof(self.ledger.leaf(source, index))


class Replay:
    """The steps of one interval, computed again from the state before it whenever a dispute needs them.

    `tree` is the tree of that state. The root of the slot `log` in it may be of a log whose content is not in `state`
    (docs/protocol.md, section 3).
    """

    def __init__(
        self, executor: Executor[Any], ledger: Ledger, start: int, state: Sequence[Array], tree: Tree | None = None
    ) -> None:
        self.executor, self.ledger, self.start = executor, ledger, start
        self._tree = tree or state_tree(state)
        self._first = executor.load(state)
        self._at, self._state = start, self._first
        self._roots = {start: state_root_of(len(ledger.graph.slots), self._tree.root)}
        self._record: Record | None = None

    def roots(self, counts: Iterable[int]) -> list[bytes]:
        """State roots after these numbers of steps."""
        return [self.root(count) for count in counts]

    def root(self, count: int) -> bytes:
        """State root after that many steps of the task."""
        if count not in self._roots:
            self._advance(count)
        return self._roots[count]

    def step(self, t: int) -> Record:
        """Everything inside step t. The record of the latest t is kept."""
        if self._record is None or self._record.t != t:
            self._advance(t)
            state = self.executor.dump(self._state)
            before = self._tree if t == self.start else state_tree(state)
            outputs = Outputs(self.ledger.graph, partial(self.executor.outputs, self._state, t))
            trace = Trace.of_step(outputs, before)
            self._record = self.record(t, state, before, trace)
        return self._record

    def record(self, t: int, state: list[Array], before: Tree, trace: Trace) -> Record:
        return Record(self.ledger, t, state, before, trace)

    def _advance(self, count: int) -> None:
        """Compute up to that many steps of the task, and the roots of the states on the way."""
        if count < self._at:
            self._at, self._state = self.start, self._first
        while self._at < count:
            state = self.executor.step(self._state, self._at)
            if self._at + 1 not in self._roots:
                self._roots[self._at + 1] = state_root(self.executor.dump(state))
            self._at, self._state = self._at + 1, state
