"""Trees that a dispute walks: of one tensor's chunks, and of all that a step computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from offchain.commit.merkle import Tree
from offchain.commit.roots import chunk, chunk_hashes, state_root_of, tensor_root, tensor_root_of, trace_root_of
from offchain.ir.arrays import Array, dtype_of
from offchain.ir.graph import CHUNK


@dataclass(frozen=True, slots=True)
class ChunkOpening:
    """A chunk and the siblings that fold its leaf to the chunk tree of its tensor."""

    proof: list[bytes]
    chunk: bytes


class TensorTree:
    """The chunk tree of one tensor, with the tensor at hand to open it."""

    def __init__(self, array: Array) -> None:
        self.array = np.ascontiguousarray(array).reshape(-1)
        self.dtype = dtype_of(self.array)
        self.length = self.array.size
        self.tree = Tree(chunk_hashes(self.array))
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


class Trace:
    """What a player claims that a step computed: the outputs of all nodes, and the next state.

    It takes both as given, whether or not they belong together: a false trace is built like a true one.
    """

    def __init__(self, outputs: Sequence[Array], next_state: Sequence[Array]) -> None:
        self.outputs = list(outputs)
        self.next_state = list(next_state)
        roots: dict[int, bytes] = {}  # by identity: a slot usually is the very array of the node that it repeats

        def root_of(array: Array) -> bytes:
            if id(array) not in roots:
                roots[id(array)] = tensor_root(array)
            return roots[id(array)]

        self.nodes = Tree([root_of(array) for array in self.outputs])
        self.slots = Tree([root_of(array) for array in self.next_state])
        self._trees: dict[int, TensorTree] = {}

    @property
    def state_root(self) -> bytes:
        """Root of the state after the step."""
        return state_root_of(len(self.next_state), self.slots.root)

    @property
    def root(self) -> bytes:
        return trace_root_of(len(self.outputs), self.nodes.root, self.state_root)

    def tensor(self, node: int) -> TensorTree:
        """The chunk tree of a node's output, made when first asked for."""
        if node not in self._trees:
            self._trees[node] = TensorTree(self.outputs[node])
        return self._trees[node]
