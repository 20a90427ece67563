"""What a player of a dispute knows: every state root of an interval, and everything inside one step.

The solver replays what it claims, the challenger what is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from offchain.commit.merkle import Tree
from offchain.commit.roots import graph_tree
from offchain.commit.trace import Outputs, TensorTree, Trace
from offchain.dispute.guesses import Guesses
from offchain.dispute.points import Kept, Point, Slots, point_bytes, states_kept
from offchain.exec import reference
from offchain.exec.ahead import Told
from offchain.exec.base import Executor
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Node, Source, address, coordinates
from offchain.ir.kinds import Kind, traits, unknown

BUDGET: Final = 1 << 30  # bytes that a replay keeps, where its maker names no number

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
    state: Slots
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
        self.trace.sources(node)  # in one pass
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
            return self.state.tensor(index), self.before.proof(index)
        return self.ledger.tensor(source, index), self.ledger.tree.proof(self.ledger.leaf(source, index))


class Replay:
    """The steps of one interval, computed from the state before it once for all disputes about it.

    `tree` is the tree of that state. The root of the slot `log` in it may be of a log whose content is not in `state`
    (docs/protocol.md, section 3).

    A challenger asks which of the roots that its solver revealed is wrong, and then for that step.

    Only roots that are asked for are computed, and in them only tensors that a step can change. Half of `budget` bytes
    goes to states in between, from which a disputed step is reached in few steps, and half to what was computed inside
    the latest disputed steps; the state before the interval, and two states and a node's output with its inputs at a
    time, come on top. Used by one thread at a time.

    Attributes:
        told: for a challenger, what the solver says that the steps of this very interval output: many are made at once
            by it (`Guesses`), for one list of roots.
        failed: why that raised an error, "" if it did not; its steps were made one by one.
    """

    def __init__(
        self,
        executor: Executor[Any],
        ledger: Ledger,
        start: int,
        state: Sequence[Array],
        tree: Tree | None = None,
        budget: int = BUDGET,
    ) -> None:
        self.executor, self.ledger, self.start = executor, ledger, start
        self.told: Told | None = None
        self.failed = ""
        self._share, self._room = budget // 2, states_kept(point_bytes(ledger.graph), budget)
        first = Point.at(executor, start, executor.load(state), tree)
        self._kept = Kept(first, self._room)
        self._met = first  # the state before the piece that was found wrong, by the roots that the solver revealed
        self._slots = Slots(first)
        self._roots: dict[int, bytes] = {}
        self._records: dict[int, Record] = {}  # by step, the latest last

    def roots(self, counts: Iterable[int]) -> list[bytes]:
        """State roots after these numbers of steps, all of which are computed in one pass."""
        wanted = list(counts)
        self._kept.expect(max(wanted, default=self.start))
        for count in sorted(wanted):
            self.root(count)
        return [self.root(count) for count in wanted]

    def root(self, count: int) -> bytes:
        """State root after that many steps of the task."""
        if count not in self._roots:
            self._roots[count] = self._reach(count).root
        return self._roots[count]

    def contradicted(self, lo: int, ends: Sequence[int], roots: Sequence[bytes]) -> int | None:
        """Index of a revealed root to which the steps of its piece do not lead, from a state with the root before it.

        `lo` and `ends` are numbers of steps of the task; of the state after `lo` of them the root is undisputed. The
        steps of that piece are made one by one. None if all roots are right, all steps having been made so.
        """
        if lo != self.start:
            return self._wrong_after(self._before(lo), 0, ends, roots)
        told, self.told = self.told, None  # whatever goes wrong with it goes wrong once
        if told is not None:
            try:
                agreed, point = Guesses(self._kept.first, told, ends[-1], self._room).agreed(ends, roots)
                found = self._wrong_after(point, agreed, ends, roots)
            except Exception as error:  # whatever it is: no dispute depends on guesses, and its clock runs
                self.failed, found = f"{type(error).__name__}: {error}", None
            if found is not None:
                return found
        self._kept.expect(ends[-1])
        return next((i for i, end in enumerate(ends) if self.root(end) != roots[i]), None)

    def step(self, t: int) -> Record:
        """Everything inside step t. The latest records are kept."""
        found = self._records.pop(t, None) or self._traced(self._before(t))
        self._records[t] = found
        while len(self._records) > 1 and sum(self._size(record) for record in self._records.values()) > self._share:
            del self._records[next(iter(self._records))]
        return found

    def record(self, t: int, state: Slots, before: Tree, trace: Trace) -> Record:
        return Record(self.ledger, t, state, before, trace)

    def _traced(self, point: Point) -> Record:
        slots = self._slots if point is self._kept.first else Slots(point, self._slots)
        run, before = partial(self.executor.outputs, point.state, point.count), point.tree()
        trace = Trace.of_step(Outputs(self.ledger.graph, run, self._share), before)
        return self.record(point.count, slots, before, trace)

    def _wrong_after(self, point: Point, agreed: int, ends: Sequence[int], roots: Sequence[bytes]) -> int | None:
        """The first wrong root, going on step by step from a state whose root is the one after `agreed` pieces."""
        for i in range(agreed, len(ends)):
            before = point
            while point.count < ends[i]:
                point = point.after()
            if point.root != roots[i]:
                self._met = before
                return i
        return None

    def _before(self, t: int) -> Point:
        """The state before step t."""
        return self._met if self._met.count == t else self._reach(t)

    def _size(self, record: Record) -> int:
        outputs = record.trace.outputs
        return point_bytes(self.ledger.graph) + (outputs.bytes if isinstance(outputs, Outputs) else 0)

    def _reach(self, count: int) -> Point:
        """The state after that many steps of the task, from the nearest one that is kept."""
        point = self._kept.nearest(count)
        while point.count < count:
            point = point.after()
            self._kept.add(point)
        return point
