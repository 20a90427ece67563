"""States on the way through an interval: which of them a replay keeps, and what it hashes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, overload

from offchain.commit.merkle import Tree
from offchain.commit.roots import state_root_of, tensor_roots
from offchain.commit.trace import TensorTree
from offchain.exec.base import Executor, state_after
from offchain.ir.arrays import Array
from offchain.ir.graph import Graph, Source

SLOT_BYTES: Final = 1 << 10  # of the objects that hold one slot of one state


def changing(graph: Graph) -> list[int]:
    """The slots that a step can change: all but those that repeat themselves."""
    return [n for n, slot in enumerate(graph.slots) if (slot.source, slot.index) != (Source.STATE, n)]


def point_bytes(graph: Graph) -> int:
    """What one more state takes: the slots that a step can change, and what Python needs for each."""
    return sum(4 * graph.slots[n].spec.length + SLOT_BYTES for n in changing(graph))


def states_kept(state_bytes: int, budget: int) -> int:
    """How many states of `point_bytes` a replay of that budget keeps between the first and the latest."""
    return budget // 2 // max(1, state_bytes)


@dataclass(frozen=True)
class Point:
    """A state after `count` steps of a task, with the roots of its tensors as far as they are known.

    A slot that repeats a slot of the state before has that one's root: it is not hashed again.
    """

    executor: Executor[Any]
    count: int
    state: Any
    leaves: list[bytes | None]

    @classmethod
    def at(cls, executor: Executor[Any], count: int, state: Any, tree: Tree | None = None) -> Point:
        """A state of which no root is known, or all of them."""
        leaves: list[bytes | None] = [*tree.leaves] if tree else [None] * len(executor.graph.slots)
        return cls(executor, count, state, leaves)

    def after(self) -> Point:
        """The next one."""
        graph = self.executor.graph
        leaves = state_after(graph, self.leaves, [None] * len(graph.nodes))
        return Point(self.executor, self.count + 1, self.executor.step(self.state, self.count), leaves)

    def later(self, state: Any, steps: int) -> Point:
        """The one so many steps later, whose state this is."""
        changed = {*changing(self.executor.graph)}
        leaves = [None if n in changed else leaf for n, leaf in enumerate(self.leaves)]
        return Point(self.executor, self.count + steps, state, leaves)

    @property
    def root(self) -> bytes:
        """Of the state."""
        tree = self.tree()
        return state_root_of(len(tree.leaves), tree.root)

    def tree(self) -> Tree:
        """Over the roots of the tensors, of which the unknown ones are computed."""
        unknown = [n for n, leaf in enumerate(self.leaves) if leaf is None]
        for n, root in zip(unknown, tensor_roots(self.executor.lend(self.state, unknown)), strict=True):
            self.leaves[n] = root
        return Tree([leaf for leaf in self.leaves if leaf is not None])


class Kept:
    """Points between which the steps of an interval lie: the first, the latest, and at most `most` evenly spread."""

    def __init__(self, first: Point, most: int) -> None:
        self.first = self.latest = first
        self._most, self._stride, self._end = most, 1, -1
        self._points: dict[int, Point] = {}

    def expect(self, end: int) -> None:
        """Prepare for steps up to `end`: those between two points that are kept become as few as can be."""
        if end > self._end:
            self._end = end
            self._widen(-(-(end - self.first.count) // (self._most + 1)))

    def add(self, point: Point) -> None:
        self.latest = point
        if self._most and point.count != self._end and self._is_due(point.count):
            self._points[point.count] = point
            if len(self._points) > self._most:
                self._widen(2 * self._stride)

    def nearest(self, count: int) -> Point:
        """The last one at or before that many steps."""
        at = count - (count - self.first.count) % self._stride
        while at > self.first.count and at not in self._points:
            at -= self._stride
        found = self._points.get(at, self.first)
        return self.latest if found.count < self.latest.count <= count else found

    def _is_due(self, count: int) -> bool:
        return (count - self.first.count) % self._stride == 0

    def _widen(self, stride: int) -> None:
        if stride > self._stride:
            self._stride = stride
            self._points = {count: point for count, point in self._points.items() if self._is_due(count)}


class Slots(Sequence[Array]):
    """The arrays of a point's state, which are fetched from the executor and hashed when they are first asked for.

    Those that no step changes are fetched and hashed once for all points of a replay, by the slots of its first point.
    """

    def __init__(self, point: Point, first: Slots | None = None) -> None:
        self._point = point
        shared = first or self
        self._owners = [shared] * len(point.leaves)
        for n in changing(point.executor.graph):
            self._owners[n] = self
        self._arrays: dict[int, Array] = {}
        self._tensors: dict[int, TensorTree] = {}

    def __len__(self) -> int:
        return len(self._owners)

    @overload
    def __getitem__(self, n: int) -> Array: ...
    @overload
    def __getitem__(self, n: slice) -> list[Array]: ...
    def __getitem__(self, n: int | slice) -> Array | list[Array]:
        at = range(len(self))[n]
        return [self[i] for i in at] if isinstance(at, range) else self._owners[at]._array(at)

    def tensor(self, n: int) -> TensorTree:
        """A slot's array with its chunk tree."""
        return self._owners[n]._tensor(n)

    def _array(self, n: int) -> Array:
        if n not in self._arrays:
            (self._arrays[n],) = self._point.executor.lend(self._point.state, [n])
        return self._arrays[n]

    def _tensor(self, n: int) -> TensorTree:
        if n not in self._tensors:
            self._tensors[n] = TensorTree(self._array(n))
        return self._tensors[n]
