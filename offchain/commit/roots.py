"""Domain-tagged roots of tensors, states, traces and graphs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256
from itertools import accumulate
from typing import Final

import numpy as np

from offchain.commit.hashing import hash_all
from offchain.commit.merkle import (
    ARITY,
    GROUP,
    HASH_BYTES,
    INNER,
    LEAF,
    Tree,
    leaf_hash,
    parents,
    root_of,
    separate,
)
from offchain.commit.messages import Hashes
from offchain.ir.arrays import Array, dtype_of
from offchain.ir.encoding import encode_node, encode_slot
from offchain.ir.graph import CHUNK, Graph
from offchain.ir.primitives import DType

CHUNK_BYTES: Final = 4 * CHUNK
BATCH: Final = 1 << 24  # bytes that are hashed together: caches still hold much of what was just computed
LARGE: Final = 8 * ARITY  # leaves of a tree that native code folds


def chunk(array: Array, index: int) -> bytes:
    """Bytes of chunk `index`, zero-padded to 4,096."""
    flat = array.reshape(-1)[index * CHUNK : (index + 1) * CHUNK]
    return flat.tobytes().ljust(CHUNK_BYTES, b"\0")


def chunk_hashes(array: Array) -> list[bytes]:
    """Leaf hashes of a flat tensor's chunks."""
    (leaves,) = _leaves([_flat(array)])
    return separate(leaves.tobytes())


def tensor_root_of(dtype: DType, length: int, chunk_tree: bytes) -> bytes:
    return sha256(b"\x02" + bytes([dtype]) + length.to_bytes(8, "big") + chunk_tree).digest()


def tensor_root(array: Array) -> bytes:
    """Root of a float32 or int32 tensor (any shape; flat order)."""
    (found,) = tensor_roots([array])
    return found


def tensor_roots(arrays: Iterable[Array]) -> Iterator[bytes]:
    """Roots of tensors in their order. Tensors are hashed, and released, as soon as there are BATCH bytes of them."""
    batch, size = list[Array](), 0
    for array in arrays:
        batch.append(_flat(array))
        size += max(array.nbytes, CHUNK_BYTES)
        if size >= BATCH:
            yield from _batch_roots(batch)
            batch, size = [], 0
    yield from _batch_roots(batch)


def _flat(array: Array) -> Array:
    """Contiguous, of 32-bit elements: its chunks are read where it lies. Raises KeyError."""
    dtype_of(array)
    return np.ascontiguousarray(array).reshape(-1)


def _batch_roots(arrays: Sequence[Array]) -> Iterator[bytes]:
    for array, leaves in zip(arrays, _leaves(arrays), strict=True):
        yield tensor_root_of(dtype_of(array), array.size, _root(leaves))


def _leaves(arrays: Sequence[Array]) -> Iterator[Hashes]:
    """Leaf hashes of flat tensors' chunks."""
    counts = [-(-array.size // CHUNK) for array in arrays]
    padded = np.zeros((sum(array.size % CHUNK > 0 for array in arrays), CHUNK), np.uint32)
    ends = list(accumulate(counts))
    firsts = [
        array.ctypes.data - CHUNK_BYTES * (end - count) for array, count, end in zip(arrays, counts, ends, strict=True)
    ]
    addresses = np.repeat(np.array(firsts, np.int64), counts) + CHUNK_BYTES * np.arange(sum(counts))
    cut = [n for n, array in enumerate(arrays) if array.size % CHUNK]
    for n, place in zip(cut, padded, strict=True):
        rest = arrays[n].size % CHUNK
        place[:rest] = arrays[n][-rest:].view(np.uint32)
        addresses[ends[n] - 1] = place.ctypes.data
    out = np.empty((len(addresses), HASH_BYTES), np.uint8)
    hash_all(LEAF, addresses, CHUNK_BYTES, out)
    return (out[end - count : end] for count, end in zip(counts, ends, strict=True))


def _root(leaves: Hashes) -> bytes:
    """`merkle.root`, of hashes in one array."""
    while len(leaves) >= LARGE:
        whole = len(leaves) // ARITY
        above = np.empty((-(-len(leaves) // ARITY), HASH_BYTES), np.uint8)
        hash_all(INNER, leaves.ctypes.data + GROUP * np.arange(whole), GROUP, above[:whole])
        if rest := leaves[whole * ARITY :].tobytes():
            above[-1] = np.frombuffer(parents(rest), np.uint8)
        leaves = above
    return root_of(leaves.tobytes())


def state_root_of(slots: int, tree: bytes) -> bytes:
    return sha256(b"\x03" + slots.to_bytes(4, "big") + tree).digest()


def state_tree(state: Sequence[Array]) -> Tree:
    """Tree over the tensor roots of a state, in slot order."""
    return Tree(list(tensor_roots(state)))


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
