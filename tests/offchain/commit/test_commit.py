"""Commitments against the protocol page: trees, proofs, roots, traces."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from offchain.commit import hashing, merkle, roots
from offchain.commit.merkle import Position, Tree
from offchain.commit.trace import Outputs, TensorTree, Trace
from offchain.errors import BadBlob
from offchain.exec.reference import ReferenceExecutor
from offchain.ir.arrays import canonical, is_canonical
from offchain.ir.encoding import encode_node, encode_slot
from offchain.ir.graph import CHUNK, Source
from offchain.ir.primitives import DType
from tests.support.everything import everything
from tests.support.strategies import Case, graphs

COUNTS = [1, 2, 15, 16, 17, 31, 256, 257, 300, 4097]


def hashes(count: int) -> list[bytes]:
    return [sha256(count.to_bytes(4, "big") + i.to_bytes(4, "big")).digest() for i in range(count)]


def by_definition(level: list[bytes]) -> bytes:
    """Root of a tree, as the protocol page says it."""
    while len(level) > 1:
        level = [sha256(b"\x01" + b"".join(level[i : i + 16])).digest() for i in range(0, len(level), 16)]
    return level[0]


# --- trees -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", COUNTS)
def test_root_and_every_level(count: int) -> None:
    leaves = hashes(count)
    tree = Tree(leaves)
    assert tree.root == merkle.root(leaves) == by_definition(leaves)
    assert len(tree.levels) == merkle.depth(count) + 1
    for level, held in enumerate(tree.levels):
        assert len(held) == merkle.width_at(count, level)


@pytest.mark.parametrize("count", COUNTS)
def test_proof_climbs_to_the_root_from_any_level(count: int) -> None:
    tree = Tree(hashes(count))
    for level in range(len(tree.levels)):
        width = len(tree.levels[level])
        for index in {0, width // 2, width - 1}:
            up = len(tree.levels) - 1 - level
            proof = tree.proof(index, level)
            assert merkle.climb(tree.levels[level][index], index, width, up, proof) == tree.root


@pytest.mark.parametrize("count", [17, 300])
def test_climb_refuses_another_length_or_place(count: int) -> None:
    tree, leaves = Tree(hashes(count)), hashes(count)
    index, levels = count - 1, merkle.depth(count)
    proof = tree.proof(index)
    with pytest.raises(ValueError, match="too short"):
        merkle.climb(leaves[index], index, count, levels, proof[:-1])
    with pytest.raises(ValueError, match="too long"):
        merkle.climb(leaves[index], index, count, levels, [*proof, bytes(32)])
    with pytest.raises(ValueError, match="too short"):
        merkle.climb(leaves[index], count, count, levels, proof)
    for moved in (0, 1):
        full = tree.proof(moved)
        assert merkle.climb(leaves[5], moved, count, levels, full) != tree.root


@pytest.mark.parametrize("count", [*COUNTS, 70_000])
def test_reveals_lead_from_the_root_to_any_leaf(count: int) -> None:
    leaves = hashes(count)
    tree = Tree(leaves)
    for leaf in {0, count // 2, count - 1}:
        position, moves = Position.top(count), 0
        while position.level:
            children = tree.reveal(position)
            assert len(children) == len(position.children()) <= 256
            up = position.level - position.child_level
            folded = children
            for _ in range(up):
                folded = merkle.fold(folded)
            assert folded == [tree.hash_at(position)]
            chosen = leaf // merkle.ARITY**position.child_level
            assert chosen in position.children()
            position, moves = position.child(chosen), moves + 1
        assert tree.hash_at(position) == leaves[leaf]
        assert moves == -(-merkle.depth(count) // 2)


# --- tensors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 5000, CHUNK * 200 + 3])
@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_tensor_root_is_that_of_the_page(length: int, dtype: type[np.float32] | type[np.int32]) -> None:
    array = np.arange(length).astype(dtype)
    padded = array.tobytes() + bytes(-4 * length % 4096)
    leaves = [sha256(b"\0" + padded[i : i + 4096]).digest() for i in range(0, len(padded), 4096)]
    code = 1 if dtype is np.float32 else 2
    expected = sha256(b"\x02" + bytes([code]) + length.to_bytes(8, "big") + by_definition(leaves)).digest()
    assert roots.chunk_hashes(array) == leaves
    assert roots.tensor_root(array) == TensorTree(array).root == expected


def test_tensor_root_binds_dtype_and_length_and_takes_any_layout() -> None:
    zeros = np.zeros(10, np.float32)
    assert roots.tensor_root(zeros) != roots.tensor_root(zeros.view(np.int32))
    assert roots.tensor_root(zeros) != roots.tensor_root(np.zeros(11, np.float32))
    square = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert roots.tensor_root(square) == roots.tensor_root(square.reshape(-1))
    assert roots.tensor_root(square.T) == roots.tensor_root(np.array([0, 3, 1, 4, 2, 5], np.float32))
    for dtype in (np.float64, np.int16, np.dtype(">f4")):  # its chunks would be other bytes, or none of its own
        for function in (roots.tensor_root, roots.chunk_hashes):
            with pytest.raises(KeyError):
                function(np.zeros(3, dtype))
    with pytest.raises(ValueError, match="at least one leaf"):
        roots.tensor_root(np.zeros(0, np.float32))


def test_roots_of_many_sizes_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roots, "BATCH", 4 * CHUNK * 150)
    monkeypatch.setattr(roots, "LARGE", 40)
    monkeypatch.setattr(hashing, "MANY", 0)
    rng = np.random.default_rng(0)
    sizes = [1, CHUNK, CHUNK + 1, 16 * CHUNK, 7, 100 * CHUNK - 1, 600 * CHUNK + 5, 641 * CHUNK, 2, 3]
    arrays = [rng.integers(0, 100, size, np.int32) for size in sizes]
    expected = [
        roots.tensor_root_of(DType.I32, array.size, by_definition(roots.chunk_hashes(array))) for array in arrays
    ]
    assert list(roots.tensor_roots(iter(arrays))) == expected
    assert list(roots.tensor_roots([])) == []


def test_only_a_batch_of_tensors_waits_for_its_roots(monkeypatch: pytest.MonkeyPatch) -> None:
    size, alive, most = 1 << 16, set[int](), 0
    monkeypatch.setattr(roots, "BATCH", 3 * size)

    def made() -> Iterator[np.ndarray]:
        nonlocal most
        for n in range(20):
            array = np.full(size // 4, n, np.float32)
            alive.add(n)
            weakref.finalize(array, alive.discard, n)
            most = max(most, len(alive))
            yield array
            del array

    assert list(roots.tensor_roots(made())) == [roots.tensor_root(array) for array in made()]
    assert most <= 5


def test_what_fails_while_tensors_are_made_surfaces() -> None:
    def made() -> Iterator[np.ndarray]:
        yield np.zeros(CHUNK * 100, np.float32)
        raise BadBlob("broken")

    with pytest.raises(BadBlob, match="broken"):
        list(roots.tensor_roots(made()))


def test_canonical_replaces_every_nan_and_nothing_else() -> None:
    words = np.array([0x7FC00000, 0xFFC00001, 0x7F800001, 0x7F800000, 0x80000000, 1], np.uint32)
    array = words.view(np.float32)
    assert not is_canonical(array)
    fixed = canonical(array)
    assert is_canonical(fixed)
    assert fixed.view(np.uint32).tolist() == [0x7FC00000] * 3 + words.tolist()[3:]
    assert array.view(np.uint32).tolist() == words.tolist()
    assert is_canonical(words.view(np.int32))


@given(st.integers(1, 5000), st.data())
def test_opening_folds_to_the_tensor(length: int, data: st.DataObject) -> None:
    array = np.arange(length, dtype=np.int32)
    element = data.draw(st.integers(0, length - 1))
    tree = TensorTree(array)
    opened = tree.opening(element)
    count = -(-length // CHUNK)
    leaf = merkle.leaf_hash(opened.chunk)
    top = merkle.climb(leaf, element // CHUNK, count, merkle.depth(count), opened.proof)
    assert roots.tensor_root_of(DType.I32, length, top) == tree.root
    assert len(opened.chunk) == 4096
    at = element % CHUNK * 4
    assert int.from_bytes(opened.chunk[at : at + 4], "little") == tree.word(element) == element


def test_opening_outside_the_tensor_is_refused() -> None:
    tree = TensorTree(np.zeros(1025, np.float32))
    for element in (-1, 1025):
        with pytest.raises(IndexError, match="no element"):
            tree.opening(element)
    for index in (-1, 2):
        with pytest.raises(IndexError, match="no chunk"):
            tree.chunk(index)


# --- states, graphs, traces --------------------------------------------------------------------------------------


@given(graphs(most=3))
def test_graph_root_is_that_of_the_page(case: Case) -> None:
    graph = case.graph
    leaves = [sha256(b"\0" + encode_node(node)).digest() for node in graph.nodes]
    leaves += graph.constant_roots
    leaves += [sha256(b"\0" + encode_slot(slot)).digest() for slot in graph.slots]
    leaves += graph.dataset_roots
    counts = (len(graph.nodes), len(graph.constants), len(graph.slots), len(graph.datasets))
    head = b"\x05" + b"".join(n.to_bytes(4, "big") for n in counts)
    assert roots.graph_root(graph) == sha256(head + by_definition(leaves)).digest()


@given(graphs(most=4))
def test_trace_ends_in_the_next_state(case: Case) -> None:
    executor = ReferenceExecutor(case.graph, case.constants, case.datasets)
    outputs, after = list(executor.outputs(case.state, case.t)), executor.step(case.state, case.t)
    trace = Trace(outputs, after)
    nodes = by_definition([roots.tensor_root(array) for array in outputs])
    count = len(after).to_bytes(4, "big")
    state = sha256(b"\x03" + count + by_definition([roots.tensor_root(array) for array in after])).digest()
    head = b"\x04" + len(outputs).to_bytes(4, "big")
    assert trace.state_root == state == roots.state_root(after)
    assert trace.root == sha256(head + nodes + state).digest()
    for n in range(len(outputs)):
        assert trace.tensor(n).root == trace.nodes.leaves[n]
        assert trace.tensor(n).tree is trace.tensor(n).tree


@given(graphs(most=5))
def test_trace_of_a_step_is_that_of_its_outputs(case: Case) -> None:
    """Though it keeps none of them, and computes again what is asked for: once for a node and all that it reads."""
    executor, runs = ReferenceExecutor(case.graph, case.constants, case.datasets), 0

    def run() -> Iterator[np.ndarray]:
        nonlocal runs
        runs += 1
        return executor.outputs(case.state, case.t)

    whole = list(executor.outputs(case.state, case.t))
    outputs = Outputs(case.graph, run)
    trace = Trace.of_step(outputs, roots.state_tree(case.state))
    assert trace.root == Trace(whole, executor.step(case.state, case.t)).root
    assert runs == 1
    assert len(outputs) == len(whole)
    assert [array.tobytes() for array in outputs] == [array.tobytes() for array in whole]
    for n, node in enumerate(case.graph.nodes):
        runs = 0
        assert trace.tensor(n).root == trace.nodes.leaves[n]
        assert outputs[n - len(whole)].tobytes() == whole[n].tobytes()
        sources = trace.sources(node)
        for item in node.inputs:
            if item.source is Source.NODE:
                assert sources[item.index].tobytes() == whole[item.index].tobytes()
        assert runs <= 1


def test_outputs_are_a_sequence() -> None:
    every = everything()
    executor = ReferenceExecutor(every.graph, every.constants, every.datasets)
    outputs = Outputs(every.graph, lambda: executor.outputs(executor.load(every.state), 0))
    whole = list(outputs)
    assert [array.tobytes() for array in outputs[1:9:3]] == [array.tobytes() for array in whole[1:9:3]]
    with pytest.raises(IndexError):
        outputs[len(whole)]


def test_trace_takes_a_next_state_that_its_nodes_do_not_make() -> None:
    outputs = [np.zeros(3, np.float32), np.ones(3, np.float32)]
    honest, false = Trace(outputs, [outputs[1]]), Trace(outputs, [np.full(3, 2, np.float32)])
    assert honest.slots.root == honest.nodes.leaves[1]
    assert false.slots.root == roots.tensor_root(np.full(3, 2, np.float32))
    assert false.nodes.root == honest.nodes.root
    assert false.root != honest.root
