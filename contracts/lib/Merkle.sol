// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

/// @title Domain-tagged SHA-256 and 16-ary trees
/// @notice The hashes of docs/protocol.md, section 3.
/// @dev A tree groups 16 consecutive hashes, level by level, until one is left; the last group of a level may be
/// smaller, and a tree of one leaf is that leaf. The root that holds a tree commits to its length or count, so a
/// caller passes that count, never one that the prover chose.
library Merkle {
    uint256 internal constant CHUNK_ELEMENTS = 1024;
    uint256 internal constant CHUNK_BYTES = 4096;

    error EmptyTree();
    error IndexOutOfRange(uint256 index, uint256 count);
    error ProofLength(uint256 expected, uint256 actual);
    /// `count` hashes folded `levels` times leave more than one.
    error UnevenFold(uint256 count, uint256 levels);
    /// The precompile fails only when it runs out of gas.
    error HashFailed();

    /// @notice Number of chunks of a tensor of `length` elements.
    function chunks(uint256 length) internal pure returns (uint256) {
        return (length + CHUNK_ELEMENTS - 1) / CHUNK_ELEMENTS;
    }

    /// @notice Number of hashes that stand `level` levels above `leaves` leaves.
    function width(uint256 leaves, uint256 level) internal pure returns (uint256) {
        for (; level != 0; --level) leaves = (leaves + 15) >> 4;
        return leaves;
    }

    /// @notice Levels of a tree above its leaves: 0 for one leaf, 1 for 2 to 16, 2 for 17 to 256, ...
    function depth(uint256 leaves) internal pure returns (uint256 levels) {
        if (leaves == 0) revert EmptyTree();
        for (; leaves > 1; leaves = (leaves + 15) >> 4) ++levels;
    }

    /// @notice Hash of a leaf's content.
    function leaf(bytes calldata content) internal view returns (bytes32 hash) {
        bool done;
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            mstore8(buffer, 0)
            calldatacopy(add(buffer, 1), content.offset, content.length)
            done := staticcall(gas(), 2, buffer, add(content.length, 1), 0, 32)
            hash := mload(0)
        }
        if (!done) revert HashFailed();
    }

    /// @notice Root of the tree over `leaves`.
    function root(bytes32[] calldata leaves) internal view returns (bytes32 hash) {
        uint256 count = leaves.length;
        if (count == 0) revert EmptyTree();
        uint256 base = _load(leaves);
        while (count > 1) count = _fold(base, count);
        assembly ("memory-safe") {
            hash := mload(base)
        }
    }

    /// @notice The hash `levels` levels above `children`, which are all hashes below it on their level.
    function foldUp(bytes32[] calldata children, uint256 levels) internal view returns (bytes32 hash) {
        uint256 count = children.length;
        if (count == 0) revert EmptyTree();
        uint256 base = _load(children);
        for (uint256 level; level < levels; ++level) count = _fold(base, count);
        if (count != 1) revert UnevenFold(children.length, levels);
        assembly ("memory-safe") {
            hash := mload(base)
        }
    }

    /// @notice The hash `levels` levels above `hash`, which stands at `index` of the `count` hashes of its level.
    /// @param proof for each level from below, the other children of the group in order
    function climb(bytes32 hash, uint256 index, uint256 count, uint256 levels, bytes32[] calldata proof)
        internal
        view
        returns (bytes32)
    {
        if (index >= count) revert IndexOutOfRange(index, count);
        uint256 expected = proofLength(index, count, levels);
        if (proof.length != expected) revert ProofLength(expected, proof.length);
        uint256 siblings;
        assembly ("memory-safe") {
            siblings := proof.offset
        }
        for (; levels != 0; --levels) {
            uint256 others = _others(index, count);
            hash = _join(hash, index & 15, siblings, others);
            siblings += others << 5;
            index >>= 4;
            count = (count + 15) >> 4;
        }
        return hash;
    }

    /// @notice Number of hashes in a proof. Needs index < count.
    function proofLength(uint256 index, uint256 count, uint256 levels) internal pure returns (uint256 length) {
        for (; levels != 0; --levels) {
            length += _others(index, count);
            index >>= 4;
            count = (count + 15) >> 4;
        }
    }

    /// @param tree over the leaves of the tensor's chunks
    function tensorRoot(uint8 dtype, uint64 length, bytes32 tree) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(2), dtype, length, tree));
    }

    /// @param tree over the tensor roots of the slots, in order
    function stateRoot(uint32 slots, bytes32 tree) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(3), slots, tree));
    }

    /// @param nodesTree over the tensor roots of the nodes' outputs
    /// @param stateAfter state root after the step
    function traceRoot(uint32 nodes, bytes32 nodesTree, bytes32 stateAfter) internal pure returns (bytes32) {
        return sha256(abi.encodePacked(uint8(4), nodes, nodesTree, stateAfter));
    }

    /// @param tree over leaves of nodes, tensor roots of constants, leaves of slots, tensor roots of datasets
    function graphRoot(uint32 nodes, uint32 constants, uint32 slots, uint32 datasets, bytes32 tree)
        internal
        pure
        returns (bytes32)
    {
        return sha256(abi.encodePacked(uint8(5), nodes, constants, slots, datasets, tree));
    }

    /// Siblings of `index` in its group of 16.
    function _others(uint256 index, uint256 count) private pure returns (uint256) {
        uint256 left = count - (index & ~uint256(15));
        return (left < 16 ? left : 16) - 1;
    }

    /// Copies hashes above the free memory, with a free byte in front of them; allocates nothing.
    function _load(bytes32[] calldata hashes) private pure returns (uint256 base) {
        assembly ("memory-safe") {
            base := add(mload(0x40), 32)
            calldatacopy(base, hashes.offset, shl(5, hashes.length))
        }
    }

    /// Replaces `count` hashes at `base` by the inner nodes above them, in place. The tag of a group overwrites the
    /// byte before it, which belongs to the group before, already hashed, and lies above what has been written.
    function _fold(uint256 base, uint256 count) private view returns (uint256 groups) {
        bool done = true;
        assembly ("memory-safe") {
            let end := add(base, shl(5, count))
            let out := base
            for { let group := base } lt(group, end) { group := add(group, 512) } {
                let size := sub(end, group)
                if gt(size, 512) { size := 512 }
                mstore8(sub(group, 1), 1)
                done := and(done, staticcall(gas(), 2, sub(group, 1), add(size, 1), out, 32))
                out := add(out, 32)
            }
            groups := shr(5, sub(out, base))
        }
        if (!done) revert HashFailed();
    }

    /// Inner node over `others` siblings in calldata with `hash` put in at `place`.
    function _join(bytes32 hash, uint256 place, uint256 siblings, uint256 others)
        private
        view
        returns (bytes32 parent)
    {
        bool done;
        assembly ("memory-safe") {
            let buffer := mload(0x40)
            let before := shl(5, place)
            let own := add(add(buffer, 1), before)
            mstore8(buffer, 1)
            calldatacopy(add(buffer, 1), siblings, before)
            mstore(own, hash)
            calldatacopy(add(own, 32), add(siblings, before), sub(shl(5, others), before))
            done := staticcall(gas(), 2, buffer, add(shl(5, others), 33), 0, 32)
            parent := mload(0)
        }
        if (!done) revert HashFailed();
    }
}
