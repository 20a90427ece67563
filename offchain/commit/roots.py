"""Domain-tagged roots of tensors, states, traces and graphs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from hashlib import sha256
from typing import Final

import numpy as np

from offchain.commit.merkle import LEAF, Tree, leaf_hash, root
from offchain.ir.arrays import Array as Array
from offchain.ir.arrays import canonical as canonical
from offchain.ir.arrays import dtype_of as dtype_of
from offchain.ir.arrays import numpy_dtype as numpy_dtype
from offchain.ir.encoding import encode_node, encode_slot
from offchain.ir.graph import CHUNK, Graph
from offchain.ir.primitives import DType

CHUNK_BYTES: Final = 4 * CHUNK
PARALLEL_CHUNKS: Final = 64  # chunks from which threads pay


def chunk(array: Array, index: int) -> bytes:
    """Bytes of chunk `index`, zero-padded to 4,096."""
    flat = array.reshape(-1)[index * CHUNK : (index + 1) * CHUNK]
    return flat.tobytes().ljust(CHUNK_BYTES, b"\0")


def chunk_hashes(array: Array) -> list[bytes]:
    """Leaf hashes of a flat tensor's chunks. Threads help: hashing releases the interpreter lock."""
    data = np.ascontiguousarray(array).reshape(-1).data.cast("B")
    whole = len(data) // CHUNK_BYTES

    def hashes(start: int, stop: int) -> list[bytes]:
        seed, out = sha256(LEAF), []
        for at in range(start * CHUNK_BYTES, stop * CHUNK_BYTES, CHUNK_BYTES):
            digest = seed.copy()
            digest.update(data[at : at + CHUNK_BYTES])
            out.append(digest.digest())
        return out

    workers = threads() if whole >= PARALLEL_CHUNKS else 1
    if workers == 1:
        out = hashes(0, whole)
    else:
        bounds = [whole * i // workers for i in range(workers + 1)]
        out = [h for part in _pool().map(hashes, bounds[:-1], bounds[1:]) for h in part]
    if len(data) % CHUNK_BYTES:
        out.append(leaf_hash(chunk(array, whole)))
    return out


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
    return tensor_root_of(dtype_of(array), array.size, root(chunk_hashes(array)))


def state_root_of(slots: int, tree: bytes) -> bytes:
    return sha256(b"\x03" + slots.to_bytes(4, "big") + tree).digest()


def state_tree(state: Sequence[Array]) -> Tree:
    """Tree over the tensor roots of a state, in slot order."""
    return Tree([tensor_root(array) for array in state])


def state_root(state: Sequence[Array]) -> bytes:
    """Root of a state: what a checkpoint commits to."""
    return state_root_of(len(state), state_tree(state).root)


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
