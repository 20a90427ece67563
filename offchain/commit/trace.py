"""The trees that a dispute walks: of the chunks of one tensor, and of everything that a step computed."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final, overload

import numpy as np

from offchain.commit.merkle import Tree
from offchain.commit.roots import (
    chunk,
    chunk_hashes,
    state_root_of,
    tensor_root,
    tensor_root_of,
    tensor_roots,
    trace_root_of,
)
from offchain.exec.base import state_after
from offchain.ir.arrays import Array, dtype_of
from offchain.ir.graph import CHUNK, Graph, Node, Source

TREES: Final = 64  # of tensors of one trace that are kept; the hashes of a chunk take a fiftieth of its bytes


@dataclass(frozen=True, slots=True)
class ChunkOpening:
    """A chunk and the siblings that fold its leaf to the chunk tree of its tensor."""

    proof: list[bytes]
    chunk: bytes


class TensorTree:
    """The chunk tree of one tensor, with the tensor, so that chunks can be opened."""

    def __init__(self, array: Array, tree: Tree | None = None) -> None:
        """`tree`: where it was made before."""
        self.array = np.ascontiguousarray(array).reshape(-1)
        self.dtype = dtype_of(self.array)
        self.length = self.array.size
        self.tree = tree or Tree(chunk_hashes(self.array))
        self.root = tensor_root_of(self.dtype, self.length, self.tree.root)

    def chunk(self, index: int) -> bytes:
        """The 4,096 bytes of a chunk. Raises IndexError outside the tensor."""
        if not 0 <= index < len(self.tree.leaves):
            raise IndexError(f"no chunk {index} in a tensor of {self.length} elements")
        return chunk(self.array, index)

    def opening(self, element: int) -> ChunkOpening:
        """Opens the chunk that holds an element. Raises IndexError outside the tensor."""
        if not 0 <= element < self.length:
            raise IndexError(f"no element {element} in a tensor of {self.length}")
        return ChunkOpening(self.tree.proof(element // CHUNK), self.chunk(element // CHUNK))

    def word(self, element: int) -> int:
        """An element as an unsigned word."""
        return int(self.array[element : element + 1].view(np.uint32)[0])


class Outputs(Sequence[Array]):
    """The outputs of the nodes of a step, computed again when they are asked for: together they far exceed a state.

    `run` computes them in order. The last one that was asked for is kept, with what its node reads: from then on a
    dispute is about that one. Those that were asked for before are kept as far as all fit into `budget` bytes.
    """

    def __init__(self, graph: Graph, run: Callable[[], Iterator[Array]], budget: int = 0) -> None:
        self.graph, self._run, self._budget = graph, run, budget
        self._kept: dict[int, Array] = {}  # the latest last

    def __len__(self) -> int:
        return len(self.graph.nodes)

    def __iter__(self) -> Iterator[Array]:
        return self._run()

    @overload
    def __getitem__(self, n: int) -> Array: ...
    @overload
    def __getitem__(self, n: slice) -> list[Array]: ...
    def __getitem__(self, n: int | slice) -> Array | list[Array]:
        at = range(len(self))[n]
        if isinstance(at, range):
            return [array for i, array in enumerate(self) if i in at]
        if at not in self._kept:
            self.keep({at, *inner_inputs(self.graph.nodes[at])})
        return self._kept[at]

    def keep(self, nodes: Collection[int]) -> None:
        """Keeps the outputs of these nodes, after one pass up to the last one that is not kept already."""
        for n in [n for n in self._kept if n in nodes]:
            self._kept[n] = self._kept.pop(n)
        missing = set(nodes) - self._kept.keys()
        if missing:
            self._make_room(nodes)
            run = islice(self._run(), max(missing) + 1)
            self._kept |= {n: _alone(array) for n, array in enumerate(run) if n in missing}

    @property
    def bytes(self) -> int:
        """Of the outputs that are kept."""
        return self._size(self._kept)

    def _make_room(self, nodes: Collection[int]) -> None:
        others = [n for n in self._kept if n not in nodes]
        while others and self._size({*nodes, *others}) > self._budget:
            del self._kept[others.pop(0)]

    def _size(self, nodes: Iterable[int]) -> int:
        return 4 * sum(self.graph.nodes[n].length for n in nodes)


def _alone(array: Array) -> Array:
    """The array in memory that it does not share with others, which would stay taken as long as it is kept."""
    base = array.base
    return array.copy() if isinstance(base, np.ndarray) and base.nbytes > array.nbytes else array


def inner_inputs(node: Node) -> list[int]:
    """The earlier nodes that a node reads."""
    return [item.index for item in node.inputs if item.source is Source.NODE]


class Trace:
    """What a player claims that a step computed: the outputs of all nodes, and the next state.

    It takes both as given, whether or not they belong together: a false trace is built like a true one.
    """

    def __init__(self, outputs: Sequence[Array], next_state: Sequence[Array]) -> None:
        self.outputs: Sequence[Array] = list(outputs)
        self.nodes = Tree(list(tensor_roots(self.outputs)))
        # by identity: a slot usually is the very array of the node that it repeats
        known = {id(array): root for array, root in zip(self.outputs, self.nodes.leaves, strict=True)}
        self.slots = Tree([known.get(id(array)) or tensor_root(array) for array in next_state])
        self._trees: dict[int, Tree] = {}

    @classmethod
    def of_step(cls, outputs: Outputs, before: Tree) -> Trace:
        """The trace of a step from a state with the tree `before`.

        Outputs are hashed in batches as they are computed, and let go.
        """
        trace = cls.__new__(cls)
        trace.outputs = outputs
        trace.nodes = Tree(list(tensor_roots(outputs)))
        trace.slots = Tree(state_after(outputs.graph, before.leaves, trace.nodes.leaves))
        trace._trees = {}
        return trace

    def sources(self, node: Node) -> Sequence[Array]:
        """`outputs`, after one pass that keeps those that a node reads."""
        if isinstance(self.outputs, Outputs):
            self.outputs.keep(inner_inputs(node))
        return self.outputs

    @property
    def state_root(self) -> bytes:
        """Root of the state after the step."""
        return state_root_of(len(self.slots.leaves), self.slots.root)

    @property
    def root(self) -> bytes:
        return trace_root_of(len(self.nodes.leaves), self.nodes.root, self.state_root)

    def tensor(self, node: int) -> TensorTree:
        """A node's output with its chunk tree, which is made when first asked for."""
        found = TensorTree(self.outputs[node], self._trees.pop(node, None))
        self._trees[node] = found.tree
        if len(self._trees) > TREES:
            del self._trees[next(iter(self._trees))]
        return found
