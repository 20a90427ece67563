// SPDX-License-Identifier: MIT
pragma solidity ^0.8.37;

import {IKeepers} from "../interfaces/IKeepers.sol";
import {Merkle} from "../lib/Merkle.sol";

/// @title A chunk of a state that nobody could know would be asked for
library Chunks {
    /// @notice Refuses what is not the chunk that `draw` chooses: of slot `draw mod (slots − 1)` the chunk number
    /// `draw / 2^128 mod chunks`. The last slot is the log, which a state may be served without; it is asked for only
    /// where it is all there is.
    /// @dev Roots bind the number of slots, and a slot's type and length, so that nobody can name others.
    /// @param root of a state
    function requireDrawn(bytes32 root, uint256 draw, IKeepers.Chunk calldata shown) internal view {
        if (shown.chunk.length != Merkle.CHUNK_BYTES) {
            revert IKeepers.ChunkSize(Merkle.CHUNK_BYTES, shown.chunk.length);
        }
        uint256 slots = shown.slots;
        uint256 slotLevels = Merkle.depth(slots); // refuses no slots
        uint256 chunks = Merkle.chunks(shown.length);
        uint256 chunkLevels = Merkle.depth(chunks);
        uint256 place = (draw >> 128) % chunks;
        bytes32 hash = Merkle.climb(Merkle.leaf(shown.chunk), place, chunks, chunkLevels, shown.chunkProof);
        hash = Merkle.tensorRoot(shown.dtype, shown.length, hash);
        place = slots == 1 ? 0 : draw % (slots - 1);
        hash = Merkle.climb(hash, place, slots, slotLevels, shown.slotProof);
        hash = Merkle.stateRoot(shown.slots, hash);
        if (hash != root) revert IKeepers.RootDiffers(root, hash);
    }
}
