// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IAuditor} from "../interfaces/IAuditor.sol";
import {Merkle} from "../lib/Merkle.sol";
import {DTypes} from "../step/Opcodes.sol";

/// @title The end of an interval's log, proven to a state root
/// @notice docs/protocol.md, section 3: the log is the last slot, of shape (interval, metrics); row t mod interval is
/// written in step t, and rows that are not reached are zero.
library Logs {
    /// @notice Refuses what is not the chunk that holds the last row that the interval wrote. In a task's last
    /// interval, which may be shorter, later chunks are zeros, which anybody knows.
    /// @dev Roots bind the number of slots, and the log's type and length, so that nobody can name others for it.
    /// @param root of the state after the interval
    /// @param interval rows of the log; `steps` are the task's
    function requireLast(
        bytes32 root,
        IAuditor.LogChunk calldata shown,
        uint32 checkpoint,
        uint32 steps,
        uint32 interval
    ) internal view {
        if (shown.chunk.length != Merkle.CHUNK_BYTES) {
            revert IAuditor.ChunkSize(Merkle.CHUNK_BYTES, shown.chunk.length);
        }
        uint64 length = shown.length;
        if (length == 0 || length % interval != 0) revert IAuditor.MalformedLog(length, interval);
        uint256 rows = uint256(steps) - uint256(checkpoint) * interval;
        if (rows > interval) rows = interval;
        uint256 last = rows * (length / interval) - 1; // element
        uint256 chunks = Merkle.chunks(length);
        bytes32 hash = Merkle.climb(
            Merkle.leaf(shown.chunk),
            last / Merkle.CHUNK_ELEMENTS,
            chunks,
            Merkle.depth(chunks),
            shown.chunkProof
        );
        hash = Merkle.tensorRoot(uint8(DTypes.F32), length, hash);
        uint256 slots = shown.slots;
        uint256 depth = Merkle.depth(slots); // refuses no slots
        hash = Merkle.climb(hash, slots - 1, slots, depth, shown.slotProof);
        hash = Merkle.stateRoot(uint32(slots), hash);
        if (hash != root) revert IAuditor.RootDiffers(root, hash);
    }
}
