"""Merkle.sol and offchain.commit make the same hashes, and refuse the same proofs."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from web3.contract import Contract

from offchain.commit import merkle, roots
from offchain.ir.primitives import DType
from tests.support.draws import examples
from tests.support.reverts import reverts

REVEAL_GAS = 400_000  # of a reveal of 256 children, with its calldata
CASES = settings(max_examples=examples(30))


@pytest.fixture(scope="module")
def harness(deploy: Any) -> Contract:
    return deploy("MerkleHarness")


def leaves_of(count: int, seed: int = 0) -> list[bytes]:
    return [hashlib.sha256(f"{seed}:{i}".encode()).digest() for i in range(count)]


counts = st.one_of(st.integers(1, 40), st.sampled_from([15, 16, 17, 255, 256, 257, 272, 273, 300]))


@CASES
@given(counts)
def test_root(harness: Contract, count: int) -> None:
    assert harness.functions.root(leaves_of(count)).call() == merkle.root(leaves_of(count))


def test_root_of_nothing_reverts(harness: Contract) -> None:
    with reverts(harness, "EmptyTree"):
        harness.functions.root([]).call()


@given(st.integers(1, 2**34))
def test_depth(harness: Contract, count: int) -> None:
    assert harness.functions.depth(count).call() == merkle.depth(count)


def test_depth_of_nothing_reverts(harness: Contract) -> None:
    with reverts(harness, "EmptyTree"):
        harness.functions.depth(0).call()


@CASES
@given(st.integers(1, 2**34), st.integers(0, 9))
def test_width(harness: Contract, count: int, level: int) -> None:
    assert harness.functions.width(count, level).call() == merkle.width_at(count, level)


@CASES
@given(st.integers(1, 5_000), st.data())
def test_fold_up(harness: Contract, count: int, data: st.DataObject) -> None:
    tree = merkle.Tree(leaves_of(count))
    level = data.draw(st.integers(0, len(tree.levels) - 1))
    index = data.draw(st.integers(0, len(tree.levels[level]) - 1))
    position = merkle.Position(count, level, index)
    children = tree.reveal(position)
    levels = level - position.child_level
    assert harness.functions.foldUp(children, levels).call() == tree.hash_at(position)


def test_fold_up_of_too_many_reverts(harness: Contract) -> None:
    with reverts(harness, "UnevenFold", 17, 1):
        harness.functions.foldUp(leaves_of(17), 1).call()
    with reverts(harness, "UnevenFold", 2, 0):
        harness.functions.foldUp(leaves_of(2), 0).call()
    with reverts(harness, "EmptyTree"):
        harness.functions.foldUp([], 1).call()


def test_reveal_gas(harness: Contract) -> None:
    assert harness.functions.foldUp(leaves_of(256), 2).estimate_gas() < REVEAL_GAS


@CASES
@given(st.integers(1, 5_000), st.data())
def test_climb(harness: Contract, count: int, data: st.DataObject) -> None:
    tree = merkle.Tree(leaves_of(count))
    level = data.draw(st.integers(0, len(tree.levels) - 1))
    width = len(tree.levels[level])
    index = data.draw(st.integers(0, width - 1))
    levels = data.draw(st.integers(0, len(tree.levels) - 1 - level))
    proof = tree.proof(index, level, levels)
    arguments = (tree.levels[level][index], index, width, levels, proof)
    expected = tree.levels[level + levels][index // 16**levels]
    assert merkle.climb(*arguments) == expected
    assert harness.functions.climb(*arguments).call() == expected


@CASES
@given(st.integers(2, 600), st.data())
def test_climb_with_a_changed_proof_ends_elsewhere(harness: Contract, count: int, data: st.DataObject) -> None:
    tree = merkle.Tree(leaves_of(count))
    index = data.draw(st.integers(0, count - 1))
    proof = tree.proof(index)
    place = data.draw(st.integers(0, len(proof) - 1))
    proof[place] = bytes([proof[place][0] ^ 1]) + proof[place][1:]
    depth = merkle.depth(count)
    assert harness.functions.climb(tree.leaves[index], index, count, depth, proof).call() != tree.root


@pytest.mark.parametrize("change", [-1, 1])
def test_climb_with_another_length_reverts(harness: Contract, change: int) -> None:
    tree = merkle.Tree(leaves_of(40))
    proof = tree.proof(33)  # 7 beside it in the last group, then 2
    assert len(proof) == 9
    changed = proof[:-1] if change < 0 else [*proof, proof[0]]
    with reverts(harness, "ProofLength", 9, 9 + change):
        harness.functions.climb(tree.leaves[33], 33, 40, 2, changed).call()
    with pytest.raises(ValueError, match="proof is too"):
        merkle.climb(tree.leaves[33], 33, 40, 2, changed)


def test_climb_from_outside_reverts(harness: Contract) -> None:
    with reverts(harness, "IndexOutOfRange", 40, 40):
        harness.functions.climb(bytes(32), 40, 40, 0, []).call()


@CASES
@given(st.binary(max_size=5_000))
def test_leaf(harness: Contract, content: bytes) -> None:
    assert harness.functions.leaf(content).call() == merkle.leaf_hash(content)


@CASES
@given(st.integers(1, 2**32 - 1), st.integers(0, 2**32 - 1), st.binary(min_size=32, max_size=32))
def test_tagged_roots(harness: Contract, a: int, b: int, tree: bytes) -> None:
    call = harness.functions
    assert call.stateRoot(a, tree).call() == roots.state_root_of(a, tree)
    assert call.traceRoot(a, tree, tree[::-1]).call() == roots.trace_root_of(a, tree, tree[::-1])
    assert call.graphRoot(a, b, 3, 4, tree).call() == roots.graph_root_of((a, b, 3, 4), tree)
    for dtype in DType:
        length = a << 32 | b
        assert call.tensorRoot(dtype, length, tree).call() == roots.tensor_root_of(dtype, length, tree)


@pytest.mark.parametrize("length", [1, 1024, 1025, 20_000])
def test_tensor_from_its_chunks(harness: Contract, length: int) -> None:
    array = np.arange(length, dtype=np.int32)
    chunks = [roots.chunk(array, i) for i in range(-(-length // 1024))]
    leaves = [harness.functions.leaf(content).call() for content in chunks]
    tree = harness.functions.root(leaves).call()
    assert harness.functions.tensorRoot(DType.I32, length, tree).call() == roots.tensor_root(array)
