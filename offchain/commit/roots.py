"""Domain-tagged roots of tensors, states, traces and graphs."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from itertools import pairwise
from typing import Final

import numpy as np

from offchain.commit.leaves import CHUNK_BYTES, HASH_BYTES, MANY, leaf_hashes
from offchain.commit.merkle import Tree, leaf_hash, root
from offchain.ir.arrays import Array as Array
from offchain.ir.arrays import canonical as canonical
from offchain.ir.arrays import dtype_of as dtype_of
from offchain.ir.arrays import numpy_dtype as numpy_dtype
from offchain.ir.encoding import encode_node, encode_slot
from offchain.ir.graph import CHUNK, Graph
from offchain.ir.primitives import DType

PARALLEL_CHUNKS: Final = 2 * MANY  # from which threads pay
AHEAD: Final = 1 << 27  # bytes of tensors that wait to be hashed while the next ones are made


def chunk(array: Array, index: int) -> bytes:
    """Bytes of chunk `index`, zero-padded to 4,096."""
    flat = array.reshape(-1)[index * CHUNK : (index + 1) * CHUNK]
    return flat.tobytes().ljust(CHUNK_BYTES, b"\0")


class Hashing:
    """A tensor whose chunks are being hashed by all processors. Nobody may write to it until that is done."""

    def __init__(self, array: Array) -> None:
        self._array = np.ascontiguousarray(array).reshape(-1)
        self._dtype, self.bytes = dtype_of(self._array), self._array.nbytes
        whole = self._array.size // CHUNK
        self._leaves = np.empty((whole, HASH_BYTES), np.uint8)
        chunks = self._array[: whole * CHUNK].view(np.uint8).reshape(whole, CHUNK_BYTES)
        self._parts: list[Future[None]] = []
        if whole < PARALLEL_CHUNKS:
            leaf_hashes(chunks, self._leaves)
            return
        workers = threads()
        for start, stop in pairwise(whole * i // workers for i in range(workers + 1)):
            self._parts.append(_pool().submit(leaf_hashes, chunks[start:stop], self._leaves[start:stop]))

    def leaves(self) -> list[bytes]:
        """Leaf hashes of all chunks, when they are done."""
        for part in self._parts:
            part.result()
        raw = self._leaves.tobytes()
        out = [raw[at : at + HASH_BYTES] for at in range(0, len(raw), HASH_BYTES)]
        if self.bytes % CHUNK_BYTES:
            out.append(leaf_hash(chunk(self._array, len(out))))
        return out

    def root(self) -> bytes:
        return tensor_root_of(self._dtype, self._array.size, root(self.leaves()))


def chunk_hashes(array: Array) -> list[bytes]:
    """Leaf hashes of a flat tensor's chunks."""
    return Hashing(array).leaves()


def threads() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads(), thread_name_prefix="hash")


def tensor_root_of(dtype: DType, length: int, chunk_tree: bytes) -> bytes:
    return sha256(b"\x02" + bytes([dtype]) + length.to_bytes(8, "big") + chunk_tree).digest()


def tensor_root(array: Array) -> bytes:
    """Root of a float32 or int32 tensor (any shape; flat order)."""
    return Hashing(array).root()


def tensor_roots(arrays: Iterable[Array]) -> Iterator[bytes]:
    """Roots of tensors in their order; while one is hashed the next ones are made."""
    return (found for (found,) in _overlapped([array] for array in arrays))


def _overlapped(groups: Iterable[Sequence[Array]]) -> Iterator[list[bytes]]:
    """Tensor roots of groups that are made one after the other, at most AHEAD bytes ahead of what is hashed."""
    waiting, size = deque[list[Hashing]](), 0
    for group in groups:
        waiting.append([Hashing(array) for array in group])
        size += sum(item.bytes for item in waiting[-1])
        while size > AHEAD:
            done = waiting.popleft()
            yield [item.root() for item in done]
            size -= sum(item.bytes for item in done)
    while waiting:
        yield [item.root() for item in waiting.popleft()]


def state_root_of(slots: int, tree: bytes) -> bytes:
    return sha256(b"\x03" + slots.to_bytes(4, "big") + tree).digest()


def state_tree(state: Sequence[Array]) -> Tree:
    """Tree over the tensor roots of a state, in slot order."""
    return Tree(list(tensor_roots(state)))


def state_root(state: Sequence[Array]) -> bytes:
    """Root of a state: what a checkpoint commits to."""
    return state_root_of(len(state), state_tree(state).root)


def state_roots(states: Iterable[Sequence[Array]]) -> Iterator[bytes]:
    """Roots of states in their order; while one is hashed the next ones are computed."""
    return (state_root_of(len(found), root(found)) for found in _overlapped(states))


def trace_root_of(nodes: int, nodes_tree: bytes, next_state_root: bytes) -> bytes:
    return sha256(b"\x04" + nodes.to_bytes(4, "big") + nodes_tree + next_state_root).digest()


def graph_tree(graph: Graph) -> Tree:
    """Tree over the leaves of a graph: nodes, constants, slots, datasets."""
    nodes = [leaf_hash(encode_node(node)) for node in graph.nodes]
    slots = [leaf_hash(encode_slot(slot)) for slot in graph.slots]
    return Tree([*nodes, *graph.constant_roots, *slots, *graph.dataset_roots])


def graph_root_of(counts: tuple[int, int, int, int], tree: bytes) -> bytes:
    """`counts`: nodes, constants, slots, datasets."""
    return sha256(b"\x05" + b"".join(n.to_bytes(4, "big") for n in counts) + tree).digest()


def graph_counts(graph: Graph) -> tuple[int, int, int, int]:
    return len(graph.nodes), len(graph.constants), len(graph.slots), len(graph.datasets)


def graph_root(graph: Graph) -> bytes:
    """Root of a graph: what a task's terms name."""
    return graph_root_of(graph_counts(graph), graph_tree(graph).root)
