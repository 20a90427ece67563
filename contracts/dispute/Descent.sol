// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {Merkle} from "../lib/Merkle.sol";

/// @title The walk from a hash to the first wrong thing below it
/// @notice One descent serves every tree: the children two levels down are revealed, and one of them is named.
/// @dev Spans without a parent hash (steps, terms of a sum) are cut into pieces of equal length. The last may be
/// shorter.
library Descent {
    /// One hash of a tree.
    struct Position {
        bytes32 hash;
        uint64 leaves; // of the whole tree
        uint64 index; // among the hashes of its level
        uint8 level; // 0 for a leaf
    }

    uint256 private constant LEVELS = 2; // a reveal goes this far down: up to 256 children

    error HashMismatch(bytes32 expected, bytes32 actual);
    error ChildrenCount(uint256 expected, uint256 actual);
    /// The named hash is not below the revealed position.
    error OutsidePosition(uint256 index, uint256 level, uint256 positionIndex, uint256 positionLevel);
    /// Leaves are revealed, so a leaf must be named.
    error LeavesRevealed(uint256 level);

    function requireEqual(bytes32 expected, bytes32 actual) internal pure {
        if (expected != actual) revert HashMismatch(expected, actual);
    }

    /// @notice The position of a tree's root.
    function whole(uint256 leaves, bytes32 hash) internal pure returns (Position memory) {
        return Position({hash: hash, leaves: uint64(leaves), index: 0, level: uint8(Merkle.depth(leaves))});
    }

    /// @notice Level of the children that a reveal at this position shows.
    function childLevel(Position memory position) internal pure returns (uint256) {
        return position.level < LEVELS ? 0 : position.level - LEVELS;
    }

    /// @notice Reverts unless `children` are all children of the position and fold to it.
    function requireChildren(Position memory position, bytes32[] calldata children) internal view {
        uint256 level = childLevel(position);
        uint256 drop = position.level - level;
        uint256 rest = Merkle.width(position.leaves, level) - (uint256(position.index) << (4 * drop));
        uint256 expected = rest >> (4 * drop) == 0 ? rest : 1 << (4 * drop);
        if (children.length != expected) revert ChildrenCount(expected, children.length);
        requireEqual(position.hash, Merkle.foldUp(children, drop));
    }

    /// @notice The revealed child `index`, counted over its whole level. Reverts if it is a leaf.
    function subtree(Position memory position, uint64 index, bytes32 hash, bytes32[] calldata proof)
        internal
        view
        returns (Position memory)
    {
        uint256 level = childLevel(position);
        if (level == 0) revert LeavesRevealed(position.level);
        return _below(position, level, index, hash, proof);
    }

    /// @notice Leaf `index` of the tree, below the position. Its siblings need not have been revealed: a challenger who
    /// can prove a leaf from further up saves moves.
    function leafAt(Position memory position, uint64 index, bytes32 hash, bytes32[] calldata proof)
        internal
        view
        returns (Position memory)
    {
        return _below(position, 0, index, hash, proof);
    }

    /// @notice Length of a piece when a span is cut into at most `fan` pieces.
    function stride(uint256 span, uint256 fan) internal pure returns (uint256) {
        return _ceilDiv(span, fan);
    }

    /// @notice Number of these pieces.
    function pieces(uint256 span, uint256 fan) internal pure returns (uint256) {
        return _ceilDiv(span, stride(span, fan));
    }

    /// @notice Piece `i` of [a, b) cut into at most `fan`. The caller has checked that there are so many.
    function piece(uint32 a, uint32 b, uint32 i, uint256 fan) internal pure returns (uint32, uint32) {
        uint256 width = stride(b - a, fan);
        uint256 first = a + i * width;
        uint256 last = first + width;
        return (uint32(first), uint32(last < b ? last : b));
    }

    function _below(Position memory position, uint256 level, uint64 index, bytes32 hash, bytes32[] calldata proof)
        private
        view
        returns (Position memory)
    {
        uint256 levels = position.level - level;
        if (index >> (4 * levels) != position.index) {
            revert OutsidePosition(index, level, position.index, position.level);
        }
        uint256 count = Merkle.width(position.leaves, level);
        requireEqual(position.hash, Merkle.climb(hash, index, count, levels, proof));
        return Position({hash: hash, leaves: position.leaves, index: index, level: uint8(level)});
    }

    function _ceilDiv(uint256 a, uint256 b) private pure returns (uint256) {
        return (a + b - 1) / b;
    }
}
