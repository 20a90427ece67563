// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Merkle} from "../lib/Merkle.sol";

/// @title Merkle's internal functions, callable by tests
contract MerkleHarness {
    function depth(uint256 leaves) external pure returns (uint256) {
        return Merkle.depth(leaves);
    }

    function width(uint256 leaves, uint256 level) external pure returns (uint256) {
        return Merkle.width(leaves, level);
    }

    function leaf(bytes calldata content) external view returns (bytes32) {
        return Merkle.leaf(content);
    }

    function root(bytes32[] calldata leaves) external view returns (bytes32) {
        return Merkle.root(leaves);
    }

    function foldUp(bytes32[] calldata children, uint256 levels) external view returns (bytes32) {
        return Merkle.foldUp(children, levels);
    }

    function climb(bytes32 hash, uint256 index, uint256 count, uint256 levels, bytes32[] calldata proof)
        external
        view
        returns (bytes32)
    {
        return Merkle.climb(hash, index, count, levels, proof);
    }

    function tensorRoot(uint8 dtype, uint64 length, bytes32 tree) external pure returns (bytes32) {
        return Merkle.tensorRoot(dtype, length, tree);
    }

    function stateRoot(uint32 slots, bytes32 tree) external pure returns (bytes32) {
        return Merkle.stateRoot(slots, tree);
    }

    function traceRoot(uint32 nodes, bytes32 nodesTree, bytes32 stateAfter) external pure returns (bytes32) {
        return Merkle.traceRoot(nodes, nodesTree, stateAfter);
    }

    function graphRoot(uint32 nodes, uint32 constants, uint32 slots, uint32 datasets, bytes32 tree)
        external
        pure
        returns (bytes32)
    {
        return Merkle.graphRoot(nodes, constants, slots, datasets, tree);
    }
}
